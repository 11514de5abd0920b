"""Traces whose TCP connections react: what becomes messages, what leaves as captured, and on which network."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.reading import trace_of
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, flow_words, prepare
from segcast.analyzer.workload.recorded.run import workload_of_trace
from segcast.traces.errors import InputError
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.talking import Seen, Turn, Way, pcap_of, talk

WAY = Way()


def scenario_of(**changes: Any) -> ValidScenario:
    values = {"paths": "4x1Gbps", "policies": ["ecmp"], "seeds": [1], "transport": {"control": "cubic"}} | changes
    return short_scenario(**values)


def traced(folder: Path, seen: list[Seen], name: str = "talk") -> Trace:
    (folder / f"{name}.pcap").write_bytes(pcap_of(seen))
    return ingest([folder / f"{name}.pcap"], folder / f"{name}.trace")


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def asked(cluster: Trace) -> Asked:
    return asked_of_trace(cluster, scenario_of())


@pytest.fixture(scope="module")
def folder(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reacting") / "f"
    forecast(cluster, scenario_of(), out)
    return out


def test_connections_are_on_the_flows_of_the_trace(cluster: Trace, asked: Asked) -> None:
    """Their five-tuples, hosts and groups are those that recorded packets of the same flows would have."""
    assert asked.flow_id is not None
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), scenario_of())
    assert len(set(asked.flow_id.tolist())) == len(asked.flow_id)
    assert sorted(asked.flow_id.tolist()) == np.unique(traffic.packets.flow).tolist()
    for mine, theirs in zip(asked.traffic.plan, traffic.plan, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert (mine == theirs[asked.flow_id]).all()
    assert (asked.traffic.plan.words == flow_words(cluster.flows)[asked.flow_id]).all()
    reverse = cluster.flows["reverse_flow_id"].to_numpy()[asked.flow_id]
    pairs = asked.flow_id[: 2 * asked.connections].reshape(-1, 2)
    assert (reverse[0 : 2 * asked.connections : 2] == pairs[:, 1]).all()
    assert asked.traffic.groups == traffic.groups
    assert asked.traffic.network == replace(traffic.network, changes=asked.traffic.network.changes)


def test_messages_are_those_of_the_list(cluster: Trace, asked: Asked) -> None:
    workload, _ = workload_of_trace(cluster)
    assert workload is not None
    assert asked.names.equals(workload.flow)  # all of the sample's connections cross
    for name in ("bytes", "start_ns", "think_ns", "after_first", "after_row"):
        assert (getattr(asked.messages, name) == getattr(workload, name)).all()
    assert asked.flow_id is not None
    source = cluster.flows["src"].gather(asked.flow_id[asked.messages.half])
    assert source.to_list() == [workload.host(int(number)) for number in workload.source]
    assert (asked.messages.half[asked.opens] % 2 == 0).all()
    assert asked.opens.sum() == asked.connections


def test_links_of_hosts_are_in_the_order_of_hosts(cluster: Trace, tmp_path: Path) -> None:
    """So they are numbered as those of a list, and each flow is on those of its own ends."""
    (tmp_path / "s.toml").write_text(
        'policies = ["ecmp"]\n[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 2\n'
        'links = { rate = "1Gbps" }\nhost_links = { rate = "1Gbps" }\n[transport]\n',
        "utf-8",
    )
    asked = asked_of_trace(cluster, read_scenario(tmp_path / "s.toml"))
    plan, names = asked.traffic.plan, [link.name for link in asked.traffic.network.links]
    assert asked.flow_id is not None and plan.uplink is not None and plan.downlink is not None
    for end, links, back in (("src", plan.uplink, ""), ("dst", plan.downlink, "-back")):
        addresses = cluster.flows[end].gather(asked.flow_id)
        for address, link in zip(addresses, links.tolist(), strict=True):
            assert names[link] == f"host-{address}{back}"
    attachment = dict(zip(plan.uplink.tolist(), (plan.attachment if plan.attachment is not None else []), strict=True))
    ranks = [
        (int(attachment[link]), ip_address(names[link].removeprefix("host-")).version,
         int(ip_address(names[link].removeprefix("host-"))))
        for link in sorted(attachment)
    ]  # fmt: skip
    assert ranks == sorted(ranks)


def test_every_packet_is_accounted_for(cluster: Trace, asked: Asked, folder: Path) -> None:
    """Replaced by messages, left as captured, or left out and counted."""
    said = json.loads((folder / "forecast.json").read_text("utf-8"))
    assert asked.flow_id is not None
    flows = cluster.flows
    listed = flows["packets"].gather(asked.flow_id[: 2 * asked.connections]).sum()
    apart = flows["packets"].gather(asked.flow_id[2 * asked.connections :]).sum()
    assert apart == said["trace"]["packets"] == len(asked.traffic.packets.flow) > 0
    assert listed + apart + sum(said["excluded"].values()) == cluster.packet_count
    origin = said["trace"]
    assert (origin["kind"], origin["reacts"]) == ("trace", True)
    assert (origin["messages"], origin["connections"]) == (len(asked.names), asked.connections)
    (finding,) = (each for each in origin["findings"] if each["code"] == "open_loop")
    assert finding["count"] == apart
    assert sum(packets for _, _, packets in asked.open_loop) == apart
    assert "UDP" in finding["detail"]


def test_packets_as_captured_leave_when_the_trace_says(cluster: Trace, folder: Path) -> None:
    sent = table(folder / "packets", "ecmp-s1")
    recorded = sent.filter(pl.col("kind") == "recorded")
    packets = cluster.packets.collect()
    apart = packets.filter(pl.col("flow_id").is_in(recorded["flow_id"].unique().implode()))
    origin_ns = cluster.flows["first_ns"].min()
    assert (apart["time_ns"] - origin_ns).to_list() == recorded["send_ns"].to_list()
    assert apart["flow_id"].to_list() == recorded["flow_id"].to_list()
    assert apart["ip_bytes"].to_list() == recorded["ip_bytes"].to_list()
    fates = table(folder, "flows")
    assert fates["flow_id"].is_sorted()
    assert set(fates["flow_id"]) == set(sent["flow_id"])
    assert fates["packets"].sum() == len(sent)


def test_rows_have_the_names_of_the_list(cluster: Trace, asked: Asked, folder: Path) -> None:
    messages = table(folder, "messages")
    assert messages["flow"].to_list() == asked.names.to_pylist()
    assert messages["fct_ns"].null_count() < len(messages) // 10
    with pytest.raises(InputError, match="TCP senders made in place of the captured ones"):
        trace_of(folder)


def test_without_a_transport_it_stays_open_loop(cluster: Trace, tmp_path: Path) -> None:
    said = forecast(cluster, scenario_of(transport=None), tmp_path / "f")
    assert said["trace"]["reacts"] is False
    assert not (tmp_path / "f" / "messages.parquet").exists()


def test_what_the_scenario_leaves_out_is_left_out(cluster: Trace, asked: Asked) -> None:
    """Whole connections, whose other rows keep what they wait for."""
    source = cluster.flows["src"][int(asked.flow_id[0])] if asked.flow_id is not None else ""
    fewer = asked_of_trace(cluster, scenario_of(traffic={"without": [source]}))
    assert 0 < fewer.connections < asked.connections
    assert fewer.flow_id is not None
    assert source not in set(cluster.flows["src"].gather(fewer.flow_id))
    place = {name: row for row, name in enumerate(asked.names.to_pylist())}
    rows = [place[name] for name in fewer.names.to_pylist()]
    assert (fewer.messages.bytes == asked.messages.bytes[rows]).all()
    names = np.array(asked.names.to_pylist())

    def waits(of: Asked, row: int) -> list[str]:
        after = of.messages.after_row[of.messages.after_first[row] : of.messages.after_first[row + 1]]
        return np.array(of.names.to_pylist())[after].tolist()

    for mine, theirs in list(enumerate(rows))[:200]:
        assert waits(fewer, mine) == waits(asked, theirs)
    assert len(names) > len(rows)
    assert fewer.traffic.excluded["deselected"] > 0


def test_loads_scale_messages_and_packets_about_one_time(cluster: Trace, tmp_path: Path) -> None:
    forecast(cluster, scenario_of(load=[1, 2], packets="all"), tmp_path / "f")
    first, second = (table(tmp_path / "f" / "packets", f"ecmp-{name}s1") for name in ("", "x2-"))
    times = [each.filter(pl.col("kind") == "recorded")["send_ns"].to_numpy() for each in (first, second)]
    begin_ns = min(int(first["send_ns"].min()), int(times[0][0]))  # type: ignore[arg-type]
    assert (np.abs(begin_ns + (times[0] - begin_ns) // 2 - times[1]) <= 1).all()
    messages = table(tmp_path / "f", "messages").sort("load", maintain_order=True)
    starts = [part["start_ns"][0] for part in messages.partition_by("load", maintain_order=True)]
    assert abs((starts[0] - begin_ns) / 2 - (starts[1] - begin_ns)) <= 1


def test_events_count_from_what_is_sent_first(cluster: Trace) -> None:
    """Which may be a packet that leaves as captured, a while after the trace's first."""
    events = [{"at": "1ms", "link": "path0", "state": "down"}]
    whole = asked_of_trace(cluster, scenario_of(events=events))
    assert whole.flow_id is not None
    source = cluster.flows["src"][int(whole.flow_id[whole.traffic.packets.flow[0]])]
    later = asked_of_trace(cluster, scenario_of(events=events, traffic={"without": [source]}))
    assert later.extent.first_ns > whole.extent.first_ns
    for asked in (whole, later):
        waits = np.diff(asked.messages.after_first) > 0
        begins_ns = min(asked.messages.start_ns[~waits].min(), asked.traffic.packets.send_ns[0])
        assert asked.extent.first_ns == begins_ns
        assert min(change.time_ns for change in asked.traffic.network.changes) == begins_ns + 1_000_000


