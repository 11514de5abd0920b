"""How often the intervals that are printed hold the truth, where it is known: an M/M/1 queue (docs/statistics.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from segcast.analyzer.forecast.compare import COMPARED, compare, interval
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.plan.axes import AXES
from segcast.analyzer.plan.document import StatedEdge
from segcast.analyzer.plan.other_traffic import with_other_traffic
from segcast.analyzer.plan.search import Ask, Edge, Question, find_edge
from segcast.analyzer.plan.stating import against
from segcast.analyzer.scenario.reading import with_resamples
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.pooled import pooled_quantile, sample_of
from segcast.analyzer.statistics.traffic import traffic_bounds
from segcast.analyzer.traffic.resampling import resampled
from tests.support.covering import delays_ns, mean_ns, offered, quantile_ns, studies

LOAD = 0.7
REPETITIONS = 160
SEEDS = 10
PACKETS = 10_000
ENOUGH = 0.88


def holds(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


def test_means_over_seeds_and_pooled_quantiles_hold_the_truth_and_independent_packets_do_not() -> None:
    held = dict.fromkeys(("mean", "p99", "p99.9", "as if packets were independent", "mean of p99.9"), 0)
    p999, of_seeds, printed = 0.0, 0.0, 0
    for delays in studies(REPETITIONS, SEEDS, LOAD, PACKETS):
        found = interval([float(run.mean()) for run in delays])
        held["mean"] += holds(found.low, found.high, mean_ns(LOAD))
        samples = [sample_of(run) for run in delays]
        for name, share in (("p99", 0.99), ("p99.9", 0.999)):
            pooled = pooled_quantile(samples, share)
            assert pooled is not None
            held[name] += holds(pooled.low, pooled.high, quantile_ns(LOAD, share))
        printed += pooled.low is not None  # there is none where one seed has most of the values beyond
        p999 += pooled.value / quantile_ns(LOAD, 0.999)
        own = [float(nearest_ranks(run, [0.999])[0]) for run in delays]
        of_seeds += sum(own) / SEEDS / quantile_ns(LOAD, 0.999)
        found = interval(own)
        held["mean of p99.9"] += holds(found.low, found.high, quantile_ns(LOAD, 0.999))
        one = delays[0]
        half = 1.96 * float(one.std()) / math.sqrt(len(one))
        held["as if packets were independent"] += abs(float(one.mean()) - mean_ns(LOAD)) < half
    shares = {name: number / REPETITIONS for name, number in held.items()} | {"p99.9": held["p99.9"] / printed}
    assert printed >= 0.8 * REPETITIONS
    for name in ("mean", "p99", "p99.9"):
        assert shares[name] >= ENOUGH, (name, shares)
    assert shares["as if packets were independent"] < 0.5
    assert shares["mean of p99.9"] < min(ENOUGH, shares["p99.9"])
    assert p999 / REPETITIONS == pytest.approx(1, abs=0.02)
    assert of_seeds / REPETITIONS < 0.96  # what the mean of seeds' own p99.9 misses


def test_changes_paired_by_seed_hold_the_truth() -> None:
    """Two policies as two rates of the link, which the same packets meet: the ratio of their p99 is known."""
    rate_bps = 1_100_000_000
    faster = LOAD / 1.1
    # Both rates' times are exponential, so that p99s are to each other as the means.
    truth = (1 / 1.1 / (1 - faster)) / (1 / (1 - LOAD)) - 1
    held, widths = 0, [0.0, 0.0]
    for study in range(REPETITIONS):
        rows: list[dict[str, Any]] = []
        values: dict[str, list[float]] = {"ecmp": [], "other": []}
        for seed in range(SEEDS):
            send_ns, ip_bytes = offered(LOAD, PACKETS, 1 + study * SEEDS + seed)
            for policy, rate in (("ecmp", 10**9), ("other", rate_bps)):
                p99 = nearest_ranks(delays_ns(send_ns, ip_bytes, rate), [0.99])[0]
                named = {"policy": policy, "timeout": None, "timeout_ns": None, "load": 1.0, "seed": seed}
                rows.append(dict.fromkeys(COMPARED) | named | {"delay_p99_ns": p99})
                values[policy].append(math.log(p99))
        (found,) = [row for row in compare(rows, "ecmp") if row["metric"] == "delay_p99_ns"]
        held += holds(found["low"], found["high"], truth)
        # As if not paired: the errors of both means add.
        ours, theirs = interval(values["other"]), interval(values["ecmp"])
        assert ours.high is not None
        assert theirs.high is not None
        half = math.hypot(ours.high - ours.mean, theirs.high - theirs.mean)
        widths[0] += math.log1p(found["high"]) - math.log1p(found["low"])
        widths[1] += 2 * half
    assert held / REPETITIONS >= ENOUGH
    assert widths[0] < 0.5 * widths[1]  # and it is less than half as wide as without pairs


def test_resampled_traffic_holds_the_truth_of_one_trace() -> None:
    """A single trace, no draws of any policy: all the chance there is, is the traffic's."""
    load, packets, resamples, repetitions = 0.5, 12_000, 20, 60
    held = dict.fromkeys(("mean", "p99"), 0)
    truth = {"mean": mean_ns(load), "p99": quantile_ns(load, 0.99)}
    for study in range(repetitions):
        send_ns, ip_bytes = offered(load, packets, 10_000 + study)
        rows = tables(send_ns, ip_bytes)
        runs = [delays_ns(send_ns, ip_bytes)]
        for number in range(1, resamples + 1):
            drawn, _ = resampled(*rows, number, None)
            runs.append(delays_ns(drawn["time_ns"].to_numpy(), drawn["ip_bytes"].to_numpy()))
        figures = {
            "mean": [math.log(float(run.mean())) for run in runs],
            "p99": [math.log(nearest_ranks(run, [0.99])[0]) for run in runs],
        }
        for name, logs in figures.items():
            low, high = traffic_bounds(logs[:1], logs[1:])
            held[name] += holds(low, high, math.log(truth[name]))
    for name, number in held.items():
        assert number / repetitions >= ENOUGH, (name, held)


