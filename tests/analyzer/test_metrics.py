"""Metrics of a cell against the slow twin, on the fates the engine computed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path as File
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segcast.analyzer.engine.state import LINK
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.runner import CellResult, HeldRunner
from segcast.analyzer.metrics import rows as cell_rows
from segcast.analyzer.metrics.accumulator import Accumulator, watched_hosts
from segcast.analyzer.metrics.families.path_load import (
    add_load,
    balance,
    bin_ns,
    bins_used,
    close_interval,
    empty_load,
    path_facts,
)
from segcast.analyzer.metrics.families.utilisation import UtilisationFamily
from segcast.analyzer.metrics.family import Ending, Measured
from segcast.analyzer.metrics.histogram import (
    lower_bound,
)
from segcast.analyzer.metrics.messages import MESSAGE_SUMMARY
from segcast.analyzer.metrics.tables import FLOW_FATES, SUMMARY
from segcast.analyzer.metrics.unloaded import unloaded_times
from segcast.analyzer.network.model import Change, Link, Network, Path
from segcast.analyzer.packets import RECEIVED, Fates, FlowPlan, Packets, empty_fates
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.schema import HOSTS, LINKS, QUANTILES, SIZES
from segcast.analyzer.traffic.prepare import Traffic
from segcast.analyzer.traffic.selection import Selection
from tests.support.simulating import network_of, run_engine, traffic_of
from tests.support.strategies import Seeded, fabrics, make_fabric, make_scenario, scenarios
from tests.twins import engine as twin_engine
from tests.twins import metrics as twin
from tests.twins.scenarios import PLAIN_CELLS, Scenario

INTERVAL_NS = 50_000


def accumulated(scenario: Scenario, fates: Fates, sizes: Sequence[int], interval_ns: int = INTERVAL_NS) -> Accumulator:
    """The metrics of these fates, taken in pieces of these sizes, over and over."""
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    steered = find_policy(scenario.policy).steered
    counted = Accumulator(network, plan, steered=steered, interval_ns=interval_ns)
    begin = 0
    for size in itertools.cycle(sizes):
        if begin >= len(packets.flow):
            return counted
        piece = slice(begin, begin + size)
        counted.add(Packets._make(c[piece] for c in packets), Fates._make(c[piece] for c in fates))
        begin += size
    return counted


def assert_same_metrics(scenario: Scenario, sizes: Sequence[int]) -> None:
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    fates, cell = run_engine(scenario)
    counted = accumulated(scenario, fates, sizes)
    flows = counted.finish()
    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes, scenario.hosts)
    sent = np.flatnonzero(flows["packets"])
    slowdown = {flow: value for flow, value in enumerate(flows["slowdown"].tolist()) if value >= 0}
    comp = [
        twin.FlowRow(
            flow_id=int(flow),
            bytes=int(flows["bytes"][flow]),
            packets=int(flows["packets"][flow]),
            delivered=int(flows["delivered"][flow]),
            fct_ns=int(flows["fct_ns"][flow]) if flows["fct_ns"][flow] >= 0 else None,
            slowdown=next((r.slowdown for r in rows if r.flow_id == flow), None),
            reordered=int(flows["reordered"][flow]),
            flowlets=int(flows["flowlets"][flow]),
            path_changes=int(flows["path_changes"][flow]),
        )
        for flow in sent
    ]
    assert comp == rows
    for row in rows:
        assert (row.slowdown is None) == (row.flow_id not in slowdown)
        if row.slowdown is not None:
            assert slowdown[row.flow_id] == pytest.approx(float(row.slowdown), rel=1e-12)
    ref_extents = [extent for extent in twin.extents_of_fates(scenario.packets, refs) if extent is not None]
    extents = counted.held.reordering.extents.counts
    found = {lower_bound(b): int(extents[b]) for b in np.flatnonzero(extents).tolist()}
    assert found == Counter(ref_extents)
    summary = counted.summary(counted.ending(flows, cell.state.links))
    delays = twin.counted_percentiles(twin.delays_ns(scenario.packets, refs))
    queues = twin.counted_percentiles(twin.queueing_ns(refs))
    fcts = twin.percentiles([row.fct_ns for row in rows if row.fct_ns is not None])
    for name in QUANTILES:
        assert summary[f"delay_{name}_ns"] == delays[name]
        assert summary[f"queue_{name}_ns"] == queues[name]
    for name in ("p99", "p999"):
        periods = twin.busy_periods(scenario.packets, refs, twin.QUANTILES[name])
        assert summary[f"busy_periods_{name}"] == (
            None if periods is None else pytest.approx(float(periods), rel=1e-12)
        )
        assert summary[f"fct_{name}_ns"] == fcts[name]
    assert summary["dropped"] == sum(ref.dropped for ref in refs)
    assert summary["dropped_dead_link"] == len(ledger.fell_dead)
    assert summary["dropped_undetected"] == sum(not known for known in ledger.fell_dead.values())
    assert summary["ecn_marked"] == sum(ref.ecn_marked and not ref.dropped for ref in refs)
    assert summary["displaced_3"] == sum(extent >= 3 for extent in ref_extents)
    assert summary["reorder_extent_max"] == max(ref_extents, default=None)
    frames = [ledger.frame_bytes[index] for index in range(len(refs))]
    assert_same_balance(scenario, fates, refs, frames, sizes)


def assert_same_balance(
    scenario: Scenario,
    fates: Fates,
    refs: list[twin_engine.Fate],
    frames: list[int],
    sizes: Sequence[int],
) -> None:
    packets, _ = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    interval_ns = 5000
    if len(packets.send_ns) and packets.send_ns[-1] - packets.send_ns[0] > 10**8:
        interval_ns = 10**9
    counted = accumulated(scenario, fates, sizes, interval_ns)
    counted.finish()
    load = counted.held.path_load
    ref_balance = twin.balance(twin.interval_bytes(scenario.paths, scenario.packets, refs, frames, interval_ns))
    comp_balance = balance(load)
    if ref_balance is None:
        assert comp_balance == (None, None)
    else:
        assert comp_balance == pytest.approx([float(value) for value in ref_balance], rel=1e-9)
    for path in range(len(scenario.paths)):
        mine = fates.path == path
        assert load.bytes[:, path].sum() == sum(size for size, of in zip(frames, mine, strict=True) if of)
        assert load.dropped[:, path].sum() == sum(ref.dropped and ref.path_id == path for ref in refs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_same_metrics_as_the_twin_in_any_pieces(scenario: Scenario, sizes: list[int]) -> None:
    assert_same_metrics(scenario, sizes)


@pytest.mark.parametrize("seed", range(12))
def test_same_metrics_as_the_twin_on_longer_traces(seed: int) -> None:
    assert_same_metrics(make_scenario(Seeded(seed), 200), [[1000], [7], [1, 40]][seed % 3])
    assert_same_metrics(make_fabric(Seeded(seed), 100, PLAIN_CELLS), [[1000], [7], [1, 40]][seed % 3])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fabrics(40, PLAIN_CELLS, ("modelled",)))
def test_same_metrics_as_the_twin_on_any_fabric(scenario: Scenario) -> None:
    """With links of hosts, links that change, and flows that stay at their attachment."""
    assert_same_metrics(scenario, [5])


@pytest.mark.parametrize("seed", range(12))
def test_drops_and_marks_of_every_link_are_the_twins(seed: int) -> None:
    scenario = replace(make_fabric(Seeded(seed), 200, PLAIN_CELLS), changes=())
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    fates, cell = run_engine(scenario)
    comp = link_rows_of(accumulated(scenario, fates, [50]), cell.state.links)
    for found, row in zip(comp, twin.link_rows(scenario.links, scenario.packets, refs, ledger), strict=True):
        assert_close({name: found[name] for name in asdict(row)}, asdict(row))


def link_rows_of(counted: Accumulator, links: NDArray[np.void]) -> list[dict[str, Any]]:
    return cell_rows.link_rows(counted, counted.ending(counted.finish(), links))


def nothing_left_out(flows: int) -> Selection:
    return Selection(np.zeros(flows, np.bool_), np.zeros(flows, np.bool_))


def tables_of(scenario: Scenario) -> tuple[CellResult, pl.DataFrame, pl.DataFrame]:
    """What a forecast writes for this one cell: its rows of several tables, flows, series."""
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    numbers = np.arange(len(packets.send_ns))
    places = numbers.astype(np.uint16), numbers.astype(np.uint64), numbers
    placed = np.ones(len(plan.keys), np.bool_)
    traffic = Traffic(packets, *places, plan, ("a", "b", "c"), placed, {}, network, (), nothing_left_out(len(placed)))
    steering = {"loss_timeout": f"{scenario.loss_timeout_ns}ns"}
    spec = short_scenario(paths="1Gbps", interval=f"{INTERVAL_NS}ns", steering=steering)
    timeout = TimeoutChoice(name="fixed", label="fixed", timeout_ns=scenario.timeout_ns)
    policy = PolicyChoice(name=scenario.policy, label=scenario.policy)
    cell = CellPlan(policy, timeout, Offered(Fraction(1), Fraction(1)), scenario.seed, False, True)
    (result,) = HeldRunner(traffic, spec, File("/nowhere")).results([cell], 1, int)
    return result, pl.DataFrame(pl.from_arrow(result.flows)), pl.DataFrame(pl.from_arrow(result.series))


def twin_summary(scenario: Scenario, refs: list[twin_engine.Fate], ledger: twin_engine.Ledger) -> dict[str, Any]:
    """Every column of SUMMARY but those of the cell, from the twins alone."""
    sent = scenario.packets
    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes, scenario.hosts)
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
        "dropped_dead_link": len(ledger.fell_dead),
        "dropped_undetected": sum(not known for known in ledger.fell_dead.values()),
        "ecn_marked": sum(ref.ecn_marked and not ref.dropped for ref in refs),
        "effective_flows": len(refs) ** 2 / sum(row.packets**2 for row in rows),
        "retransmissions": None,
        "delay_mean_ns": twin.mean(delays),
        "queue_mean_ns": twin.mean(queues),
        "busy_periods_p99": twin.busy_periods(sent, refs, Fraction(99, 100)),
        "busy_periods_p999": twin.busy_periods(sent, refs, Fraction(999, 1000)),
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
    for prefix, found in (("delay", twin.counted_percentiles(delays)), ("queue", twin.counted_percentiles(queues))):
        values |= {f"{prefix}_{name}_ns": value for name, value in found.items()}
    values |= {f"fct_{name}_ns": value for name, value in twin.percentiles(fcts).items()}
    return values | {f"slowdown_{name}": value for name, value in twin.percentiles(slowdowns).items()}


def assert_close(comp: dict[str, Any], ref: dict[str, Any]) -> None:
    assert comp.keys() == ref.keys()
    for name, value in ref.items():
        if value is None or isinstance(value, int | str):
            assert comp[name] == value, name
        else:
            assert comp[name] == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize("seed", [seed for seed in range(40) if make_scenario(Seeded(seed), 200).packets])
def test_every_column_of_a_cell_is_the_twins(seed: int) -> None:
    """Driven by the schemas: a column that is added there must be computed here."""
    scenario = make_scenario(Seeded(seed), 200)
    refs, ledger = twin_engine.simulate_and_note(*scenario.network(), **scenario.options())
    tables, flows, series = tables_of(scenario)
    of_cell = {"cell", "policy", "timeout", "timeout_ns", "load", "seed", "growth", "year", "share"}
    comp = {name: value for name, value in tables.summary.items() if name not in of_cell}
    of_messages = {column.name for column in MESSAGE_SUMMARY}  # of senders that react
    assert set(comp) == set(SUMMARY.names()) - of_cell - of_messages
    assert_close(comp, twin_summary(scenario, refs, ledger))

    rows = twin.flow_rows(*scenario.network(), refs, scenario.minimum_frame_bytes, scenario.hosts)
    assert flows["flow_id"].to_list() == [row.flow_id for row in rows]
    for name in set(FLOW_FATES.names()) - of_cell:
        for value, row in zip(flows[name], rows, strict=True):
            expected = getattr(row, name)
            assert value == (expected if expected is None else pytest.approx(float(expected), rel=1e-12)), name

    for found in tables.sizes:
        low, high = found["min_bytes"], found["below_bytes"]
        mine = [r for r in rows if r.fct_ns is not None and low <= r.bytes and (high is None or r.bytes < high)]
        ref: dict[str, Any] = {"min_bytes": low, "below_bytes": high, "flows": len(mine)}
        fcts, slow = twin.percentiles([r.fct_ns for r in mine]), twin.percentiles([r.slowdown for r in mine])
        ref |= {f"fct_{name}_ns": value for name, value in fcts.items()}
        ref |= {f"slowdown_{name}": value for name, value in slow.items()}
        assert_close({name: value for name, value in found.items() if name not in of_cell}, ref)
        assert set(found) == set(SIZES.names())
    assert [found["min_bytes"] for found in tables.sizes] == [0, 10_000, 100_000, 1_000_000, 10_000_000]
    assert sum(found["flows"] for found in tables.sizes) == sum(row.fct_ns is not None for row in rows)

    links = twin.link_rows(scenario.links, scenario.packets, refs, ledger)
    for number, (found, link) in enumerate(zip(tables.links, links, strict=True)):
        assert set(found) == set(LINKS.names())
        ref = {"link": number, "name": f"l{number}", **asdict(link)}
        assert_close({name: value for name, value in found.items() if name not in of_cell}, ref)
    hosts = [asdict(row) | {"host": "abc"[row.host]} for row in twin.host_rows(scenario.flows, scenario.packets, refs)]
    assert [{name: v for name, v in found.items() if name not in of_cell} for found in tables.hosts] == hosts
    assert set(tables.hosts[0]) == set(HOSTS.names())

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


@pytest.mark.parametrize("seed", range(12))
def test_times_alone_that_are_known_beforehand_are_those_of_each_cell(seed: int) -> None:
    """Also of flows that lost packets, which are sent alone again without them."""
    scenario = make_fabric(Seeded(seed), 200, PLAIN_CELLS)
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    fates, _ = run_engine(scenario)
    found = []
    for unloaded_ns in (None, unloaded_times(network, plan, packets)):
        counted = Accumulator(network, plan, steered=True, interval_ns=INTERVAL_NS, unloaded_ns=unloaded_ns)
        for begin in range(0, len(packets.flow), 70):
            piece = slice(begin, begin + 70)
            counted.add(Packets._make(c[piece] for c in packets), Fates._make(c[piece] for c in fates))
        found.append(counted.finish()["slowdown"].tolist())
    assert found[0] == found[1]


def test_path_load_of_a_century_takes_no_more_room_than_of_a_second() -> None:
    link = Link("l", 10**9, 0)
    network = Network((link, link), (Path(0, (0,), 0, 0), Path(0, (1,), 0, 0)))
    packets = Packets(np.array([0, 3 * 10**18], np.int64), np.zeros(2, np.uint32), np.full(2, 100, np.uint32))
    facts = path_facts(network, steered=False)
    load = empty_load(facts, 1000)
    add_load(packets, empty_fates(2).path, facts, load)
    close_interval(load, facts.bounds)
    assert 200 < bins_used(load) <= 400
    assert bin_ns(load) * 400 > 3 * 10**18
    assert load.bytes[0].sum() == 114
    assert load.bytes[bins_used(load) - 1].sum() == 114
    assert balance(load)[0] == 2


def test_many_paths_have_fewer_bins() -> None:
    links = tuple(Link(f"l{n}", 10**9, 0) for n in range(9))
    network = Network(links, tuple(Path(0, (n % 9,), 0, 0) for n in range(60_000)))
    assert empty_load(path_facts(network, steered=False), 1000).bytes.shape == (16, 60_000)


def test_utilisation_is_over_the_rate_that_a_link_was_built_with() -> None:
    """125 bytes a microsecond are 1 Gbit/s, whatever became of the link meanwhile."""
    changes = (Change(100, 0, 0), Change(300, 0, 2 * 10**9))
    network = Network((Link("a", 4 * 10**9, 0),), (Path(0, (0,), 0, 0),), changes=changes)
    counted = Accumulator(network, FlowPlan(*(np.zeros(1, np.int64),) * 3), steered=False, interval_ns=1000)
    fates = empty_fates(1)
    fates.state[:], fates.receive_ns[:] = RECEIVED, 1000
    counted.add(Packets(np.zeros(1, np.int64), np.zeros(1, np.uint32), np.full(1, 111, np.uint32)), fates)
    links = np.zeros(1, LINK)
    links["carried_bytes"] = 125
    assert link_rows_of(counted, links)[0]["utilisation"] == 0.25


def test_the_mean_utilisation_is_rounded_once() -> None:
    """Added up from the left ten tenths are less than one on the Pythons before 3.12, and one on later ones."""
    network = Network(tuple(Link(f"l{n}", 8 * 10**9, 0) for n in range(10)), (Path(0, (0,), 0, 0),))
    links = np.zeros(10, LINK)
    links["carried_bytes"] = 100
    family = UtilisationFamily(Measured(network, FlowPlan(*(np.zeros(1, np.int64),) * 3), False, 1000, np.zeros(0)))
    found = family.columns({}, Ending({}, links, (0, 1000)))
    assert found == {"utilisation_mean": 0.1, "utilisation_max": 0.1}


def test_hosts_beyond_the_thousand_that_send_most_are_not_watched() -> None:
    plan = FlowPlan(np.zeros(2000, np.uint64), np.arange(2000) % 1500, np.zeros(2000, np.int64))
    sends = np.full(2000, 5)
    sends[[7, 1400]] = 50, 60
    assert watched_hosts(plan, sends)[:5].tolist() == [1400, 7, 0, 1, 2]
    assert len(watched_hosts(plan, sends)) == 1000
    assert watched_hosts(plan).tolist() == list(range(1000))


def test_the_grid_of_distributions_ascends_and_ends_at_the_maximum() -> None:
    grid = cell_rows.DISTRIBUTION_QUANTILES
    assert list(grid) == sorted(set(grid))
    assert (grid[0], grid[-1]) == (0.0, 1.0)
    assert {0.5, 0.99, 0.999} <= set(grid)
