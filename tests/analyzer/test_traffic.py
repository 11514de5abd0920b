"""Traffic on fabrics: who is where, hosts' links, loads, sizes, recorded acknowledgements; forecasts, rewrites."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Traffic, at_load, prepare, scaled_ns
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS, schedule
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.page import render
from segcast.traces.errors import InputError
from segcast.traces.schema import FLOWS, PACKETS
from segcast.traces.trace import Trace
from tests.twins.hashing import is_lost

DOCS = Path(__file__).parents[2] / "docs" / "scenario.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)

LEAVES = """
seeds = [1]
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
links = { rate = "300Mbps", buffer = "512KiB" }
"""


NONE = dict.fromkeys(("no_ip", "link_scope", "deselected", "too_large", "unassigned", "same_attachment"), 0)


def read(folder: Path, text: str) -> ValidScenario:
    (folder / "s.toml").write_text(text, "utf-8")
    return read_scenario(folder / "s.toml")


Conversation = tuple[str, str, int, int, int]


def tables(*packets: Conversation) -> tuple[pa.Table, pa.Table]:
    """PACKETS and FLOWS of UDP packets (source, destination, time, IP bytes, source port); flows in their order."""
    names: dict[tuple[str, str, int], int] = {}
    rows = []
    for number, (source, target, time_ns, size, port) in enumerate(packets):
        flow = names.setdefault((source, target, port), len(names))
        rows.append(dict.fromkeys(PACKETS.names()) | {"file": 0, "frame_number": number + 1, "time_ns": time_ns})
        rows[-1] |= {"flow_id": flow, "ip_bytes": size}
    flows = [
        dict.fromkeys(FLOWS.names())
        | {"flow_id": flow, "src": source, "dst": target, "src_port": port, "dst_port": 9, "protocol": 17}
        for (source, target, port), flow in names.items()
    ]
    return (
        pa.Table.from_pylist(rows, schema=loose(PACKETS.arrow_schema())),
        pa.Table.from_pylist(flows, schema=loose(FLOWS.arrow_schema())),
    )


def loose(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def ends(traffic: Traffic) -> list[tuple[str, str]]:
    """Where each packet enters and leaves."""
    return [traffic.groups[group] for group in traffic.plan.group[traffic.packets.flow]]


TALK = (
    ("10.0.0.1", "10.0.0.2", 100, 500, 1),
    ("10.0.0.3", "10.0.0.1", 200, 600, 1),
    ("10.0.0.4", "10.0.0.2", 300, 700, 1),
    ("10.0.0.1", "10.0.0.4", 400, 800, 1),
)


def test_hosts_are_dealt_in_order_of_their_first_packet(tmp_path: Path) -> None:
    """.1, .2, .3 to the three leaves and .4 to the first again, where .1 is: the last packet does not cross."""
    traffic = prepare(*tables(*TALK), read(tmp_path, LEAVES))
    assert ends(traffic) == [("leaf0", "leaf1"), ("leaf2", "leaf0"), ("leaf0", "leaf1")]
    assert traffic.excluded == NONE | {"same_attachment": 1}
    assert traffic.groups == (("leaf0", "leaf1"), ("leaf2", "leaf0"))
    assert len(traffic.network.paths) == 4
    assert traffic.plan.attachment is not None
    assert traffic.plan.attachment.tolist() == [0, 2, 0, 0]


def test_the_longest_prefix_decides_and_others_may_be_excluded(tmp_path: Path) -> None:
    prefixes = """
