"""Forecasts of traces that are read batch by batch: the same folder as from memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.forecast import run as forecasting
from segcast.analyzer.forecast import runner
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic import streamed as streaming
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, prepare
from segcast.analyzer.traffic.streamed import survey
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace, load
from tests.support.forecasts import SMALL


def assert_same_folders(one: Path, other: Path) -> None:
    names = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        a, b = one / name, other / name
        if a.is_dir():
            continue
        if name.startswith("packets/"):  # written as it comes, so in other row groups
            assert pq.read_table(a).equals(pq.read_table(b)), name
        else:
            assert a.read_bytes() == b.read_bytes(), name


def disturbed(trace: Trace, folder: Path, by_ns: int) -> Trace:
    """The trace with times later by up to so much, in whole microseconds: they step back, and some are equal."""
    shutil.copytree(trace.folder, folder)
    rng = np.random.default_rng(1)
    for part in load(folder).part_paths:
        table = pq.read_table(part)
        times = (table["time_ns"].to_numpy() + rng.integers(0, by_ns, table.num_rows)) // 1000 * 1000
        at = table.schema.get_field_index("time_ns")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(times)), part)
    return load(folder)


FABRIC = """
policies = ["ecmp", "inflight"]
timeouts = ["100us"]
load = [1.5, 1.0]
seeds = [1]
unassigned = "exclude"
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
links = { rate = "300Mbps", buffer = "256KiB" }
host_links = { rate = "1Gbps", delay = "1us" }
[[attachments]]
name = "leaf0"
prefixes = ["10.20.1.0/30", "fd00:20::1:0/112"]
[[attachments]]
name = "leaf2"
prefixes = ["10.20.2.0/24", "10.20.1.4/32", "fd00:20::2:0/112"]
[[events]]
at = "1s"
link = "leaf0-spine0"
state = "down"
"""


@pytest.fixture(scope="module")
def scenario() -> ValidScenario:
    return short_scenario(**SMALL)


@pytest.fixture
def fabric(tmp_path: Path) -> ValidScenario:
    (tmp_path / "s.toml").write_text(FABRIC, "utf-8")
    return read_scenario(tmp_path / "s.toml")


@pytest.fixture
def dealt(tmp_path: Path) -> ValidScenario:
    """Hosts go to leaves in turn, by their first packets."""
    text = '[network]\nkind = "leaf-spine"\nleaves = 5\nspines = 2\nlinks = { rate = "1Gbps" }\n'
    (tmp_path / "dealt.toml").write_text(text, "utf-8")
    return read_scenario(tmp_path / "dealt.toml")


@pytest.mark.parametrize("name", ["scenario", "fabric"])
def test_the_same_forecast_as_from_memory(
    cluster: Trace,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    scenario = request.getfixturevalue(name)
    document = forecast(cluster, scenario, tmp_path / "memory", stream=False)
    assert (document["excluded"]["unassigned"] > 0) == (name == "fabric")
    monkeypatch.setattr(streaming, "BATCH_ROWS", 5000)
    monkeypatch.setattr(runner, "_CELL_BYTES", 1 << 60)  # so that few advance together: several groups
    forecast(cluster, scenario, tmp_path / "streamed", stream=True, threads=3)
    assert_same_folders(tmp_path / "memory", tmp_path / "streamed")


def test_a_trace_too_large_for_memory_is_streamed(
    cluster: Trace, scenario: ValidScenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surveyed(trace: Trace, scenario: ValidScenario) -> None:
        raise InputError("surveyed")

    monkeypatch.setattr(forecasting, "survey", surveyed)
    monkeypatch.setattr(forecasting, "_FATE_BYTES", 1 << 50)
    with pytest.raises(InputError, match="surveyed"):
        forecast(cluster, scenario, tmp_path / "f")


@pytest.mark.parametrize("name", ["scenario", "fabric", "dealt"])
@pytest.mark.parametrize("batch", [100, 7000, 1 << 17])
def test_packets_come_as_a_stable_sort_would_have_them(
    cluster: Trace,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    request: pytest.FixtureRequest,
) -> None:
    scenario = request.getfixturevalue(name)
    trace = disturbed(cluster, tmp_path / "t", 3_000_000)
    ref = prepare(trace.packet_table(TRAFFIC_COLUMNS), trace.flow_table(), scenario)
    monkeypatch.setattr(streaming, "BATCH_ROWS", batch)
    traffic = survey(trace, scenario)
    assert traffic.back_ns > 0
    pieces = list(traffic.pieces())
    for name, column in ref.packets._asdict().items():
        assert np.array_equal(np.concatenate([getattr(piece.packets, name) for piece in pieces]), column), name
    assert np.array_equal(np.concatenate([piece.frame_number for piece in pieces]), ref.frame_number)
    assert traffic.extent == ref.extent
    assert traffic.outline.excluded == ref.excluded
    for name, column in ref.plan._asdict().items():
        assert column is None or np.array_equal(getattr(traffic.outline.plan, name), column), name
    assert np.array_equal(traffic.flow_bytes, ref.flow_bytes)


def test_times_that_step_back_too_far_are_refused(
    cluster: Trace, scenario: ValidScenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = disturbed(cluster, tmp_path / "t", 1_000_000_000)
    monkeypatch.setattr(streaming, "LOOK_AHEAD", 10)
    with pytest.raises(InputError, match=r"t: times step back by \d+ ns, over more than 10 packets: .*reordercap"):
        forecast(trace, scenario, tmp_path / "f", stream=True)


def test_recorded_acknowledgements_need_the_whole_trace(cluster: Trace, tmp_path: Path) -> None:
    scenario = short_scenario(paths="4x400Mbps", policies=["inflight"], seeds=[1], steering={"ack": "recorded"})
    with pytest.raises(InputError, match='"recorded" needs the whole trace in memory; use another'):
        forecast(cluster, scenario, tmp_path / "f", stream=True)
    assert not (tmp_path / "f").exists()
