"""Loads that are a share of the busiest link: by hand, against a twin, as run, and where they make no sense."""

from __future__ import annotations

import io
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from segcast.analyzer.forecast.compare import load_label
from segcast.analyzer.forecast.loads import with_known_loads
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.earliest import earliest_ns
from segcast.analyzer.workload.source import open_workload
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.terminal import print_forecast
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from segcast.traces.units import say_number
from tests.support.queues import capture, sent
from tests.support.workloads import PLAIN
from tests.twins import loads as twin

LEAVES, SPINES = 3, 2
FABRIC = f"""
[network]
kind = "leaf-spine"
leaves = {LEAVES}
spines = {SPINES}
links = {{ rate = "1Gbps", delay = "1us", buffer = "64MiB" }}
"""
PREFIXES = "".join(f'[[attachments]]\nname = "leaf{n}"\nprefixes = ["10.0.{n}.0/24"]\n' for n in range(LEAVES))


def read(folder: Path, text: str) -> ValidScenario:
    (folder / "s.toml").write_text(text + FABRIC + PREFIXES, "utf-8")
    return read_scenario(folder / "s.toml")


def summary_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "summary.parquet").to_pylist()
    return rows


def random_rows(seed: int, count: int) -> list[tuple[int, int, int, int]]:
    """Packets in order of time between random leaves."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 10**7, count)).tolist()
    ends = [rng.choice(LEAVES, 2, replace=rng.random() < 0.2).tolist() for _ in range(count)]
    sizes = rng.integers(60, 1500, count).tolist()
    return [(time, *pair, size) for time, pair, size in zip(times, ends, sizes, strict=True)]


def trace_of(file: Path, rows: list[tuple[int, int, int, int]]) -> Trace:
    named = [
        (time, f"10.0.{a}.{1 + number % 5}", f"10.0.{b}.{1 + number % 7}", 1000 + number % 3, size)
        for number, (time, a, b, size) in enumerate(rows)
    ]
    return sent(file, named)


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A packet every 40 us, 10 us of a link of 1 Gbit/s each: a quarter."""
    return capture(tmp_path_factory.mktemp("constant") / "c.pcap", np.arange(5001) * 40_000, flows=16)


@pytest.mark.parametrize(
    ("paths", "load", "factor"),
    [("1x1Gbps", "50%", 2), ("2x1Gbps", "50%", 4), ("1x1Gbps,1x2Gbps", "25%", 2), ("1x1Gbps", "2.5%", 0.1)],
)
def test_by_hand(constant: Trace, tmp_path: Path, paths: str, load: str, factor: float) -> None:
    """5001 packets in 5000 gaps; of unlike paths, half the packets go each way, and the slower link is the busiest."""
    scenario = with_known_loads(constant, scenario_of(None, {"paths": paths, "load": load}))
    known = scenario.known_loads[load]
    assert float(known.factor) == pytest.approx(factor * 5000 / 5001, rel=1e-5)
    assert known.share == pytest.approx(float(load[:-1]) / 100, rel=1e-5)
    assert known.link == "path0"
    assert [float(one.rate) for one in scenario.offered] == [float(known.factor)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), count=st.integers(20, 200), percent=st.integers(1, 120))
def test_as_the_twin_counts(tmp_path: Path, seed: int, count: int, percent: int) -> None:
    rows = random_rows(seed, count)
    if len({time for time, a, b, _ in rows if a != b}) < 2:
        return
    scenario = with_known_loads(trace_of(tmp_path / "t.pcap", rows), read(tmp_path, f'load = "{percent}%"\n'))
    wanted = percent / 100 / float(twin.busiest(rows, SPINES, 10**9))
    assert float(scenario.known_loads[f"{percent}%"].factor) == pytest.approx(wanted, rel=1e-5)


