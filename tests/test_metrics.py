"""Metrics of a cell against the slow twin, on the fates the engine computed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from analyzer import metrics
from analyzer.cells import CellPlan
from analyzer.choices import PolicyChoice, TimeoutChoice
from analyzer.engine import empty_fates
from analyzer.events import Fates, Packets
from analyzer.forecast import CellRunner
from analyzer.network import Network
from analyzer.policies.registry import find_policy
from analyzer.scenario import short_scenario
from analyzer.schema import FLOW_FATES, QUANTILES, SIZES, SUMMARY
from analyzer.traffic import Traffic
from tests.simulating import network_of, run_engine, traffic_of
from tests.strategies import Seeded, make_scenario, scenarios
from tests.twins import engine as twin_engine
from tests.twins import metrics as twin
from tests.twins.scenarios import Scenario

INTERVAL_NS = 50_000


def assert_same_metrics(scenario: Scenario) -> None:
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    fates, _ = run_engine(scenario)
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows)
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
    assert_same_balance(scenario, network, fates, refs, frames)


def assert_same_balance(
    scenario: Scenario,
    network: Network,
    fates: Fates,
    refs: list[twin_engine.Fate],
    frames: list[int],
) -> None:
    packets, _ = traffic_of(scenario.packets, scenario.flows)
    steered = find_policy(scenario.policy).steered
    interval_ns = 5000
    if len(packets.send_ns) and packets.send_ns[-1] - packets.send_ns[0] > 10**8:
        interval_ns = 10**9
    load = metrics.path_load(network, packets, fates, steered=steered, interval_ns=interval_ns)
    ref_balance = twin.balance(twin.interval_bytes(scenario.paths, scenario.packets, refs, frames, interval_ns))
    comp_balance = metrics.balance(load)
    if ref_balance is None:
        assert comp_balance == (None, None)
    else:
        assert comp_balance == pytest.approx([float(value) for value in ref_balance], rel=1e-9)
    for path in range(len(scenario.paths)):
        mine = fates.path == path
        assert load.bytes[:, path].sum() == sum(size for size, of in zip(frames, mine, strict=True) if of)
        assert load.dropped[:, path].sum() == sum(ref.dropped and ref.path_id == path for ref in refs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_same_metrics_as_the_twin(scenario: Scenario) -> None:
    assert_same_metrics(scenario)


@pytest.mark.parametrize("seed", range(12))
def test_same_metrics_as_the_twin_on_longer_traces(seed: int) -> None:
    assert_same_metrics(make_scenario(Seeded(seed), 200))


def tables_of(scenario: Scenario) -> tuple[dict[str, Any], list[dict[str, Any]], pl.DataFrame, pl.DataFrame]:
    """What a forecast writes for this one cell: its row of SUMMARY, rows of SIZES, flows, series."""
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows)
    numbers = np.arange(len(packets.send_ns))
    frames = numbers.astype(np.uint64)
    traffic = Traffic(packets, numbers.astype(np.uint16), frames, numbers, plan, ("a", "b", "c"), {}, network, ())
    steering = {"loss_timeout": f"{scenario.loss_timeout_ns}ns"}
    spec = short_scenario(paths="1Gbps", interval=f"{INTERVAL_NS}ns", steering=steering)
    timeout = TimeoutChoice(name="fixed", label="fixed", timeout_ns=scenario.timeout_ns)
    policy = PolicyChoice(name=scenario.policy, label=scenario.policy)
    cell = CellPlan(policy, timeout, Fraction(1), scenario.seed, False, True)
    rows, flows, series = CellRunner(traffic, spec, Path("/nowhere")).run(cell)
    return rows.summary, rows.sizes, pl.DataFrame(pl.from_arrow(flows)), pl.DataFrame(pl.from_arrow(series))


def twin_summary(scenario: Scenario, refs: list[twin_engine.Fate], ledger: twin_engine.Ledger) -> dict[str, Any]:
    """Every column of SUMMARY but those of the cell, from the twins alone."""
    sent = scenario.packets
    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes)
    delays, queues = twin.delays_ns(sent, refs), twin.queueing_ns(refs)
    extents = [extent for extent in twin.extents_of_fates(sent, refs) if extent is not None]
    frames = [ledger.frame_bytes[index] for index in range(len(refs))]
    shares = twin.utilisations(scenario.links, sent, refs, ledger)
    even = twin.balance(twin.interval_bytes(scenario.paths, sent, refs, frames, INTERVAL_NS))
    flowlets = len({ref.flowlet_id for ref in refs})
    values: dict[str, Any] = {
        "packets": len(refs),
        "delivered": len(delays),
        "dropped": len(refs) - len(delays),
        "drop_ratio": (len(refs) - len(delays)) / len(refs),
        "ecn_marked": sum(ref.ecn_marked and not ref.dropped for ref in refs),
        "retransmissions": None,
        "delay_mean_ns": twin.mean(delays),
        "queue_mean_ns": twin.mean(queues),
        "reordered": len(extents),
        "reordered_ratio": len(extents) / len(delays) if delays else None,
        "reorder_extent_p99": twin.nearest_rank(extents, Fraction(99, 100)),
        "reorder_extent_max": max(extents, default=None),
        "displaced_3": sum(extent >= 3 for extent in extents),
        "imbalance": even[0] if even else None,
        "jain": even[1] if even else None,
        "utilisation_mean": sum(shares) / len(shares) if shares else None,
        "utilisation_max": max(shares) if shares else None,
        "flowlets": flowlets,
        "flowlet_packets_mean": Fraction(len(refs), flowlets),
        "flowlet_bytes_mean": Fraction(sum(packet.ip_bytes for packet in sent), flowlets),
        "path_changes": sum(row.path_changes for row in rows),
    }
    fcts = [row.fct_ns for row in rows if row.fct_ns is not None]
    slowdowns = [row.slowdown for row in rows if row.slowdown is not None]
    for prefix, unit, data in (("delay", "_ns", delays), ("queue", "_ns", queues), ("fct", "_ns", fcts)):
        values |= {f"{prefix}_{name}{unit}": value for name, value in twin.percentiles(data).items()}
    return values | {f"slowdown_{name}": value for name, value in twin.percentiles(slowdowns).items()}


def assert_close(comp: dict[str, Any], ref: dict[str, Any]) -> None:
    assert comp.keys() == ref.keys()
    for name, value in ref.items():
        if value is None or isinstance(value, int):
            assert comp[name] == value, name
        else:
            assert comp[name] == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize("seed", [seed for seed in range(40) if make_scenario(Seeded(seed), 200).packets])
def test_every_column_of_a_cell_is_the_twins(seed: int) -> None:
    """Driven by the schemas: a column that is added there must be computed here."""
    scenario = make_scenario(Seeded(seed), 200)
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    summary, sizes, flows, series = tables_of(scenario)
    of_cell = {"cell", "policy", "timeout", "timeout_ns", "load", "seed"}
    comp = {name: value for name, value in summary.items() if name not in of_cell}
    assert set(comp) == set(SUMMARY.names()) - of_cell
    assert_close(comp, twin_summary(scenario, refs, ledger))

    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes)
    assert flows["flow_id"].to_list() == [row.flow_id for row in rows]
    for name in set(FLOW_FATES.names()) - of_cell:
        for value, row in zip(flows[name], rows, strict=True):
            expected = getattr(row, name)
            assert value == (expected if expected is None else pytest.approx(float(expected), rel=1e-12)), name

    for found in sizes:
        low, high = found["min_bytes"], found["below_bytes"]
        mine = [r for r in rows if r.fct_ns is not None and low <= r.bytes and (high is None or r.bytes < high)]
        ref: dict[str, Any] = {"min_bytes": low, "below_bytes": high, "flows": len(mine)}
        fcts, slow = twin.percentiles([r.fct_ns for r in mine]), twin.percentiles([r.slowdown for r in mine])
        ref |= {f"fct_{name}_ns": value for name, value in fcts.items()}
        ref |= {f"slowdown_{name}": value for name, value in slow.items()}
        assert_close({name: value for name, value in found.items() if name not in of_cell}, ref)
        assert set(found) == set(SIZES.names())
    assert [found["min_bytes"] for found in sizes] == [0, 10_000, 100_000, 1_000_000, 10_000_000]
    assert sum(found["flows"] for found in sizes) == sum(row.fct_ns is not None for row in rows)

    first_ns = scenario.packets[0].send_ns
    assert series.select("path_id").n_unique() == len(scenario.paths)
    for point in series.iter_rows(named=True):
        start, stop = point["start_ns"], point["start_ns"] + point["interval_ns"]
        inside = [
            index
            for index, packet in enumerate(scenario.packets)
            if start <= packet.send_ns - first_ns < stop and refs[index].path_id == point["path_id"]
        ]
        assert point["bytes"] == sum(ledger.frame_bytes[index] for index in inside)
        assert point["dropped"] == sum(refs[index].dropped for index in inside)
        assert point["group"] == scenario.paths[point["path_id"]].group


def test_path_load_of_a_century_takes_no_more_room_than_of_a_second() -> None:
    scenario = make_scenario(Seeded(1), 50)
    network = network_of(scenario)
    packets = Packets(np.array([0, 3 * 10**18], np.int64), np.zeros(2, np.uint32), np.full(2, 100, np.uint32))
    load = metrics.path_load(network, packets, empty_fates(2), steered=False, interval_ns=1000)
    assert load.bytes.shape[0] <= 400
    assert load.bytes.sum() == 2 * 114
    assert metrics.balance(load)[0] == len(network.group_slots()[0])


def test_distribution_is_an_ascending_grid_that_ends_at_the_maximum() -> None:
    points = metrics.distribution(np.arange(10_000))
    assert [q for q, _ in points] == sorted({q for q, _ in points})
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 9999.0)
    assert dict(points)[0.999] == 9989.0
    assert metrics.distribution(np.array([])) == []