[[attachments]]
name = "rack"
node = "leaf2"
prefixes = ["10.0.0.0/30"]
[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.2/32"]
"""
    excluding = 'unassigned = "exclude"\n' + LEAVES + prefixes
    traffic = prepare(*tables(*TALK), read(tmp_path, excluding))
    assert ends(traffic) == [("rack", "leaf0")]
    assert traffic.excluded == NONE | {"unassigned": 2, "same_attachment": 1}
    # Dealt, .4 is the only one without a place, so it comes to the first leaf.
    dealt = prepare(*tables(*TALK), read(tmp_path, LEAVES + prefixes))
    assert ends(dealt) == [("rack", "leaf0"), ("rack", "leaf0")]
    assert dealt.excluded == NONE | {"same_attachment": 2}


def test_hosts_links_carry_what_stays_at_an_attachment(tmp_path: Path) -> None:
    hosts = LEAVES + 'host_links = { rate = "1Gbps", delay = "2us" }\n'
    traffic = prepare(*tables(*TALK), read(tmp_path, hosts))
    assert ends(traffic)[-1] == ("leaf0", "leaf0")
    assert traffic.excluded["same_attachment"] == 0
    paths = [path for path in traffic.network.paths if not path.links]
    assert [(path.srv6_bytes, path.ack_delay_ns) for path in paths] == [(0, 0)]
    names = [link.name for link in traffic.network.links]
    assert traffic.plan.uplink is not None
    assert traffic.plan.downlink is not None
    ways = zip(traffic.plan.uplink, traffic.plan.downlink, strict=True)
    assert [(names[up], names[down]) for up, down in ways] == [
        ("host-10.0.0.1", "host-10.0.0.2-back"),
        ("host-10.0.0.3", "host-10.0.0.1-back"),
        ("host-10.0.0.4", "host-10.0.0.2-back"),
        ("host-10.0.0.1", "host-10.0.0.4-back"),
    ]


def test_no_loop_is_compiled_twice_for_packets_that_may_not_be_written(cluster: Trace) -> None:
    """The compiler has a type of its own for arrays that may not be written: every policy would compile again."""
    packets = prepare(
        cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), short_scenario(paths="1Gbps")
    ).packets
    for load in (Fraction(1), Fraction(2)):
        at = at_load(packets, load, int(packets.send_ns[0]))
        assert all(column.flags.writeable and column.flags.c_contiguous for column in at)


@pytest.mark.parametrize("load", ["1", "2", "0.5", "1.5", "0.333333", "999.999999"])
def test_times_are_compressed_exactly(load: str) -> None:
    rng = np.random.default_rng(3)
    factor = Fraction(load)
    times = np.sort(rng.integers(0, 10**17, 500))
    expected = [int(times[0]) + (int(t) - int(times[0])) * factor.denominator // factor.numerator for t in times]
    assert scaled_ns(times, int(times[0]), factor).tolist() == expected


def test_packets_must_fit_the_mtu(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"s.toml:\d+: network.mtu: of 3 packets 1 are larger than 700B with SRv6 .* 780B would do"
    ):
        prepare(*tables(*TALK), read(tmp_path, LEAVES.replace("spines", 'mtu = "700B"\nspines')))
    prepare(*tables(*TALK), read(tmp_path, LEAVES.replace("spines", 'mtu = "780B"\nspines')))


def acknowledged(rows: list[dict[str, Any]], reverse: list[int | None]) -> list[int | None]:
    """The time of the packet that acknowledges each row, searched row by row."""
    found: list[int | None] = []
    for place, row in enumerate(rows):
        end = ((row["tcp_seq"] or 0) + max(1, row["payload_bytes"] or 0)) % 2**32
        acks = [
            later["time_ns"]
            for later in rows[place + 1 :]
            if later["flow_id"] == reverse[row["flow_id"]]
            and later["tcp_ack"] is not None
            and later["tcp_flags"] & 16
            and (later["tcp_ack"] - end) % 2**32 < 2**31
        ]
        found.append(acks[0] if acks and row["tcp_seq"] is not None else None)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_recorded_acknowledgements_as_searched_row_by_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reverse: list[int | None] = [1, 0, 3, 2, None]
    start = int(rng.choice([0, 2**32 - 3000]))
    rows = []
    for number in range(120):
        tcp = bool(rng.random() < 0.9)
        rows.append(dict.fromkeys(PACKETS.names()) | {"file": 0, "frame_number": number + 1, "time_ns": 10 * number})
        rows[-1] |= {"flow_id": int(rng.integers(0, 5)), "ip_bytes": 100, "payload_bytes": int(rng.choice([0, 700]))}
        if tcp:
            near = [(start + int(step)) % 2**32 for step in rng.integers(0, 9, 2) * 700]
            rows[-1] |= {"tcp_seq": near[0], "tcp_ack": near[1], "tcp_flags": int(rng.choice([16, 16, 2, 24]))}
    hosts = ["10.0.0.1", "10.0.0.2"]
    flows = [
        dict.fromkeys(FLOWS.names())
        | {"flow_id": f, "src": hosts[f % 2], "dst": hosts[1 - f % 2], "src_port": 5 + f % 2, "dst_port": 6 - f % 2}
        | {"protocol": 6, "reverse_flow_id": reverse[f]}
        for f in range(5)
    ]
    packets = pa.Table.from_pylist(rows, schema=loose(PACKETS.arrow_schema())).select(RELEASE_COLUMNS)
    table = pa.Table.from_pylist(flows, schema=loose(FLOWS.arrow_schema()))
    unseen = 0.25 * (seed % 2)
    scenario = short_scenario(paths="1Gbps", steering={"ack": "recorded", "loss_timeout": "400ns", "unseen": unseen})
    traffic = prepare(packets, table, scenario)
    sent = at_load(traffic.packets, Fraction(2), traffic.extent.first_ns)
    releases = schedule(packets, table, traffic)(sent, scenario.steering, 3)
    for row in rows:
        if is_lost(row["time_ns"], row["flow_id"], 3, round(unseen * 10**6)):
            row |= {"tcp_seq": None, "tcp_ack": None, "tcp_flags": None}
    expected = [
        (min(at // 2, row["time_ns"] // 2 + 400) if at is not None else row["time_ns"] // 2 + 400, place)
        for place, (row, at) in enumerate(zip(rows, acknowledged(rows, reverse), strict=True))
    ]
    assert list(zip(releases.time_ns.tolist(), releases.packet.tolist(), strict=True)) == sorted(expected)
    assert any(at is not None for at in acknowledged(rows, reverse))


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_documented_scenarios_run(cluster: Trace, tmp_path: Path, number: int) -> None:
    """Each runs, its packets keep to the paths of their groups, its page is drawn, and what it wrote runs again."""
    scenario = read(tmp_path, EXAMPLES[number])
    document = forecast(cluster, scenario, tmp_path / "f")
    groups = {path["path_id"]: path["group"] for path in document["network"]["paths"]}
    summary = pl.read_parquet(tmp_path / "f" / "summary.parquet")
    assert (summary["delivered"] > 0).all()
    assert document["trace"]["reacts"] == (scenario.transport is not None)
    if document["trace"]["reacts"]:
        assert summary["messages"].unique().to_list() == [document["trace"]["messages"]]
    else:
        assert summary["packets"].unique().to_list() == [document["trace"]["packets"]]
    for file in (tmp_path / "f" / "packets").iterdir():
        packets = pl.read_parquet(file).with_columns(pl.col("path_id").replace_strict(groups).alias("group"))
        assert packets.group_by("flow_id").agg(pl.col("group").n_unique())["group"].max() == 1
    page = render(Forecast(tmp_path / "f"))
    assert len(page) < 8_000_000
    forecast(cluster, read_scenario(tmp_path / "f" / "scenario.toml"), tmp_path / "again")
    for name in ("summary.parquet", "flows.parquet", "series.parquet", "scenario.toml", "forecast.json"):
        assert (tmp_path / "f" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize("mode", ["encaps", "reduced", "usid"])
def test_a_fabric_is_rewritten_with_the_bytes_it_was_forecast_with(cluster: Trace, tmp_path: Path, mode: str) -> None:
    scenario = read(tmp_path, 'policies = ["random"]\n' + LEAVES + f'[srv6]\nmode = "{mode}"\n')
    document = forecast(cluster, scenario, tmp_path / "f")
    expected = {path["srv6_bytes"] for path in document["network"]["paths"]}
    assert expected == {{"encaps": 80, "reduced": 64, "usid": 40}[mode]}
    summary = rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="random")
    assert json.dumps(summary.as_dict())
    first = pl.read_parquet(tmp_path / "f" / "packets" / "random-100us-s1.parquet")
    captures = sorted((tmp_path / "out").glob("*.pcap"))
    written = sum(capture.stat().st_size - 24 for capture in captures)
    sizes = cluster.packets.select("file", "frame_number", "ip_bytes", "captured_bytes").collect()
    assert len(first) and captures and written > len(first) * (16 + 14 + min(expected)) and len(sizes)


def test_events_after_the_last_packet_are_a_finding(cluster: Trace, tmp_path: Path) -> None:
    """The trace lasts 3.2 s: at load 2 an event at 2 s comes too late, as does the second failure of a flap."""
    event = '[[events]]\nlink = "leaf0-spine0"\n'
    soon, later = f'{event}at = "1s"\nstate = "down"\n', f'{event}at = "2s"\nstate = "up"\n'
    flap = f'{event}at = "1s"\nflap = {{ period = "900s", times = 2 }}\n'
    for load, events, count in ((1, soon + later, 0), (2, soon + later, 1), (1, soon + later + flap, 1)):
        text = f'policies = ["ecmp"]\nload = {load}\n{LEAVES}{events}'
        found = forecast(cluster, read(tmp_path, text), tmp_path / "f")["trace"]["findings"]
        late = [finding for finding in found if finding["code"] == "late_events"]
        assert [finding["count"] for finding in late] == [count] * bool(count)
        assert all(finding["severity"] == "warning" for finding in late)
        assert all(re.search(r"after the last packet, \d\.\d+ s after the first", f["detail"]) for f in late)


def test_what_stays_at_an_attachment_cannot_be_rewritten(cluster: Trace, tmp_path: Path) -> None:
    text = 'policies = ["random"]\n' + LEAVES + 'host_links = { rate = "1Gbps" }\n'
    forecast(cluster, read(tmp_path, text), tmp_path / "f")
    with pytest.raises(InputError, match=r"forecast again without network\.host_links"):
        rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="random")
