"""Lists, forecasts and captures in a circle: made, run, written, read, told apart, and run on the same network."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.workload.recorded.run import workload_of_trace
from segcast.analyzer.workload.source import open_workload
from segcast.analyzer.workload.synthesis.run import Request, synthesise
from segcast.analyzer.workload.writing import write_workload
from segcast.replay.export.run import export_cell
from segcast.traces.ingest.run import ingest

SCENARIO = """
policies = ["{policy}"]
timeouts = ["100us"]
seeds = [3]
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
hosts_per_leaf = 4
links = {{ rate = "10Gbps", delay = "10us", buffer = "60kB", ecn = {ecn} }}
host_links = {{ rate = "10Gbps", delay = "10us", buffer = "60kB", ecn = {ecn} }}
[transport]
control = "{control}"
min_rto = "5ms"
"""
RANKS = (0.5, 0.95, 0.99)
STANDARD = 'slow_start = "standard"\n'


def around(
    folder: Path, request: Request, control: str, policy: str = "ecmp", ecn: str = '"30kB"', transport: str = ""
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The messages of a list's cell, and of the cell of the trace that it became."""
    (folder / "s.toml").write_text(SCENARIO.format(control=control, policy=policy, ecn=ecn) + transport, "utf-8")
    scenario = read_scenario(folder / "s.toml")
    workload, _ = synthesise(request, scenario)
    write_workload(workload, folder / "w.csv")
    forecast(open_workload(folder / "w.csv"), scenario, folder / "a")
    cell = pl.read_parquet(folder / "a" / "summary.parquet")["cell"][0]
    export_cell(folder / "a", cell, folder / "run.pcap")
    forecast(ingest([folder / "run.pcap"], folder / "run.trace"), scenario, folder / "b")
    first, second = (pl.read_parquet(folder / name / "messages.parquet") for name in "ab")
    return first, second


@pytest.mark.parametrize(("control", "policy"), [("cubic", "ecmp"), ("dctcp", "inflight")])
@pytest.mark.parametrize("kind", ["fixed", "web-search"])
def test_flows_take_as_long_to_the_nanosecond(tmp_path: Path, kind: str, control: str, policy: str) -> None:
    """Losses, marks and timeouts included: the second cell is the first one, later by when the first flow began."""
    request = Request(kind, load=0.7, flows=300, seed=5, size_bytes=200_000 if kind == "fixed" else None)
    first, second = around(tmp_path, request, control, policy)
    assert first["fct_ns"].null_count() == 0
    assert control == "dctcp" or first["retransmissions"].sum() > 0
    begin_ns = first["start_ns"].min()
    columns = ["start_ns", "bytes", "fct_ns", "retransmissions", "rto", "flowlets", "path_changes"]
    found = first.sort("start_ns").with_columns(pl.col("start_ns") - begin_ns)
    assert found.select(columns).equals(second.sort("start_ns").select(columns))


@pytest.mark.parametrize(("load", "ranks"), [(0.1, RANKS), (0.5, RANKS[:2])])
def test_exchanges_take_as_long(tmp_path: Path, load: float, ranks: tuple[float, ...]) -> None:
    """Requests, responses and think times: what waited in queues counts as thinking, a little.

    Where losses decide, a nanosecond moves the tail of one list by a third, so six are pooled; at half load the last
    hundredth is timeouts, of which there are too few to compare. Slow start ends by losses: where it ends by trains of
    acknowledgements, thinking that took up a queue's time moves the round in which it does.
    """
    pairs = []
    for seed in range(1, 7):
        (tmp_path / str(seed)).mkdir()
        pairs.append(
            around(
                tmp_path / str(seed),
                Request("web-pages", load=load, flows=3000, seed=seed),
                "cubic",
                transport=STANDARD,
            )
        )
        first, second = pairs[-1]
        assert len(first) == len(second)
        assert first["bytes"].sum() == second["bytes"].sum()
    before, after = (pl.concat([pair[n]["fct_ns"] for pair in pairs]) for n in (0, 1))
    for rank in ranks:
        a, b = (each.quantile(rank, "nearest") for each in (before, after))
        assert a is not None and b is not None
        assert abs(b / a - 1) < 0.05, rank


def test_a_list_of_a_trace_is_what_the_trace_is_run_as(tmp_path: Path) -> None:
    """Over a single path, where five-tuples decide nothing."""
    scenario = SCENARIO.replace("spines = 2", "spines = 1")
    (tmp_path / "s.toml").write_text(scenario.format(control="cubic", policy="ecmp", ecn='"30kB"'), "utf-8")
    of = read_scenario(tmp_path / "s.toml")
    workload, _ = synthesise(Request("web-pages", load=0.6, flows=300, seed=2), of)
    write_workload(workload, tmp_path / "w.csv")
    forecast(open_workload(tmp_path / "w.csv"), of, tmp_path / "a")
    export_cell(tmp_path / "a", "ecmp-s3", tmp_path / "run.pcap")
    trace = ingest([tmp_path / "run.pcap"], tmp_path / "run.trace")
    forecast(trace, of, tmp_path / "b")
    listed, _ = workload_of_trace(trace)
    assert listed is not None
    write_workload(listed, tmp_path / "again.csv")
    forecast(open_workload(tmp_path / "again.csv"), of, tmp_path / "c")
    first, second = (pl.read_parquet(tmp_path / name / "messages.parquet") for name in "bc")
    assert first.sort("flow").equals(second.sort("flow"))
