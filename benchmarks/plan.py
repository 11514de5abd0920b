"""Whether plans find edges that are known: by formula, by hand and by brute force; how often intervals hold them.

`python -m benchmarks.plan`: each question is asked many times, every time with draws of its own, by what `segcast plan`
runs: the same search over real cells. The table goes into docs/statistics.md. Questions:

- `md1`: the load of an M/D/1 queue at which its mean wait is a budget. Each seed has arrivals of its own.
- `mm1 p99`, `mm1 p99.9`: the load of an M/M/1 queue at which a quantile of the time in it is a budget.
- `spread`: packets at even distances, each to one of 20 paths drawn at random, by `segcast.analyzer.plan.run.plan`.
- `capacity`: packets at even distances over a link with a buffer: where the first is dropped. No chance in it.
- `hashed`: even flows over four paths by hash: where the first packet is dropped, as far as draws go.
- `closed`: senders that react, flows by hash over two paths, a budget on their mean or p95 completion time; the truth
  is where the mean over very many seeds crosses it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Link, Network
from segcast.analyzer.network.model import Path as NetworkPath
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.plan.axes import axis_named
from segcast.analyzer.plan.cells import SAMPLES, Cells, Variant, variants_of
from segcast.analyzer.plan.run import Asked, plan
from segcast.analyzer.plan.search import STAGES
from segcast.analyzer.plan.searches import Searches
from segcast.analyzer.plan.stating import open_share
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import parse_slo
from segcast.analyzer.statistics.pooled import sample_of
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.source import WorkloadFile, open_workload
from segcast.traces.trace import Trace
from tests.support.covering import MEAN_BYTES, quantile_ns
from tests.support.queues import SERVICE_NS, capture

LOAD = 0.7
PATHS, SLOTS = 20, 14  # of `spread`: a packet takes as long as 14 distances between packets, on one of 20 paths
SEEDS_APART = 10_000  # between repetitions
MANY = 2000  # seeds that tell the truth of `closed`


class Found(NamedTuple):
    """An edge and its interval over the true one, less 1; the cells it took, and whether its search was settled."""

    error: float
    low: float
    high: float
    cells: int
    settled: bool

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Sizes:
    """How much is run: packets of a queue, flows of `closed`, seeds of its truth."""

    packets: int = 20_000
    flows: int = 200
    many: int = MANY


def found(edge: Any, truth: float) -> Found:
    """What an edge of plan.json is against the truth."""
    ends = (edge["value"], edge["low"], edge["high"])
    error, low, high = (each / truth - 1 for each in ends)
    return Found(error, low, high, edge["cells"], edge["settled"])


def mean_wait_md1(load: float, packets: int) -> float:
    """The mean wait of the first packets of an M/D/1 queue that begins empty, in times of service.

    E[W_n] is the sum over k < n of E[max(S_k, 0)] / k, where S_k is what k services are longer than k distances
    (Spitzer 1956); k distances are below k with the chance that Poisson arrivals in that time are k or more.
    """
    total, wait = 0.0, 0.0
    for k in range(1, packets):
        mean = load * k  # arrivals in k services
        # E[max(k - Erlang(k, load), 0)] = k P(at least k arrive) - k / load P(at least k + 1 arrive)
        here = _poisson(mean, k)
        if here < 1e-18:
            total += wait * (packets - k)
            return total / packets
        beyond = _poisson_tail(mean, k)
        wait += beyond - (beyond - here) / load
        total += wait
    return total / packets


def _poisson(mean: float, count: int) -> float:
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


def _poisson_tail(mean: float, count: int) -> float:
    """The chance of `count` or more; `mean` is below it."""
    term = total = _poisson(mean, count)
    while term > 1e-18 * total:
        count += 1
        term *= mean / count
        total += term
    return total


class ByArrivals(Cells):
    """Cells over one link whose seeds are arrivals of their own: a load is a part of what the link carries.

    The packets take 1250 bytes of the link each, with their Ethernet header, or `exponential` sizes of that mean.
    """

    def __init__(self, packets: int, *, exponential: bool = False) -> None:
        self.packets = packets
        self.exponential = exponential
        link = Link("l", 10**9, 0, None, overhead_bytes=0)
        self.network = Network((link,), (NetworkPath(0, (0,), 0, 0),), minimum_frame_bytes=0)
        self.flows = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))

    def rows(self, scenario: ValidScenario, asks: Sequence[tuple[Variant, int]]) -> list[dict[str, Any]]:
        """The mean wait of each seed, and its times in the queue and on the link."""
        return [self._row(*self.run(float(scenario.offered[0].rate), seed)) for _, seed in asks]

    def _row(self, queue_ns: NDArray[np.int64], delay_ns: NDArray[np.int64]) -> dict[str, Any]:
        found: dict[str, Any] = {"queue_mean_ns": float(queue_ns.mean()), SAMPLES: {"delay_ns": sample_of(delay_ns)}}
        return found | dict.fromkeys(("delay_p99_ns", "delay_p999_ns"), math.nan)  # those of all seeds count

    def run(self, load: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Waits and delays of packets that Poisson arrivals bring, from an empty queue on."""
        rng = np.random.default_rng(seed)
        mean_bytes = MEAN_BYTES if self.exponential else 1250
        gaps_ns = rng.exponential(8 * mean_bytes / load, self.packets)
        sizes = rng.exponential(mean_bytes, self.packets).round() if self.exponential else np.full(self.packets, 1250)
        send_ns = np.cumsum(gaps_ns).astype(np.int64)
        cell = Cell(self.network, find_policy("ecmp"), self.flows, Steering(0), timeout_ns=None, seed=1)
        ip_bytes = np.maximum(sizes - 14, 0).astype(np.uint32)
        fates = simulate(cell, Packets(send_ns, np.zeros(self.packets, np.uint32), ip_bytes))
        return fates.queue_ns, fates.receive_ns - send_ns