def tables(send_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32]) -> tuple[pa.Table, pa.Table]:
    """A trace in which each packet is a connection."""
    count = len(send_ns)
    flow = pa.array(np.arange(count, dtype=np.uint32))
    packets = pa.table({"time_ns": send_ns, "flow_id": flow, "ip_bytes": ip_bytes})
    ports = {name: pa.array(np.full(count, 80, np.uint16)) for name in ("src_port", "dst_port")}
    return packets, pa.table({"flow_id": flow, **ports, "reverse_flow_id": pa.nulls(count, pa.uint32())})


def test_edges_with_other_traffic_hold_the_truth_of_one_trace() -> None:
    """How much faster a trace of load 0.4 may come until its mean delay is that of load 0.6: 1.5 times."""
    load, packets, resamples, repetitions = 0.4, 8_000, 10, 40
    budget_ns, held = mean_ns(0.6), 0
    scenario = with_resamples(short_scenario(paths="1x1Gbps"), {"resamples": resamples})
    for study in range(repetitions):
        trace = offered(load, packets, 20_000 + study)
        rows = tables(*trace)

        def edge_of(send_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32], between: tuple[float, float]) -> float:
            low, high = between
            while high / low > 1.01:
                middle = math.sqrt(low * high)
                kept = delays_ns((send_ns / middle).astype(np.int64), ip_bytes).mean() < budget_ns
                low, high = (middle, high) if kept else (low, middle)
            return math.sqrt(low * high)

        def found(one: ValidScenario, between: tuple[float, float], rows: tuple[pa.Table, pa.Table] = rows) -> float:
            drawn, _ = resampled(*rows, one.traffic.resample, None)
            return edge_of(drawn["time_ns"].to_numpy(), drawn["ip_bytes"].to_numpy(), between)

        value = edge_of(*trace, (0.5, 4.0))
        own = StatedEdge(policy="ecmp", state="edge", value=value, low=value, high=value)
        edge = with_other_traffic(own, AXES["load"], scenario, found)
        held += holds(edge.traffic_low, edge.traffic_high, 1.5)
    assert held / repetitions >= ENOUGH, held


def test_gains_of_edges_hold_the_truth() -> None:
    """Two policies whose margins the same seeds disturb, and each its own: the second goes a tenth further."""
    rng = np.random.default_rng(11)
    held, repetitions = 0, 100
    for _ in range(repetitions):
        shared, edges = rng.normal(0, 0.05, 40), []
        for truth in (0.0, math.log(1.1)):
            own = rng.normal(0, 0.03, (1000, 40))
            search = find_edge(Question(-1.0, 1.0, (False,), 0.002))
            asks = next(search)
            try:
                while True:
                    asks = search.send([margins_of(ask, truth, shared, own) for ask in asks])
            except StopIteration as ended:
                edge: Edge = ended.value
            assert edge.place is not None
            assert edge.low is not None
            assert edge.high is not None
            value, low, high = (math.exp(place) for place in (edge.place, edge.low, edge.high))
            edges.append(StatedEdge(policy="p", state="edge", value=value, low=low, high=high))
        gained = against(edges[1], edges[0])
        held += holds(gained.gain_low, gained.gain_high, 0.1)
    assert held / repetitions >= ENOUGH, held


def margins_of(ask: Ask, truth: float, shared: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of one budget that breaks at `truth`."""
    noise = shared + own[int((ask.place + 1) * 499)]
    return (truth - ask.place + noise[ask.first : ask.stop])[:, None]
