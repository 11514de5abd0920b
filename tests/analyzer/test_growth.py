"""Growth by flows against its twin, and what must hold of it; its scenario keys, and forecasts that grow."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.packets import Packets
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.growth import GrowthSpec
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.fresh import FreshAddresses
from segcast.analyzer.traffic.growth import Growth, Spans, fitting, grow
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, prepare
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.data import Forecast
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.twins import growth as twin

Rows = list[tuple[int, int, int]]
FACTORS = [Fraction(n, 20) for n in (3, 10, 14, 20, 26, 32, 40, 57)]


def arrays(rows: Rows) -> Packets:
    times, flows, sizes = np.array(rows, np.int64).T
    return Packets(times.copy(), flows.astype(np.uint32), sizes.astype(np.uint32))


def grown(rows: Rows, reverse: list[int], seed: int, growing: list[int] | None = None) -> Growth:
    packets, count = arrays(rows), len(reverse)
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first[packets.flow[::-1]], last[packets.flow] = packets.send_ns[::-1], packets.send_ns
    spans = Spans(np.bincount(packets.flow, packets.ip_bytes, count).astype(np.int64), first, last)
    chosen = None if growing is None else np.isin(np.arange(count), growing)
    return grow(GrowthSpec(seed=seed), max(FACTORS), spans, np.array(reverse, np.int64), chosen)


@st.composite
def traces(draw: st.DrawFn) -> tuple[Rows, list[int]]:
    """Packets in order of time, some flows without packets, some without another direction."""
    pairs = draw(st.integers(1, 6))
    reverse = [place for pair in range(pairs) for place in (2 * pair + 1, 2 * pair)]
    reverse += [-1] * draw(st.integers(0, 2))
    flows = st.integers(0, len(reverse) - 1)
    span = draw(st.sampled_from([5, 1000, 10**12]))
    packet = st.tuples(st.integers(0, span), flows, st.integers(1, 1500))
    return sorted(draw(st.lists(packet, min_size=1, max_size=40)), key=lambda row: row[0]), reverse


@settings(max_examples=150, deadline=None)
@given(traces(), st.integers(0, 2**63 - 1), st.data())
def test_grown_packets_are_those_of_the_twin(trace: tuple[Rows, list[int]], seed: int, data: st.DataObject) -> None:
    rows, reverse = trace
    flows = sorted({flow for _, flow, _ in rows})
    growing = data.draw(st.none() | st.lists(st.sampled_from(flows), min_size=1))
    growth = grown(rows, reverse, seed, growing)
    for factor in FACTORS:
        packets, row = growth.packets(arrays(rows), factor)
        found = [
            twin.Sent(int(t), int(growth.copy[f]), int(growth.origin[f]), int(r), bool(growth.wraps[f]))
            for t, f, r in zip(packets.send_ns, packets.flow, row, strict=True)
        ]
        assert found == twin.grown(rows, reverse, factor, seed, growing)
        assert packets.ip_bytes.tolist() == [rows[r][2] for r in row]


@settings(max_examples=60, deadline=None)
@given(traces(), st.integers(0, 2**63 - 1))
def test_growth_is_nested_whole_and_in_time(trace: tuple[Rows, list[int]], seed: int) -> None:
    """What is sent at a factor is sent at higher ones, at the same times; whole connections; each so often."""
    rows, reverse = trace
    growth, packets = grown(rows, reverse, seed), arrays(rows)
    assert growth.packets(packets, Fraction(1))[0].flow.tolist() == packets.flow.tolist()
    before: Counter[tuple[int, ...]] = Counter()
    for factor in FACTORS:
        sent, row = growth.packets(packets, factor)
        assert (np.diff(sent.send_ns) >= 0).all()
        assert not len(sent.flow) or (rows[0][0] <= sent.send_ns[0] and sent.send_ns[-1] <= rows[-1][0])
        now = Counter(zip(sent.flow.tolist(), sent.send_ns.tolist(), row.tolist(), strict=True))
        assert not before - now
        before = now
        # A copy of a connection has all its packets, or none, and between those that do not wrap its own gaps.
        copies: dict[tuple[int, int], list[int]] = {}
        for flow, at in zip(sent.flow.tolist(), row.tolist(), strict=True):
            connection = min(o for o in (int(growth.origin[flow]), reverse[growth.origin[flow]]) if o >= 0)
            copies.setdefault((connection, int(growth.copy[flow])), []).append(at)
        for (connection, _), at in copies.items():
            both = {connection, reverse[connection]}
            assert sorted(at) == [place for place, (_, flow, _) in enumerate(rows) if flow in both]
        for flow in np.unique(sent.flow):
            own = sent.flow == flow
            times, was = sent.send_ns[own], packets.send_ns[row[own]]
            assert (np.diff(times) == np.diff(was)).all()
        if factor.denominator == 1:
            times_sent = Counter(row.tolist())
            assert set(times_sent.values()) == {int(factor)}
            assert len(times_sent) == len(rows)


def test_bytes_and_sizes_are_those_of_the_factor() -> None:
    """Heavy-tailed connections: bytes come out within the largest, and every size has its share of the copies."""
    rng = np.random.default_rng(3)
    sizes = np.sort((40 * (1 - rng.random(4000)) ** (-1 / 1.3)).astype(np.int64).clip(40, 10**6))
    rows = [(int(t), 2 * c, int(size)) for c, (t, size) in enumerate(zip(range(4000), sizes, strict=True))]
    reverse = [place ^ 1 for place in range(8000)]
    for seed in (1, 2, 3):
        growth = grown(rows, reverse, seed)
        for factor in FACTORS:
            sent, row = growth.packets(arrays(rows), factor)
            assert abs(int(sent.ip_bytes.sum()) - float(factor) * sizes.sum()) < 2.0 * sizes.max()
            assert growth.share_of_bytes(factor) == pytest.approx(sent.ip_bytes.sum() / sizes.sum())
            for quarter in np.array_split(np.arange(4000), 4):  # by size
                assert np.isin(row, quarter).sum() == pytest.approx(1000 * float(factor), abs=4)


def test_starts_of_copies_are_spread_over_the_trace() -> None:
    rows = [(0, 0, 100), (10**9, 0, 100)] + [(5 * 10**8, 2 * c, 100) for c in range(1, 2000)]
    growth = grown(sorted(rows), [place ^ 1 for place in range(4000)], 9)
    copied = growth.packets(arrays(sorted(rows)), Fraction(2))[0]
    starts = copied.send_ns[np.isin(copied.flow, np.flatnonzero(growth.copy == 1))] / 1e9
    assert np.quantile(starts, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.04)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.ip_addresses(v=4, network="240.0.0.0/28") | st.ip_addresses(v=4) | st.ip_addresses(v=6),
        min_size=1,
        max_size=9,
        unique=True,
    ),
    st.integers(0, 2**63 - 1),
)
def test_fresh_addresses_are_those_of_the_twin_and_none_twice(addresses: list[Any], seed: int) -> None:
    texts = [str(address) for address in addresses]
    made = FreshAddresses({text: text for text in texts}, 7, seed)
    expected = twin.fresh_addresses(texts, 7, seed)
    populations = np.repeat(np.arange(1, 8), len(texts))
    found = made.texts(populations, np.tile(np.arange(len(texts)), 7))
    assert found == [expected[p, text] for p in range(1, 8) for text in texts]
    assert len({*found, *texts}) == 8 * len(texts)
    assert "255.255.255.255" not in found


def test_addresses_run_out_in_one_line() -> None:
    with pytest.raises(InputError, match=r"growth: 134,217,728 copies of 1 addresses are more than 240\.0\.0\.0/4 has"):
        FreshAddresses({"10.0.0.1": "10.0.0.1"}, 1 << 28, 1)


NETWORK = """
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
links = { rate = "300Mbps", buffer = "512KiB" }
host_links = { rate = "1Gbps", delay = "1us" }
"""


def read(folder: Path, text: str, network: str = NETWORK) -> ValidScenario:
    (folder / "s.toml").write_text(f"seeds = [1]\n{text}\n{network}", "utf-8")
    return read_scenario(folder / "s.toml")


def test_copies_have_new_hosts_at_the_same_attachments(tmp_path: Path, cluster: Trace) -> None:
    scenario = read(tmp_path, "growth = { factor = [1, 2.5] }")
    plain = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), read(tmp_path, "load = 1"))
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), scenario)
    growth, plan = traffic.growth, traffic.plan
    assert growth is not None and plan.words is not None and plan.uplink is not None and plan.downlink is not None
    trace_flows = len(plain.plan.keys)
    for name in ("keys", "host", "group", "words", "attachment"):
        assert (getattr(plan, name)[:trace_flows] == getattr(plain.plan, name)).all(), name
    assert (plan.group == plan.group[growth.origin]).all()
    copies = np.flatnonzero(growth.copy > 0)
    assert len(copies) > trace_flows
    sending = np.unique(np.concatenate([traffic.packets.flow, copies]))
    tuples = {tuple(words) for words in plan.words[sending].tolist()}
    own = {tuple(words) for words in plan.words[np.unique(traffic.packets.flow)].tolist()}
    assert len(tuples) == len(own) + len({(growth.population[f], growth.origin[f]) for f in copies})
    # The same host of a copy for the same host, another for each other and for each population.
    for kind in ("host", "uplink", "downlink"):
        hosts: dict[tuple[int, int], set[int]] = {}
        for flow in sending:
            key = int(growth.population[flow]), int(getattr(plan, kind)[growth.origin[flow]])
            hosts.setdefault(key, set()).add(int(getattr(plan, kind)[flow]))
        assert all(len(found) == 1 for found in hosts.values())
        assert len(set.union(*hosts.values())) == len(hosts)
    for flow in copies:
        name = traffic.hosts[plan.host[flow]]
        high = int(plan.words[flow, 0])
        assert name.startswith("240." if not high else "100::") or int(name.split(".")[0]) >= 240
        assert traffic.network.links[plan.uplink[flow]].name == f"host-{name}"
    back = growth.reverse[copies]
    known = back >= 0
    assert (growth.reverse[back[known]] == copies[known]).all()
    assert (plan.words[copies[known], :2] == plan.words[back[known], 2:4]).all()


def test_growth_of_groups_leaves_the_rest(tmp_path: Path, cluster: Trace) -> None:
    flows = cluster.flow_table().to_pylist()
    ports = Counter(min(f["src_port"] or 0, f["dst_port"] or 0) for f in flows if f["protocol"] == 6)
    port = ports.most_common(1)[0][0]
    scenario = read(tmp_path, f'growth = {{ factor = 3, groups = [{{ application = "tcp/{port}" }}] }}')
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), scenario)
    growth = traffic.growth
    assert growth is not None
    sent = growth.origin[traffic.at_growth(Fraction(3)).packets.flow]
    before, after = np.bincount(traffic.packets.flow, minlength=len(flows)), np.bincount(sent, minlength=len(flows))
    for flow in flows:
        of_it = flow["protocol"] == 6 and port in (flow["src_port"], flow["dst_port"])
        assert after[flow["flow_id"]] == before[flow["flow_id"]] * (3 if of_it else 1)


def test_groups_are_prefix_pairs_ports_and_protocols() -> None:
    words = np.array(
        [
            [0, 0x0A000001, 0, 0x0A010001, (6 << 32) + (5000 << 16) + 443],
            [0, 0x0A010001, 0, 0x0A000001, (17 << 32) + 53],
        ],
        np.uint64,
    )
    version = np.array([4, 4], np.uint8)

    def fits(**group: Any) -> list[bool]:
        spec = GrowthSpec.model_validate({"groups": [group]})
        return fitting(spec.groups, words, version).tolist()

    assert fits(between=["10.0.0.0/16", "10.1.0.0/16"]) == [True, True]
    assert fits(between=["10.0.0.0/16", "10.0.0.0/16"]) == [False, False]
    assert fits(port=443) == [True, False]
    assert fits(application="tcp/443") == [True, False]
    assert fits(application="udp/443") == [False, False]
    assert fits(application="17") == [False, True]
    assert fits(port=5000, application="tcp/443") == [True, False]


def summary_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "summary.parquet").to_pylist()


def test_forecasts_grow_by_the_year(tmp_path: Path, cluster: Trace) -> None:
    text = 'policies = ["ecmp", "inflight"]\ngrowth = { per_year = "30%", years = 2 }'
    network = "\n".join(line for line in NETWORK.splitlines() if "host_links" not in line)
    document = forecast(cluster, read(tmp_path, text, network), tmp_path / "f")
    rows = summary_of(tmp_path / "f")
    assert [(r["load"], r["growth"], r["year"]) for r in rows[:3]] == [(1, 1, 0), (1.3, 1.3, 1), (1.69, 1.69, 2)]
    plain = forecast(cluster, read(tmp_path, 'policies = ["ecmp", "inflight"]', network), tmp_path / "p")
    named = ("load", "growth", "year")
    for grown, own in zip(rows[::3], summary_of(tmp_path / "p"), strict=True):
        assert {k: v for k, v in grown.items() if k not in named} == {k: v for k, v in own.items() if k not in named}
    assert document["trace"]["packets"] == plain["trace"]["packets"]
    assert [one["year"] for one in document["offered"]] == [0, 1, 2]
    for one, row in zip(document["offered"], rows, strict=False):
        assert row["packets"] >= rows[0]["packets"] and one["bytes"] == pytest.approx(one["growth"], rel=0.15)
    labels = [v.label for v in Forecast(tmp_path / "f").variants]
    assert labels[:3] == ["ecmp, year 0 (load 1)", "ecmp, year 1 (growth 1.3)", "ecmp, year 2 (growth 1.69)"]
    again = forecast(cluster, read_scenario(tmp_path / "f" / "scenario.toml"), tmp_path / "again")
    assert again["comparisons"] == document["comparisons"]
    with pytest.raises(InputError, match=r"inflight-100us-g1\.3-s1 sends copies of connections \(growth 1\.3\), which"):
        rewrite_forecast(tmp_path / "f", tmp_path / "r", policy="inflight", load=1.3)
    assert rewrite_forecast(tmp_path / "f", tmp_path / "r", policy="inflight").packets > 0


def test_a_thinned_trace_streams_as_it_is_held_and_copies_do_not(tmp_path: Path, cluster: Trace) -> None:
    scenario = read(tmp_path, 'policies = ["ecmp", "inflight"]\ngrowth = { factor = [0.4, 1] }')
    for stream in (False, True):
        forecast(cluster, scenario, tmp_path / f"f{stream:d}", stream=stream)
    held, streamed = (summary_of(tmp_path / f"f{stream}") for stream in (0, 1))
    assert held == streamed
    assert held[0]["packets"] < held[1]["packets"]
    cell = held[0]["cell"]
    one, other = (pq.read_table(tmp_path / f"f{stream}" / "packets" / f"{cell}.parquet") for stream in (0, 1))
    assert one.equals(other)
    with pytest.raises(
        InputError, match=r"s\.toml:2: growth\.factor: 1\.3 times the connections of 39,036 packets are more"
    ):
        forecast(cluster, read(tmp_path, "growth = { factor = 1.3 }"), tmp_path / "f", stream=True)


def test_recorded_acknowledgements_return_to_copies(tmp_path: Path, cluster: Trace) -> None:
    text = 'policies = ["inflight"]\ngrowth = { factor = 2 }\n[steering]\nack = "recorded"\n'
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), read(tmp_path, text))
    document = forecast(cluster, read(tmp_path, text), tmp_path / "f")
    assert document["cells"] == 1
    assert summary_of(tmp_path / "f")[0]["packets"] == 2 * len(traffic.packets.flow)


def test_compression_says_what_it_does_and_growth_does_not_need_to(tmp_path: Path, cluster: Trace) -> None:
    found = {}
    for name, text in (("rate", 'growth = { by = "rate", factor = [1, 1.3] }'), ("flows", "growth = { factor = 1.3 }")):
        document = forecast(cluster, read(tmp_path, text), tmp_path / name)
        found[name] = {finding["code"] for finding in document["trace"]["findings"]}
    assert "compressed_gaps" in found["rate"] and "compressed_gaps" not in found["flows"]
    rows = summary_of(tmp_path / "rate")
    assert {(row["load"], row["growth"]) for row in rows} == {(1.0, 1.0), (1.3, 1.0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("growth = { factor = 0 }", "growth.factor[0]: must be 0.001 or more"),
        ("growth = { factor = 1.0000001 }", "growth.factor[0]: 1.0000001 has more than six decimals"),
        ('growth = { per_year = "30%" }', "growth: per_year and years belong together"),
        ('growth = { per_year = "30", years = 2 }', "growth.per_year: '30' is not a share such as \"30%\""),
        ('growth = { per_year = "0%", years = 2 }', "growth.per_year: 0% a year is not above -100%"),
        ('growth = { per_year = "900%", years = 9 }', "growth: factors from 1 to 1e+09: at least 0.001, by flows"),
        ('growth = { factor = 2, per_year = "3%", years = 2 }', "growth: give factor, or per_year with years"),
        ('growth = { by = "rate", factor = 2, groups = [{ port = 1 }] }', 'growth: groups need by = "flows"'),
        ("growth = { groups = [{}] }", "growth.groups[0]: give between, port or application"),
        (
            'growth = { groups = [{ application = "tpc/3" }] }',
            "growth.groups[0].application: 'tpc/3' is not a protocol",
        ),
        ("growth = { facto = 2 }", "growth.facto: unknown key 'facto'; did you mean 'factor'?"),
    ],
)
def test_wrong_growth_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert f"s.toml:2: {message}" in str(error.value)


def test_two_ways_to_one_load_and_groups_that_are_not_there_are_refused(tmp_path: Path, cluster: Trace) -> None:
    with pytest.raises(InputError, match=r"load 1 with growth 2 and load 2 with growth 1 both offer 2 times the trace"):
        forecast(cluster, read(tmp_path, "load = [1, 2]\ngrowth = { factor = [1, 2] }"), tmp_path / "f")
    with pytest.raises(InputError, match=r"growth\.groups: no connection of the trace that crosses the network is of"):
        scenario = read(tmp_path, "growth = { factor = 2, groups = [{ port = 1 }] }")
        forecast(cluster, scenario, tmp_path / "f")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"growth": "30%/y"}, "--growth '30%/y': needs --until, such as --until 5y"),
        ({"growth": "30%/y", "until": "5"}, "--until '5': give years, such as 5y"),
        ({"growth": "1.3", "until": "5y"}, "--until belongs to growth a year, such as --growth 30%/y"),
        ({"until": "5y"}, "--until says how far growth a year goes on; give --growth"),
        ({"growth": "x"}, "--growth 'x' is not a number"),
        ({"growth": "0"}, "--growth: must be 0.001 or more"),
        ({"growth": "30%/y", "until": "99y"}, "--growth: must be 30 or less"),
    ],
)
def test_flags_of_growth(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    (tmp_path / "s.toml").write_text(NETWORK, "utf-8")
    for others in ({"file": None, "paths": "2x1Gbps"}, {"file": tmp_path / "s.toml"}):
        file = others.pop("file")
        with pytest.raises(InputError) as error:
            scenario_of(file, {**others, **flags})  # type: ignore[arg-type]
        assert str(error.value).startswith(message)
    given = {"growth": "10%/y", "until": "1y"}
    for scenario in (scenario_of(None, {"paths": "2x1Gbps", **given}), scenario_of(tmp_path / "s.toml", given)):
        assert [(float(one.flows), one.year) for one in scenario.offered] == [(1.0, 0), (1.1, 1)]


def test_uneven_growth_is_said(tmp_path: Path, cluster: Trace) -> None:
    flows = cluster.flow_table().to_pylist()
    largest = max((f for f in flows if f["src_port"]), key=lambda f: f["bytes"])
    group = f'[{{ between = ["{largest["src"]}", "{largest["dst"]}"], port = {largest["src_port"]} }}]'
    document = forecast(cluster, read(tmp_path, f"growth = {{ factor = 1.5, groups = {group} }}"), tmp_path / "f")
    found = [one for one in document["trace"]["findings"] if one["code"] == "uneven_growth"]
    (one,) = json.loads((tmp_path / "f" / "forecast.json").read_text("utf-8"))["offered"]
    assert len(found) == (abs(one["bytes"] - 1) > 0.05)


def test_links_of_hosts_that_send_at_other_factors_are_in_no_mean(tmp_path: Path, cluster: Trace) -> None:
    for name, text in (("plain", "load = 1"), ("grown", "growth = { factor = [1, 2] }")):
        forecast(cluster, read(tmp_path, f'policies = ["ecmp"]\n{text}'), tmp_path / name)
    plain, (grown, _) = summary_of(tmp_path / "plain")[0], summary_of(tmp_path / "grown")
    assert grown == plain
