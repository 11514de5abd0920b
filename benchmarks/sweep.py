"""A sweep of cells with all metrics and tables, as a forecast runs them: `python -m benchmarks.sweep [--packets N]`.

The traffic of `benchmarks.engine` through 4 disjoint paths, by three policies and many seeds, on one core and on all:
packets/s by the clock, and processor time for each packet. Without metrics it is part of `benchmarks.engine`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.engine import FLOWS, HOSTS, PACKETS, POLICIES, SWEEP_CELLS, four_paths, workload
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.runner import HeldRunner
from segcast.analyzer.network.model import Network
from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.traffic.prepare import Traffic
from segcast.analyzer.traffic.selection import Selection

RUNS = 3


class Took(NamedTuple):
    """Seconds by the clock and of processors."""

    wall: float
    processors: float


def traffic_of(packets: int, network: Network) -> Traffic:
    """The traffic of `benchmarks.engine`, as a trace would give it."""
    sent, plan = workload(packets)
    rows = np.arange(packets)
    names = tuple(f"host{n}" for n in range(HOSTS))
    placed, out = np.ones(FLOWS, np.bool_), np.zeros(FLOWS, np.bool_)
    places = rows.astype(np.uint16), rows.astype(np.uint64), rows
    return Traffic(sent, *places, plan, names, placed, {}, network, (("left", "right"),), Selection(out, out))


def plans() -> list[CellPlan]:
    """The cells: policies in turn, each with a seed of its own; the first of each keeps its series."""
    timeout = TimeoutChoice(name="fixed", label="100us", timeout_ns=100_000)
    chosen = [PolicyChoice(name=name, label=name) for name in POLICIES]
    return [
        CellPlan(
            chosen[n % len(chosen)],
            timeout,
            Offered(Fraction(1), Fraction(1)),
            n,
            keep_packets=False,
            keep_series=n < len(chosen),
        )
        for n in range(SWEEP_CELLS)
    ]


def run(traffic: Traffic, cells: Sequence[CellPlan], threads: int) -> Took:
    """The least that some runs took."""
    scenario = short_scenario(paths="4x10Gbps", interval="1ms")
    took = []
    for _ in range(RUNS):
        wall, processors = time.perf_counter(), time.process_time()
        for result in HeldRunner(traffic, scenario, Path("nothing is kept")).results(cells, threads, int):
            assert result.summary["packets"] == len(traffic.packets.flow)
        took.append(Took(time.perf_counter() - wall, time.process_time() - processors))
    return Took(*map(min, zip(*took, strict=True)))


def table(packets: int) -> None:
    """Print what a sweep takes on one core and on all."""
    traffic, cells = traffic_of(packets, four_paths()), plans()
    run(traffic, cells[: len(POLICIES)], 1)  # compiles
    sent, cores = len(cells) * packets, usable_cores()
    load = os.getloadavg()[0]
    one, all_cores = run(traffic, cells, 1), run(traffic, cells, cores)
    print(
        f"sweep of {len(cells)} cells of {packets:,} packets with all metrics (load of the machine before: {load:.1f}):"
    )
    print(
        f"one core: {sent / one.wall / 1e6:.1f} M packets/s, {one.processors / sent * 1e9:.1f} ns of a processor each"
    )
    print(
        f"{cores} cores: {sent / all_cores.wall / 1e6:.1f} M packets/s, {one.wall / all_cores.wall:.2f} times", end=", "
    )
    print(f"{all_cores.processors / sent * 1e9:.1f} ns of a processor each", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=PACKETS // 16, help="of each cell")
    table(parser.parse_args().packets)


if __name__ == "__main__":
    main()