def test_flow_lists_as_the_twin_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    flows = [
        (int(start), *rng.choice(LEAVES, 2, replace=False).tolist(), int(size))
        for start, size in zip(np.sort(rng.integers(0, 10**8, 60)), rng.integers(1, 10**5, 60), strict=True)
    ]
    lines = [f"f{n},{start},10.0.{a}.1,10.0.{b}.2,{size}" for n, (start, a, b, size) in enumerate(flows)]
    (tmp_path / "w.csv").write_text("\n".join([PLAIN, *lines]) + "\n", "utf-8")
    scenario = with_known_loads(open_workload(tmp_path / "w.csv"), read(tmp_path, 'load = "30%"\n'))
    packets = [*twin.segments(flows, 1460, 40, 2)]
    assert float(scenario.known_loads["30%"].factor) == pytest.approx(
        0.3 / float(twin.busiest(packets, SPINES, 10**9)),  # type: ignore[arg-type]
        rel=1e-5,
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), count=st.integers(2, 60))
def test_flows_that_wait_ask_for_as_long_as_they_think(tmp_path: Path, seed: int, count: int) -> None:
    """A connection of many messages asks from its first to its last, not at once."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)  # a flow may wait for any before it in this order, wherever the list has them
    after: dict[int, list[int]] = {}
    for place, number in enumerate(order.tolist()):
        wanted = int(rng.integers(0, min(place, 3) + 1))
        after[number] = sorted(rng.choice(order[:place], wanted, replace=False).tolist())
    flows = [(int(rng.integers(0, 1000)), after[n], int(rng.integers(0, 500))) for n in range(count)]
    lines = [
        f"f{n},{start},10.0.0.1,10.0.1.1,1000,{' '.join(f'f{other}' for other in waits)},{think if waits else ''}"
        for n, (start, waits, think) in enumerate(flows)
    ]
    (tmp_path / "w.csv").write_text("\n".join(["flow,start_ns,src,dst,bytes,after,think_ns", *lines]) + "\n", "utf-8")
    taken = open_workload(tmp_path / "w.csv")
    assert earliest_ns(taken.workload).tolist() == twin.starts(flows)


def test_a_list_of_messages_that_wait_is_a_share_of_the_time_they_take(tmp_path: Path) -> None:
    lines = ["flow,start_ns,src,dst,bytes,after,think_ns,connection"]
    for message in range(101):
        waits = f"m{message - 1},1000000" if message else ","
        lines.append(f"m{message},{'' if message else 0},10.0.0.1,10.0.1.1,100000,{waits},c")
    (tmp_path / "w.csv").write_text("\n".join(lines) + "\n", "utf-8")
    scenario = with_known_loads(open_workload(tmp_path / "w.csv"), read(tmp_path, 'load = "80%"\n'))
    # 100 kB, with headers about 106 kB, every millisecond over two spines of 1 Gbit/s: 42 %.
    assert float(scenario.known_loads["80%"].factor) == pytest.approx(0.8 / 0.425, rel=0.02)


def test_links_are_as_busy_as_was_asked(constant: Trace, tmp_path: Path) -> None:
    """One path: what it carries under any policy is what even spreading says."""
    flags = {"paths": "1x1Gbps", "policy": "ecmp", "load": "80%,20%", "seeds": 1, "buffer": None}
    document = forecast(constant, scenario_of(None, flags), tmp_path / "f")
    carried = [row["utilisation_max"] for row in summary_of(tmp_path / "f")]
    assert carried == pytest.approx([0.2, 0.8], rel=0.002)
    (first, second) = [f for f in document["trace"]["findings"] if f["code"] == "load_of_network"]
    assert first["detail"].startswith("load 80 % is 3.19936 times the trace, by rate")
    assert "path0, to 80 %" in first["detail"] and "path0, to 20 %" in second["detail"]
    said = [line for line in caveats(Forecast(tmp_path / "f")) if "takes the busiest link, path0, to 80 %" in line]
    assert len(said) == 1 and said[0].startswith("Loads: load 80 % is")
    assert tomllib.loads((tmp_path / "f" / "scenario.toml").read_text("utf-8"))["load"] == ["80%", "20%"]


def test_a_share_is_named_as_it_was_asked(constant: Trace, tmp_path: Path) -> None:
    """People read 20 %; tables and documents have the factor, too."""
    flags = {"paths": "2x1Gbps", "policy": "ecmp,spray", "load": "80%,20%", "seeds": 4, "buffer": None}
    document = forecast(constant, scenario_of(None, flags), tmp_path / "f")
    assert [one["share"] for one in document["offered"]] == ["20%", "80%"]
    assert [one["offered"] for one in document["decision"]["loads"]] == ["load 20 %", "load 80 %"]
    assert {row["share"] for row in summary_of(tmp_path / "f")} == {"20%", "80%"}
    found = Forecast(tmp_path / "f")
    assert [variant.label for variant in found.variants[:2]] == ["ecmp, load 20 %", "ecmp, load 80 %"]
    screen = io.StringIO()
    print_forecast(tmp_path / "f", Console(file=screen, width=100))
    first, *_ = screen.getvalue().split("Within:")
    assert "load 20 %" in first or "(20 % to 80 %)" in first
    for one in document["offered"]:
        assert say_number(one["load"]) not in first


def test_a_share_of_several_factors_of_growth_is_named_with_them(constant: Trace, tmp_path: Path) -> None:
    scenario = read(tmp_path, 'load = "40%"\ngrowth = { by = "rate", factor = [1, 1.5] }\n')
    trace = trace_of(tmp_path / "t.pcap", random_rows(2, 500))
    offered = with_known_loads(trace, scenario).offered
    assert [one.share for one in offered] == ["40%", "40% x 1.5"]
    assert load_label(7.0, share="40% x 1.5") == "load 40 % x 1.5"
    assert load_label(7.0, year=2, share="40%") == "year 2 (load 40 %)"


def test_copies_of_connections_come_to_the_share(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "t.pcap", random_rows(1, 3000))
    scenario = with_known_loads(trace, read(tmp_path, 'load = "90%"\ngrowth = { by = "flows" }\n'))
    known, (one,) = scenario.known_loads["90%"], scenario.offered
    assert (one.rate, one.flows) == (1, known.factor)
    assert known.share == pytest.approx(0.9, rel=0.03)  # whole connections
    document = forecast(trace, scenario.model_copy(update={"seeds": (1,)}), tmp_path / "f")
    assert document["offered"][0]["growth"] == float(known.factor)
    spread = read(tmp_path, 'load = "90%"\ngrowth = {}\npolicies = ["spray"]\nseeds = [1]\n[srv6]\nmode = "usid"\n')
    forecast(trace, spread, tmp_path / "g")
    frame = np.mean([size for *_, size in random_rows(1, 3000)]) + twin.FRAMING
    carried = summary_of(tmp_path / "g")[0]["utilisation_max"]
    assert carried == pytest.approx(known.share * (1 + 40 / frame), rel=0.03)  # SRv6's header is not of the share


def test_years_begin_at_the_share(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "t.pcap", random_rows(2, 2000))
    text = 'load = "40%"\ngrowth = { per_year = "50%", years = 2 }\n'
    scenario = with_known_loads(trace, read(tmp_path, text))
    factor = scenario.known_loads["40%"].factor
    assert [one.flows / factor for one in scenario.offered] == pytest.approx([1, 1.5, 2.25])
    assert [one.year for one in scenario.offered] == [0, 1, 2]


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ('"0%"', "2: load[0]: 0% of the busiest link is not within 0.01% to 1000%"),
        ('"1001%"', "2: load[0]: 1001% of the busiest link is not within"),
        ('"half"', "2: load[0]: 'half' is neither a factor, such as 1.5, nor a share of the busiest link"),
        ('[1, "x%"]', "2: load[1]: 'x%' is not a share"),
        ("0", "2: load[0]: must be 0.001 or more"),
        ("nan", "2: load[0]: must be 0.001 or more"),
        ("1001", "2: load[0]: must be 1000 or less; a share of the busiest link"),
        ("true", "2: load[0]: True is neither"),
    ],
)
def test_what_is_no_load_is_said_in_one_line(tmp_path: Path, load: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"\nload = {load}\n")
    assert f"s.toml:{message}" in str(caught.value)


def test_a_share_that_nothing_comes_to_is_refused(tmp_path: Path) -> None:
    rows = [(0, "10.0.0.1", "10.0.1.1", 1, 100), (10**12, "10.0.0.1", "10.0.1.1", 1, 100)]
    with pytest.raises(InputError, match=r"s\.toml:1: load: 50% of leaf0-spine0, which the trace fills to .* needs"):
        with_known_loads(sent(tmp_path / "t.pcap", rows), read(tmp_path, 'load = "50%"\n'))
    with pytest.raises(InputError, match="nothing says what share of a link that is"):
        with_known_loads(sent(tmp_path / "t.pcap", rows[:1]), read(tmp_path, 'load = "50%"\n'))
    with pytest.raises(InputError, match="is known only of a trace or a flow list on the network"):
        assert math.isnan(float(read(tmp_path, 'load = "50%"\n').offered[0].load))
