"""Streaming through a window: the fates are those of the whole trace at once, and memory follows what is open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.window import Window, stream
from segcast.analyzer.network.model import Link, parallel_network
from segcast.analyzer.packets import FlowPlan, Packets, empty_fates
from segcast.analyzer.policies.registry import find_policy
from segcast.traces.errors import InputError
from tests.support.simulating import cell_of, pieces, releases_of, run_engine, traffic_of
from tests.support.strategies import scenarios
from tests.twins.scenarios import Scenario

RELAXED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(scenarios(), st.integers(1, 12), st.integers(1, 8))
def test_the_same_fates_as_at_once(scenario: Scenario, batch: int, capacity: int) -> None:
    """In order if that is asked for, else each flow's."""
    whole, _ = run_engine(scenario)
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    by_flow = np.argsort(packets.flow, kind="stable")
    for in_order in (True, False):
        window = Window(cell_of(scenario), capacity, in_order=in_order)
        out = [window.feed(piece) for piece in pieces(packets, batch)]
        out.append(window.drain())
        flow = np.concatenate([given.flow for given, _ in out])
        rows = np.arange(len(flow)) if in_order else np.argsort(flow, kind="stable")
        refs = np.arange(len(flow)) if in_order else by_flow
        for name, ref in (whole._asdict() | packets._asdict()).items():
            comp = np.concatenate([getattr(part, name) for both in out for part in both if hasattr(part, name)])
            assert np.array_equal(comp[rows], ref[refs]), name


@RELAXED
@given(scenarios(), st.integers(1, 12), st.integers(1, 8))
def test_it_names_the_flows_that_lag_behind(scenario: Scenario, batch: int, capacity: int) -> None:
    """Whatever comes with a hand-out, or later, though something sent after it came before, is of a flow awaited."""
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    window = Window(cell_of(scenario), capacity)
    out = [(window.feed(piece)[0], window.awaited) for piece in pieces(packets, batch)]
    out.append((window.drain()[0], window.awaited))
    horizon_ns = before_ns = -1
    for number, (handed, awaited) in enumerate(out):
        before_ns, horizon_ns = horizon_ns, max(horizon_ns, int(handed.send_ns.max(initial=-1)))
        since_ns = dict(zip(awaited.flow.tolist(), awaited.send_ns.tolist(), strict=True))
        assert len(since_ns) == len(awaited.flow)
        for later, (coming, _) in enumerate(out[number:]):
            for flow, send_ns in zip(coming.flow.tolist(), coming.send_ns.tolist(), strict=True):
                if send_ns < (horizon_ns if later else before_ns):
                    assert since_ns[flow] <= send_ns


@RELAXED
@given(scenarios(), st.integers(0, 255))
def test_what_other_cells_left_in_memory_changes_nothing(scenario: Scenario, byte: int) -> None:
    whole, _ = run_engine(scenario)
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    room = empty_fates(len(packets.flow))
    for column in room:
        column.view(np.uint8)[:] = byte
    comp = simulate(cell_of(scenario), packets, releases=releases_of(scenario), room=room)
    for name, ref in whole._asdict().items():
        assert np.array_equal(getattr(comp, name), ref), name


def test_memory_follows_what_is_under_way() -> None:
    chains = [[Link(f"p{n}", 10**9, 5000, 10**5)] for n in range(2)]
    plan = FlowPlan(np.arange(8, dtype=np.uint64), np.zeros(8, np.int64), np.zeros(8, np.int64))
    cell = Cell(
        parallel_network(chains, [()] * 2),
        find_policy("inflight"),
        plan,
        Steering(1_000_000),
        timeout_ns=1000,
        seed=1,
    )
    window = Window(cell, 100)
    room = (len(cell.state.calendar.events), len(cell.state.rings.entries))
    handed = 0
    for batch in range(200):
        rows = np.arange(batch * 1000, (batch + 1) * 1000)
        packets = Packets(rows * 5000, (rows % 8).astype(np.uint32), np.full(1000, 1000, np.uint32))
        handed += len(window.feed(packets)[0].flow)
        assert window.open_packets < 500
        assert (len(cell.state.calendar.events), len(cell.state.rings.entries)) == room
    handed += len(window.drain()[0].flow)
    assert handed == 200_000


def test_batches_that_do_not_follow_are_refused() -> None:
    chains = [[Link("a", 10**9, 5000)]]
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    network = parallel_network(chains, [()])
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)

    def at(time_ns: int) -> Packets:
        return Packets(np.array([time_ns]), np.zeros(1, np.uint32), np.full(1, 100, np.uint32))

    with pytest.raises(InputError, match="not in send order between batches"):
        list(stream(cell, [at(10), at(9)]))