def by_arrivals(cells: ByArrivals, repetition: int, slo: str) -> Found:
    """The load at which budgets begin to break, against LOAD."""
    scenario = short_scenario(paths="1x1Gbps", policies=("ecmp",), load=0.5, seeds=(1 + SEEDS_APART * repetition,))
    asked = Asked(parse_slo(slo), axis_named("load"), (0.35, 0.98))
    (variant,) = variants_of(scenario)
    search = Searches(cells, scenario, asked, [variant])
    search.run()
    edge = search.edges[variant]
    assert edge.place is not None and edge.low is not None and edge.high is not None
    value, low, high = map(asked.axis.value, (edge.place, edge.low, edge.high))
    told = {"value": value, "low": low, "high": high, "cells": edge.cells, "settled": edge.settled}
    return found(told, LOAD)


def md1(repetition: int, sizes: Sizes, folder: Path) -> Found:
    """A budget on the mean wait."""
    limit_ns = SERVICE_NS * _md1(sizes.packets)
    return by_arrivals(ByArrivals(sizes.packets), repetition, f"mean_queueing < {limit_ns:.0f}ns")


def mm1(share: float, repetition: int, sizes: Sizes, folder: Path) -> Found:
    """A budget on a quantile of the time in the queue and on the link, which is exponential."""
    limit_ns = quantile_ns(LOAD, share)
    named = f"{100 * share:g}".replace(".", "")
    slo = f"delay_p{named} < {limit_ns:.0f}ns"
    return by_arrivals(ByArrivals(sizes.packets // 2, exponential=True), repetition, slo)


@cache
def _md1(packets: int) -> float:
    return mean_wait_md1(LOAD, packets)


def mean_wait_spread(packets: int) -> float:
    """The mean wait in distances between packets, exactly: what a path has left to send, packet after packet."""
    most = 200 * SLOTS
    chances = np.zeros(most + SLOTS)
    chances[0] = 1.0
    left = np.arange(most + SLOTS)
    total = 0.0
    for _ in range(packets):
        total += float(chances @ left)
        arrived = np.zeros_like(chances)
        arrived[SLOTS:] = chances[:-SLOTS] / PATHS
        arrived += chances * (1 - 1 / PATHS)
        chances[0] = arrived[0] + arrived[1]
        chances[1:-1] = arrived[2:]
        chances[-1] = 0.0
    return total / packets


def spread(repetition: int, sizes: Sizes, folder: Path) -> Found:
    """Packets every microsecond; at load 1.4 they come 14 to a service."""
    trace, limit = _spread(sizes.packets, folder)
    truth = SLOTS * 1000 / SERVICE_NS
    limit_ns = limit * 1000 / truth
    flags = {"paths": f"{PATHS}x1Gbps", "policies": ("letflow",), "timeouts": ("100ns",), "buffer": None}
    return asked_once(trace, repetition, f"mean_queueing < {limit_ns:.0f}ns", folder, truth, (0.7, 1.9), **flags)


@cache
def _spread(packets: int, folder: Path) -> tuple[Trace, float]:
    trace = capture(folder / "even.pcap", np.arange(packets) * 1000)
    return trace, mean_wait_spread(packets)


def asked_once(
    source: Trace | WorkloadFile,
    repetition: int,
    slo: str,
    folder: Path,
    truth: float,
    between: tuple[float, float] | None,
    seeds: int = STAGES[-1],
    **flags: Any,
) -> Found:
    """One plan, with seeds of its own, whose cells are run anew."""
    scenario = short_scenario(**flags, seeds=(1 + SEEDS_APART * repetition,))
    return planned(source, scenario, slo, folder, between, truth, seeds)


def planned(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    slo: str,
    folder: Path,
    between: tuple[float, float] | None,
    truth: float,
    seeds: int = STAGES[-1],
) -> Found:
    """The edge of the one policy of a scenario."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "plan"
    asked = Asked(parse_slo(slo), axis_named("load"), between, seeds=seeds)
    document = plan(source, scenario, asked, out, store=CellStore(":memory:"), threads=1)
    return found(document["edges"][0], truth)


def capacity(repetition: int, sizes: Sizes, folder: Path) -> Found:
    """Another distance, buffer and number of packets each time; nothing is drawn, so that two seeds will do.

    The n-th packet waits (n - 1) times what a service is longer than a distance; of m frames that fit, all are there if
    that is more than m - 1 services.
    """
    rng = np.random.default_rng(repetition)
    distance_ns, frames, packets = (int(rng.integers(*ends)) for ends in ((20_000, 80_000), (4, 40), (2000, 6000)))
    trace = capture(folder / f"c{repetition}.pcap", np.arange(packets) * distance_ns)
    truth = distance_ns / (SERVICE_NS * (1 - (frames - 1) / (packets - 1)))
    flags = {"paths": "1x1Gbps", "policies": ("ecmp",), "buffer": f"{frames * _FRAME_BYTES}B"}
    return asked_once(trace, repetition, "drops == 0", folder, truth, (1.0, 12.0), 2, **flags)


_FRAME_BYTES = 1240  # of a packet of `capture`, as a buffer has it
_HASHED = 24  # flows
_ROUNDS = 400  # packets of each


def hashed(repetition: int, sizes: Sizes, folder: Path) -> Found:
    """How many draws drop anything at the edge, and whether these are as few as the plan says they may be.

    There is no one true edge: the further out, the more draws drop. `error` is the chance, known exactly.
    """
    trace = capture(folder / "hashed.pcap", np.arange(_ROUNDS * _HASHED) * 10_000, flows=_HASHED)
    flags = {"paths": "4x1Gbps", "policies": ("ecmp",), "buffer": f"{64 * _FRAME_BYTES}B"}
    edge = asked_once(trace, repetition, "drops == 0", folder, 1.0, (0.5, 4.0), **flags)
    chance = breaks_hashed(1 + edge.error)
    return Found(chance, chance - open_share(STAGES[-1]), 1.0, edge.cells, edge.settled)


def breaks_hashed(load: float) -> float:
    """The chance that a draw of `hashed` drops a packet at a load: that a path gets more flows than it can carry."""
    packets, service = _ROUNDS, SERVICE_NS / 10_000 * load
    # A path of c flows gets c packets in the time of 24; its queue grows by what it cannot send, to 64 frames.
    fits = [c for c in range(_HASHED + 1) if packets * (c * service - _HASHED) <= 63 * service]
    most = max(fits)
    ways = np.array([1.0])
    for _ in range(4):
        ways = np.convolve(ways, [1 / math.factorial(c) for c in range(most + 1)])
    return 1 - float(ways[_HASHED]) * math.factorial(_HASHED) / 4**_HASHED if len(ways) > _HASHED else 1.0


def closed_scenario(**others: Any) -> ValidScenario:
    """Two paths of 10 Gbit/s between two leaves, and TCP senders that react."""
    port = {"rate": "10Gbps", "delay": "10us", "buffer_packets": 250}
    hosts = {"hosts_per_leaf": 4, "host_links": port, "host_uplinks": port | {"buffer_packets": 2000}}
    network_ = {"kind": "leaf-spine", "leaves": 2, "spines": 2, "links": port, **hosts}
    transport = {"control": "cubic", "min_rto": "10ms", "initial_rto": "10ms"}
    return validated({"policies": ["ecmp"], "network": network_, "transport": transport, **others}, written)


@cache
def closed_list(flows: int, folder: Path) -> WorkloadFile:
    """Short flows from either leaf to the other, whose arrivals load the paths by 30 % at load 1."""
    rng, size = np.random.default_rng(3), 30_000
    start_ns = np.cumsum(rng.exponential(size * 8 / (2 * 2 * 10 * 0.3), flows)).astype(np.int64)
    leaf = rng.integers(0, 2, flows)
    source, target = leaf * 4 + rng.integers(0, 4, flows), (1 - leaf) * 4 + rng.integers(0, 4, flows)
    rows = [f"{n},{s},{a},{b},{size}" for n, (s, a, b) in enumerate(zip(start_ns, source, target, strict=True))]
    file = folder / "closed.csv"
    file.write_text("\n".join(["flow,start_ns,src,dst,bytes", *rows]) + "\n", encoding="utf-8")
    return open_workload(file)


CLOSED = {"mean": ("fct_mean_ns", 264_000), "p95": ("fct_p95_ns", 308_000)}
_GRID = (1.92, 1.96, 2.0, 2.04, 2.08)


@cache
def closed_truth(metric: str, limit_ns: int, sizes: Sizes, folder: Path) -> float:
    """Where the mean over very many seeds crosses the limit: a parabola through a grid of loads, by least squares."""
    means = [float(np.mean([row[metric] for row in closed_rows(load, sizes, folder)])) for load in _GRID]
    curve = np.polynomial.Polynomial.fit(_GRID, np.array(means) - limit_ns, 2)
    (root,) = (float(each.real) for each in curve.roots() if each.imag == 0 and _GRID[0] < each.real < _GRID[-1])
    return root


@cache
def closed_rows(load: float, sizes: Sizes, folder: Path) -> list[dict[str, Any]]:
    """Rows of very many seeds, none of which a repetition has."""
    scenario = closed_scenario(load=load)
    cells = Cells(closed_list(sizes.flows, folder), CellStore(":memory:"), threads=1)
    (variant,) = variants_of(scenario)
    first = 1_000 * SEEDS_APART
    return cells.rows(scenario, [(variant, first + seed) for seed in range(sizes.many)])


def closed(name: str, repetition: int, sizes: Sizes, folder: Path) -> Found:
    """A budget on a completion time, against brute force."""
    metric, limit_ns = CLOSED[name]
    truth = closed_truth(metric, limit_ns, sizes, folder)
    scenario = closed_scenario(seeds=(1 + SEEDS_APART * repetition,))
    slo = f"{metric} < {limit_ns}ns"
    return planned(closed_list(sizes.flows, folder), scenario, slo, folder, (1.0, 3.0), truth)


QUESTIONS: dict[str, Callable[[int, Sizes, Path], Found]] = {
    "md1": md1,
    "mm1 p99": partial(mm1, 0.99),
    "mm1 p99.9": partial(mm1, 0.999),
    "spread": spread,
    "capacity": capacity,
    "hashed": hashed,
    "closed mean": partial(closed, "mean"),
    "closed p95": partial(closed, "p95"),
}


def row(name: str, edges: Sequence[Found], seconds: float) -> str:
    """What all repetitions of a question came to, as a row of a table."""
    errors = [abs(edge.error) for edge in edges]
    cells = sorted(edge.cells for edge in edges)
    held = sum(edge.holds for edge in edges)
    if name == "hashed":
        chances = f"{100 * statistics.median(errors):.2f} %, {100 * max(errors):.2f} % of draws drop"
        return (
            f"| {name} | {held} of {len(edges)} | {chances} | | | | {statistics.median(cells):.0f}, {cells[-1]} | | |"
        )
    width = statistics.median(edge.high - edge.low for edge in edges)
    figures = [
        f"{held} of {len(edges)}",
        f"{100 * statistics.fmean(edge.error for edge in edges):+.2f} %",
        f"{100 * statistics.median(errors):.2f} %, {100 * max(errors):.2f} %",
        f"{sum(error <= 0.01 for error in errors)}",
        f"{100 * width:.2f} %",
        f"{statistics.median(cells):.0f}, {cells[-1]}",
        f"{sum(edge.settled for edge in edges)}",
        f"{seconds / len(edges):.1f} s",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how well each question was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--packets", type=int, default=Sizes.packets)
    parser.add_argument("--many", type=int, default=Sizes.many, help="seeds that tell the truth of senders that react")
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="this question; may be given several times")
    chosen = parser.parse_args(arguments)
    sizes = Sizes(chosen.packets, many=chosen.many)
    print(
        "| question | holds the truth | mean error | median and largest | within 1 % | width | cells | settled | each |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in chosen.only or QUESTIONS:
        with tempfile.TemporaryDirectory(prefix="plan-") as folder:
            begin = time.process_time()
            edges = [QUESTIONS[name](number, sizes, Path(folder)) for number in range(chosen.repetitions)]
            print(row(name, edges, time.process_time() - begin), flush=True)


if __name__ == "__main__":
    main()
