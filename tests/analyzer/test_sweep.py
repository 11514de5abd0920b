"""Sweeps: which variants a scenario has, what is kept of their cells, and that each is as its own forecast has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.batches import batches_of
from segcast.analyzer.sweep.fields import parse_set, variants_of, with_set
from segcast.analyzer.sweep.run import sweep
from segcast.traces.errors import InputError
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.support.ingesting import conversations

LEAVES = """
seeds = [1, 2]
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
links = { rate = "1Gbps", delay = "1us", buffer = "64KiB" }
"""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    home = tmp_path_factory.mktemp("swept")
    (home / "c.pcap").write_bytes(conversations(21))
    return ingest([home / "c.pcap"], home / "c.trace")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CellStore]:
    opened = CellStore(tmp_path / "cells.sqlite")
    yield opened
    opened.close()


def parallel(*given: str, **flags: Any) -> ValidScenario:
    asked = {"paths": "2x10Mbps", "seeds": [1, 2], "policies": ["ecmp", "inflight"]} | flags
    return with_set(short_scenario(**asked), given)


def test_ranges_and_lists() -> None:
    assert parse_set("buffer=64KiB..1MiB/5") == ("buffer", ("64KiB", "128KiB", "256KiB", "512KiB", "1MiB"))
    assert parse_set("buffer=1KiB..3KiB/3linear") == ("buffer", ("1KiB", "2KiB", "3KiB"))
    assert parse_set("network.spines=1..8/3") == ("network.spines", (1, 4, 8))
    assert parse_set("a=0.1..0.5/3") == ("a", (0.1, 0.3, 0.5))
    assert parse_set("a=1..100/3log") == ("a", (1, 10, 100))
    assert parse_set("a=20%..40%/2") == ("a", ("20%", "40%"))
    assert parse_set("a=true,x,5us,3,x") == ("a", (True, "x", "5us", 3))


def test_variants_are_the_product_of_all_values(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(LEAVES + '[sweep]\n"network.spines" = [1, 2]\nbuffer = { from = "1KiB", to = "4KiB", steps = 3 }\n')
    scenario = read_scenario(file, swept=True)
    found = variants_of(scenario)
    assert [one.name for one in found] == [
        f"network.spines {spines}, buffer {size}" for spines in (1, 2) for size in ("1KiB", "2KiB", "4KiB")
    ]
    assert [one.scenario.network.spines for one in found] == [1, 1, 1, 2, 2, 2]  # type: ignore[attr-defined]
    assert [one.scenario.network.links.buffer for one in found[:3]] == [1024, 2048, 4096]  # type: ignore[attr-defined]
    assert all(one.scenario.sweep is None for one in found)
    assert read_scenario(write(tmp_path / "again.toml", scenario.to_toml()), swept=True) == scenario


def write(file: Path, text: str) -> Path:
    file.write_text(text, "utf-8")
    return file


def test_links_of_every_kind_of_network_and_their_number() -> None:
    (first, second) = variants_of(parallel("links.rate=10Mbps,20Mbps"))
    assert {link.rate for path in second.scenario.network.paths for link in path.links} == {20_000_000}  # type: ignore[attr-defined]
    assert first.scenario.network.paths[0].links[0].buffer == 512 << 10  # type: ignore[attr-defined]
    assert [len(one.scenario.network.paths) for one in variants_of(parallel("paths=1,3"))] == [1, 3]  # type: ignore[attr-defined]
    (one,) = variants_of(parallel("network.paths[1].links.*.rate=5Mbps"))
    assert [path.links[0].rate for path in one.scenario.network.paths] == [10_000_000, 5_000_000]  # type: ignore[attr-defined]
    (closed,) = variants_of(parallel("transport.control=dctcp"))
    assert closed.scenario.transport is not None
    (plain,) = variants_of(parallel())
    assert plain.name == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bufer=1kB", "no field of a scenario; did you mean 'buffer'"),
        ("load=1,2", "takes a list of its own, every value of which is run; give them there, or by --load"),
        ("buffer=5", "sweep.buffer = 5: 5 needs quotes and a unit"),
        ("transport.control=cubik", "sweep.transport.control = cubik: must be 'cubic', 'dctcp' or 'newreno'"),
        ("network.paths.9.links.0.rate=1Gbps", "there is no 9 in network.paths"),
        ("paths=0", "0 is no number of paths from 1 to 1024"),
        ("buffer=1KiB..5us/3", "is no range"),
        ("buffer=", "write it like buffer=64KiB,1MiB"),
        ("a=0..1/3log", "must lie above 0"),
        ("a=1..2/1", "steps must be a whole number from 2 to 1000"),
        ("packets=all", "cannot be swept"),
        ("steering.foo=1", "unknown key 'foo'"),
        ("seeds[0]=1,2", "takes a list of its own, every value of which is run; give them there, or by --seeds"),
        (f"steering.ack_loss=0..{'9' * 400}/3", "a range of numbers must lie within -1e+15 and 1e+15"),
        ("steering.ack_loss=0..nan/3", "a range of numbers must lie within"),
        (f"steering.ack_loss={'9' * 5000}", "9...: "),
        ("a=1%..1e999%/3", "is no range"),
        ("buffer=64KiB..1MiB/1000000000", "steps must be a whole number from 2 to 1000"),
        ("buffer=64KiB..1MiB/1e9", "write it like buffer=64KiB,1MiB or buffer=64KiB..1MiB/5"),
        (f"buffer={','.join(map(str, range(1001)))}", "1001 values; at most 1000 are supported"),
    ],
)
def test_what_cannot_be_swept_is_one_line(given: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        variants_of(parallel(given))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("buffer=1KiB,2KiB", "links.buffer=1KiB,3KiB"),
        ("delay=1us,2us", "network.paths[0].links[0].delay=5us"),
        ("network.paths[0].links[0].rate=1Gbps", "network.paths.0.links=1"),
    ],
)
def test_two_fields_that_mean_the_same_are_refused(given: str, other: str) -> None:
    for first, second in ((given, other), (other, given)):
        with pytest.raises(InputError, match=f"{re.escape(first.split('=')[0])} is swept as well, and means the same"):
            variants_of(parallel(first, second))
    assert len(variants_of(parallel("buffer=1KiB,2KiB", "delay=1us,2us"))) == 4


def test_spines_are_not_swept_twice() -> None:
    leaves = short_scenario(leaf_spine="2x2x1Gbps", seeds=[1])
    with pytest.raises(InputError, match=r"paths is swept as well, and means the same; leave one out"):
        variants_of(with_set(leaves, ["paths=1,2", "network.spines=1,2"]))


def test_links_that_there_cannot_be_are_refused_before_a_cell_runs(trace: Trace, store: CellStore) -> None:
    with pytest.raises(InputError, match=r"sweep: with rate 0bps: link path0: rate 0 bit/s is not in 1 kbit/s"):
        batches_of(trace, parallel("rate=1Gbps,0bps"), store)


def test_too_many_variants_are_refused_before_any_is_made() -> None:
    given = [f"steering.{name}=1us..1s/1000" for name in ("timeout", "ack_delay")]
    with pytest.raises(InputError, match=r"1000 x 1000 are 1,000,000 variants; at most 10,000"):
        variants_of(parallel(*given))


def test_who_runs_no_sweeps_says_who_does(tmp_path: Path, trace: Trace) -> None:
    file = write(tmp_path / "s.toml", LEAVES + '[sweep]\nbuffer = ["1kB"]\n')
    with pytest.raises(InputError, match=r"s.toml:8: sweep: is what segcast sweep runs"):
        scenario_of(file, {})
    with pytest.raises(InputError, match="segcast sweep"):
        forecast(trace, parallel("buffer=1kB"), tmp_path / "f")


@pytest.mark.parametrize(
    "flags", [{}, {"transport": {"control": "cubic"}}, {"load": [1, 2]}, {"growth": {"factor": 2}}]
)
def test_each_cell_is_that_of_the_variants_own_forecast(
    trace: Trace, store: CellStore, tmp_path: Path, flags: dict[str, Any]
) -> None:
    scenario = parallel("buffer=3kB,30kB", **flags)
    sweep(trace, scenario, tmp_path / "s", store=store)
    rows = pq.read_table(tmp_path / "s" / "summary.parquet").to_pylist()
    choices = pq.read_table(tmp_path / "s" / "choices.parquet").to_pylist()
    for one in variants_of(scenario):
        forecast(trace, one.scenario, tmp_path / "f")
        own = pq.read_table(tmp_path / "f" / "summary.parquet").to_pylist()
        assert [{"variant": one.name, **row} for row in own] == [row for row in rows if row["variant"] == one.name]
        # Its p99 and p99.9 are those of all seeds together, not means of theirs.
        for pooled in pq.read_table(tmp_path / "f" / "pooled.parquet").to_pylist():
            name = f"{pooled['metric'].removesuffix('_ns')}_{'p99' if pooled['quantile'] == 0.99 else 'p999'}_ns"
            (choice,) = (
                each
                for each in choices
                if (each["variant"], each["policy"], each["load"]) == (one.name, pooled["policy"], pooled["load"])
            )
            assert choice[name] == pooled["value"]
    compared = pq.read_table(tmp_path / "s" / "comparisons.parquet").to_pylist()
    for row in (row for row in compared if row["metric"] == "delay_p99_ns"):
        cells = [each for each in rows if (each["variant"], each["load"]) == (row["variant"], row["load"])]
        values = [each["delay_p99_ns"] for each in cells if each["policy"] == row["baseline_policy"]]
        assert row["baseline"] == pytest.approx(sum(values) / len(values))


class Stopped(Exception):
    pass


def test_all_intervals_hold_together_over_all_cases(trace: Trace, store: CellStore, tmp_path: Path) -> None:
    """Those of 3 cases are as wide as if a case had three times the comparisons, and the sentence counts them all."""
    few = parallel("buffer=64KiB", policies=["ecmp", "inflight", "random"])
    document = sweep(
        trace,
        parallel("buffer=16KiB,64KiB,1MiB", policies=["ecmp", "inflight", "random"]),
        tmp_path / "all",
        store=store,
    )
    one = sweep(trace, few, tmp_path / "one", store=store)
    assert document["answer"].startswith("Too little to tell: 2 seeds cannot tell 6 comparisons apart")
    assert one["answer"].startswith("Too little to tell: 2 seeds cannot tell 2 comparisons apart")
    rows = {name: pq.read_table(tmp_path / name / "comparisons.parquet").to_pylist() for name in ("all", "one")}
    mine = [row for row in rows["all"] if row["variant"] == "buffer 64KiB"]
    alone = rows["one"]
    assert [row["change"] for row in mine] == [row["change"] for row in alone]
    told = [(a, b) for a, b in zip(mine, alone, strict=True) if b["low"] is not None and b["low"] < b["high"]]
    assert told
    assert all(a["low"] < b["low"] < b["high"] < a["high"] for a, b in told)


def test_an_interrupted_sweep_goes_on_and_runs_no_cell_twice(trace: Trace, store: CellStore, tmp_path: Path) -> None:
    scenario = parallel("buffer=3kB,30kB,300kB")
    sweep(trace, scenario, tmp_path / "whole", store=CellStore(tmp_path / "other.sqlite"))
    ran: list[int] = []

    def stop(done: int, total: int, left: str) -> None:
        ran.append(done)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"5 of 12 cells are done and kept"):
        sweep(trace, scenario, tmp_path / "s", stop, store=store, threads=1)
    assert not (tmp_path / "s").exists()
    said: list[str] = []
    begun: list[int] = []
    sweep(trace, scenario, tmp_path / "s", lambda done, *_: begun.append(done), store=store, say=said.append)
    assert begun[0] >= 5
    assert said == ["12 cells of 3 variants, 5 kept from before"]
    again: list[int] = []
    sweep(trace, scenario, tmp_path / "again", lambda done, *_: again.append(done), store=store)
    assert again == [12]
    for table in ("summary", "choices", "comparisons", "variants"):
        first, *others = ((tmp_path / name / f"{table}.parquet").read_bytes() for name in ("whole", "s", "again"))
        assert all(other == first for other in others)


def test_shares_of_a_link_are_looked_up_once(trace: Trace, store: CellStore, tmp_path: Path) -> None:
    scenario = parallel("links.rate=10Mbps,20Mbps", load=["50%"])
    first = sweep(trace, scenario, tmp_path / "a", store=store)
    slow, fast = (case["load"] for case in first["cases"])
    assert fast == pytest.approx(2 * slow, rel=1e-5)
    assert sweep(trace, scenario, tmp_path / "b", store=store) == first
