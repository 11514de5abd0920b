"""Runs that stop and go on from a file: the results are those of a run that did not stop."""

from __future__ import annotations

import tempfile
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.window import Window
from segcast.analyzer.forecast.resuming.saved import load, save
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.network.model import Change, Link, parallel_network
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from segcast.traces.errors import InputError
from tests.support.simulating import cell_of, network_of, pieces, traffic_of
from tests.support.strategies import Seeded, make_scenario, scenarios
from tests.twins.scenarios import Scenario


def begin(scenario: Scenario) -> tuple[Window, Accumulator]:
    network = network_of(scenario)
    _, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    steered = find_policy(scenario.policy).steered
    return Window(cell_of(scenario), 1), Accumulator(network, plan, steered=steered, interval_ns=5000)


def count(metrics: Accumulator, window: Window, piece: Packets) -> None:
    finished = window.feed(piece)
    metrics.sent(piece, window.paths)
    metrics.finished(*finished, window.awaited)


def leaves(part: Any) -> list[NDArray[Any]]:
    return [leaf for value in part for leaf in leaves(value)] if isinstance(part, tuple) else [part]


def same(ref: Any, comp: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(leaves(ref), leaves(comp), strict=True))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.integers(1, 12), st.integers(0, 6))
def test_a_run_that_stops_and_goes_on_ends_the_same(scenario: Scenario, batch: int, stops_after: int) -> None:
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    window, metrics = begin(scenario)
    other_window, other = begin(scenario)
    with tempfile.TemporaryDirectory() as folder:
        for number, piece in enumerate(pieces(packets, batch)):
            count(metrics, window, piece)
            count(other, other_window, piece)
            if number == stops_after:
                save(File(folder) / "run", other_window, other)
                other_window, other = begin(scenario)
                load(File(folder) / "run", other_window, other)
    for counted, its in ((metrics, window), (other, other_window)):
        counted.finished(*its.drain(), its.awaited)
    assert same(tuple(metrics.finish()), tuple(other.finish()))
    assert same(metrics.held, other.held)
    assert same(window.cell.policy_state, other_window.cell.policy_state)
    assert np.array_equal(window.cell.state.links, other_window.cell.state.links)


def failing() -> tuple[Window, Packets]:
    chains = [[Link(f"p{n}", 10**9, 5000, 10**5)] for n in range(2)]
    network = parallel_network(chains, [()] * 2)
    changes = (Change(100_000, 0, 0), Change(300_000, 0, 10**9))
    network = type(network)(network.links, network.paths, changes=changes, detection_ns=50_000)
    plan = FlowPlan(np.arange(4, dtype=np.uint64), np.zeros(4, np.int64), np.zeros(4, np.int64))
    cell = Cell(network, find_policy("inflight"), plan, Steering(100_000), timeout_ns=1000, seed=1)
    rows = np.arange(100)
    return Window(cell), Packets(rows * 5000, (rows % 4).astype(np.uint32), np.full(100, 1000, np.uint32))


@pytest.mark.parametrize("stop", [10, 20, 30, 50, 61, 80])
def test_changes_of_links_are_not_made_twice(tmp_path: File, stop: int) -> None:
    window, packets = failing()
    ref = [window.feed(packets), window.drain()]
    window, _ = failing()
    comp = [window.feed(Packets._make(c[:stop] for c in packets))]
    save(tmp_path / "run", window)
    window, _ = failing()
    load(tmp_path / "run", window)
    comp += [window.feed(Packets._make(c[stop:] for c in packets)), window.drain()]
    for name in ("receive_ns", "state", "path"):
        a, b = (np.concatenate([getattr(fates, name) for _, fates in out]) for out in (ref, comp))
        assert np.array_equal(a, b), name
    assert 0 < (np.concatenate([fates.receive_ns for _, fates in comp]) < 0).sum() < 100


def test_what_is_no_saved_run_of_this_cell_is_refused(tmp_path: File) -> None:
    scenario = next(s for s in (make_scenario(Seeded(n), 60) for n in range(9)) if len(s.packets) > 20)
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    window, metrics = begin(scenario)
    count(metrics, window, packets)
    file = tmp_path / "run"
    save(file, window, metrics)
    with pytest.raises(InputError, match=r"nothing: does not exist"):
        load(tmp_path / "nothing", *begin(scenario))
    with pytest.raises(InputError, match="belongs to another run"):
        load(file, begin(scenario)[0])
    other = next(s for s in (make_scenario(Seeded(n), 60) for n in range(50, 99)) if s.packets)
    with pytest.raises(InputError, match="belongs to another run"):
        load(file, *begin(other))
    content = file.read_bytes()
    for damaged in (b"", b"text", content[:-100], content[: len(content) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="is no saved run, or is damaged"):
            load(file, *begin(scenario))
    file.write_bytes(content)
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    arrays["0.cell.state.inflight"] = arrays["0.cell.state.inflight"] + 1
    with file.open("wb") as out:
        np.savez(out, **arrays)
    with pytest.raises(InputError, match="does not have the digest it states"):
        load(file, *begin(scenario))
    arrays["about"] = np.frombuffer(arrays["about"].tobytes().replace(b'"format": 6', b'"format": 9'), np.uint8)
    with file.open("wb") as out:
        np.savez(out, **arrays)
    with pytest.raises(InputError, match="saved in format 9, but this Segcast reads 6"):
        load(file, *begin(scenario))
