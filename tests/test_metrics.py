"""Metrics of a cell against the slow twin, on the fates the engine computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from analyzer import metrics
from analyzer.events import Fates
from analyzer.network import Network
from analyzer.policies.registry import find_policy
from analyzer.schema import QUANTILES
from tests.strategies import Seeded, make_scenario, scenarios
from tests.test_engine import network_of, run_engine, traffic_of
from tests.twins import engine as twin_engine
from tests.twins import metrics as twin
from tests.twins.scenarios import Scenario


def assert_same_metrics(scenario: Scenario) -> None:
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    fates, _ = run_engine(scenario)
    network, order = network_of(scenario)
    packets, plan = traffic_of(scenario)
    flows, extents = metrics.flow_fates(network, packets, fates, plan.group)
    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes)
    sent = np.flatnonzero(flows.packets)
    slowdown = dict(zip(np.flatnonzero(flows.fct_ns >= 0).tolist(), metrics.slowdowns(flows).tolist(), strict=True))
    comp = [
        twin.FlowRow(
            flow_id=int(flow),
            bytes=int(flows.bytes[flow]),
            packets=int(flows.packets[flow]),
            delivered=int(flows.delivered[flow]),
            fct_ns=int(flows.fct_ns[flow]) if flows.fct_ns[flow] >= 0 else None,
            slowdown=next((r.slowdown for r in rows if r.flow_id == flow), None),
            reordered=int(flows.reordered[flow]),
            flowlets=int(flows.flowlets[flow]),
            path_changes=int(flows.path_changes[flow]),
        )
        for flow in sent
    ]
    assert comp == rows
    for row in rows:
        assert (row.slowdown is None) == (row.flow_id not in slowdown)
        if row.slowdown is not None:
            assert slowdown[row.flow_id] == pytest.approx(float(row.slowdown), rel=1e-12)
    ref_extents = [extent for extent in twin.extents_of_fates(scenario.packets, refs) if extent is not None]
    assert sorted(extents.tolist()) == sorted(ref_extents)
    summary = metrics.packet_summary(packets, fates) | metrics.flow_summary(flows, extents)
    delays = twin.percentiles(twin.delays_ns(scenario.packets, refs))
    queues = twin.percentiles(twin.queueing_ns(refs))
    fcts = twin.percentiles([row.fct_ns for row in rows if row.fct_ns is not None])
    for name in QUANTILES:
        assert summary[f"delay_{name}_ns"] == delays[name]
        assert summary[f"queue_{name}_ns"] == queues[name]
        assert summary[f"fct_{name}_ns"] == fcts[name]
    assert summary["dropped"] == sum(ref.dropped for ref in refs)
    assert summary["ecn_marked"] == sum(ref.ecn_marked and not ref.dropped for ref in refs)
    assert summary["displaced_3"] == sum(extent >= 3 for extent in ref_extents)
    assert summary["reorder_extent_max"] == max(ref_extents, default=None)
    frames = [ledger.frame_bytes[index] for index in range(len(refs))]
    assert_same_balance(scenario, network, order, fates, refs, frames)


def assert_same_balance(
    scenario: Scenario,
    network: Network,
    order: list[int],
    fates: Fates,
    refs: list[twin_engine.Fate],
    frames: list[int],
) -> None:
    packets, _ = traffic_of(scenario)
    steered = find_policy(scenario.policy).steered
    interval_ns = 5000
    if len(packets.send_ns) and packets.send_ns[-1] - packets.send_ns[0] > 10**8:
        interval_ns = 10**9
    load = metrics.path_load(network, packets, fates, steered=steered, interval_ns=interval_ns)
    ref_balance = twin.balance(twin.interval_bytes(scenario.paths, scenario.packets, refs, frames, interval_ns))
    comp_balance = metrics.balance(load, network.group_slots())
    if ref_balance is None:
        assert comp_balance == (None, None)
    else:
        assert comp_balance == pytest.approx([float(value) for value in ref_balance], rel=1e-9)
    for path in range(len(order)):
        mine = fates.path == path
        assert load.bytes[:, path].sum() == sum(size for size, of in zip(frames, mine, strict=True) if of)
        assert load.dropped[:, path].sum() == sum(ref.dropped and ref.path_id == order[path] for ref in refs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_same_metrics_as_the_twin(scenario: Scenario) -> None:
    assert_same_metrics(scenario)


@pytest.mark.parametrize("seed", range(12))
def test_same_metrics_as_the_twin_on_longer_traces(seed: int) -> None:
    assert_same_metrics(make_scenario(Seeded(seed), 200))


def test_distribution_is_an_ascending_grid_that_ends_at_the_maximum() -> None:
    points = metrics.distribution(np.arange(10_000))
    assert [q for q, _ in points] == sorted({q for q, _ in points})
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 9999.0)
    assert dict(points)[0.999] == 9989.0
    assert metrics.distribution(np.array([])) == []