def test_what_cannot_react_is_refused(cluster: Trace, tmp_path: Path, run: Run) -> None:
    assert run("ingest", cluster.sources[0].path, "--filter", "udp", "--out", tmp_path / "udp.trace").code == 0
    udp = open_trace(tmp_path / "udp.trace")
    with pytest.raises(InputError, match=r"no TCP connection whose messages can be told, but UDP .* without \[transp"):
        forecast(udp, scenario_of(), tmp_path / "f")
    trace = traced(tmp_path, talk([[Turn(0, 1000, 0)]], WAY))
    ran = run("forecast", trace.folder, "--paths", "2x1Gbps", "--without", "10.0.1.1/32", "--transport", "cubic",
              "--out", tmp_path / "g")  # fmt: skip
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1


def test_not_captured_sizes_but_segments_must_fit_the_mtu(tmp_path: Path) -> None:
    seen = talk([[Turn(0, 60_000, 0)]], WAY)
    trace = traced(tmp_path, seen)
    text = (
        '[network]\nmtu = {}\npaths = [{{ links = [{{ name = "a", rate = "1Gbps" }}] }}]\n[transport]\nmss = "1000B"\n'
    )
    for mtu, fits in (("1300B", True), ("1039B", False)):
        (tmp_path / "s.toml").write_text('policies = ["ecmp"]\n' + text.format(f'"{mtu}"'), "utf-8")
        scenario = read_scenario(tmp_path / "s.toml")
        if fits:
            assert len(asked_of_trace(trace, scenario).names) == 1
        else:
            with pytest.raises(InputError, match=r"s\.toml:3: network\.mtu: of 2 flows' full segments 2 are larger"):
                asked_of_trace(trace, scenario)
