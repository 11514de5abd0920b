"""A packet that stays long does not hold the others in memory, and changes nothing in the tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.window import Window
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.network.model import Link, Network, parallel_network
from segcast.analyzer.packets import DROPPED, RECEIVED, RELEASED, Fates, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from tests.support.simulating import cell_of, network_of, pieces, run_engine, traffic_of
from tests.support.strategies import fabrics, scenarios
from tests.twins.scenarios import PLAIN_CELLS, Scenario

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FLOWS = 60


def tables(cell: Cell, metrics: Accumulator) -> dict[str, Any]:
    """All that metrics give."""
    flows = metrics.finish()
    counts = metrics.held
    series = {"bytes": counts.path_load.bytes, "dropped": counts.path_load.dropped, "hosts": counts.delays.hosts}
    ending = metrics.ending(flows, cell.state.links)
    columns = {**flows, **series, "link_drops": counts.tally.link_drops, "window": ending.window_ns}
    return {name: np.asarray(values).tolist() for name, values in columns.items()} | metrics.summary(ending)


def streamed(window: Window, metrics: Accumulator, packets: Packets, batch: int) -> dict[str, Any]:
    """The tables of packets that go through a window."""
    for piece in pieces(packets, batch):
        finished = window.feed(piece)
        metrics.sent(piece, window.paths)
        metrics.finished(*finished, window.awaited)
    metrics.finished(*window.drain(), window.awaited)
    return tables(window.cell, metrics)


@RELAXED
@given(st.one_of(scenarios(), fabrics(40, PLAIN_CELLS, ("modelled", "timeout"))), st.integers(1, 12), st.integers(1, 8))
def test_the_same_tables_whatever_is_handed_out_early(scenario: Scenario, batch: int, capacity: int) -> None:
    packets, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    about = {"steered": find_policy(scenario.policy).steered, "interval_ns": 5000}
    fates, cell = run_engine(scenario)
    held = Accumulator(network_of(scenario), plan, **about)  # type: ignore[arg-type]
    held.add(packets, fates)
    window = Window(cell_of(scenario), capacity)
    counted = Accumulator(network_of(scenario), plan, **about)  # type: ignore[arg-type]
    assert streamed(window, counted, packets, batch) == tables(cell, held)


def slow_path(hops: int, apart: bool) -> tuple[Network, FlowPlan, Packets]:
    """Three paths and one without a bound, so slow that what it takes is received after all else was sent.

    It is for flow 0, which sends little, if `apart`; else for all.
    """
    chains = [[Link(f"p{n}-{hop}", 10**9, 5000, 10**5) for hop in range(hops)] for n in range(3)]
    chains.append([Link(f"slow-{hop}", 10**5, 5000) for hop in range(hops)])
    network = parallel_network(chains, [()] * 4)
    group = np.zeros(FLOWS, np.int64)
    if apart:
        group[0] = 1
        slow = replace(network.paths[3], group=1)
        network = Network(network.links, (*network.paths[:3], slow))
    plan = FlowPlan(np.arange(FLOWS, dtype=np.uint64) * 7, np.arange(FLOWS) % 5, group)
    count = 120_000
    flow = np.random.default_rng(1).integers(1, FLOWS, count).astype(np.uint32)
    flow[::6000] = 0
    return network, plan, Packets(np.arange(count) * 4000, flow, np.full(count, 1000, np.uint32))


def waiting(packets: Packets, fates: Fates) -> int:
    """The packets that are open or behind an open one of their flow."""
    is_open = (fates.state & (RECEIVED | DROPPED) == 0) | (fates.state & RELEASED == 0)
    rows = np.arange(len(is_open))
    first = np.full(FLOWS, len(is_open))
    np.minimum.at(first, packets.flow[is_open], rows[is_open])
    return int((rows >= first[packets.flow]).sum())


def rows_of(window: Window) -> tuple[Packets, Fates]:
    """The packets that it holds."""
    rows = window.open_packets
    packets, fates = window._packets, window._fates
    return packets._make(column[:rows] for column in packets), fates._make(column[:rows] for column in fates)


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize(("policy", "apart"), [("inflight", True), ("random", True), ("random", False)])
def test_a_stuck_flow_does_not_hold_the_others(policy: str, apart: bool, hops: int) -> None:
    network, plan, packets = slow_path(hops, apart)

    def begin() -> tuple[Cell, Accumulator]:
        cell = Cell(network, find_policy(policy), plan, Steering(50_000_000), timeout_ns=100_000, seed=1)
        return cell, Accumulator(network, plan, steered=True, interval_ns=10**6)

    cell, held = begin()
    fates = simulate(cell, packets)
    held.add(packets, fates)
    assert (fates.receive_ns[:60_000] > packets.send_ns[-1]).sum() >= 5
    other, counted = begin()
    window, most, sent = Window(other, 2000), 2000, 0
    for piece in pieces(packets, 1500):
        finished = window.feed(piece)
        counted.sent(piece, window.paths)
        counted.finished(*finished, window.awaited)
        sent += 1500
        most = max(most, 2 * waiting(*rows_of(window)))
        assert window.open_packets <= most
        rows = int(counted.held.reordering.progress["held"][0])
        if apart:
            assert window.open_packets <= 2000
            assert rows < 4 * 8192
    counted.finished(*window.drain(), window.awaited)
    assert tables(other, counted) == tables(cell, held)
