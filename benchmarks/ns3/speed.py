"""Packet-hops a second of the closed loop, of ns-3 and of htsim, on the same flows in one run.

`python -m benchmarks.ns3.speed [--scenario NAME] [--seed K] [--ns3 PROGRAM] [--htsim PROGRAM]`. All take turns, on one
core each, and the least processor time of each counts. A packet-hop is a packet put on a link, acknowledgements too.

htsim has no program for lists of flows of its own, so PROGRAM is one written on it: it is called with the flags of
`benchmarks/ns3/replay` (`--flows=FLOWS.csv --out=RESULTS.csv --leaves=2 ...`, README.md beside), may ignore those that
it does not need, and prints as its last line JSON with `packet_hops`; without that the closed loop's own count stands
in. A program that fails or is not there is named, with what it said, and has no row.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.ns3.compare import cell_of
from benchmarks.ns3.scenarios import PROGRAM, SCENARIOS, Scenario, flags, write_flows
from segcast.analyzer.packets import DROPPED

ROUNDS: Final = 3


class Absent(Exception):
    """A program is not there, or does not do what it should; says what."""


@dataclass(frozen=True)
class Took:
    """Processor seconds of a run, and its packet-hops if it counts them."""

    seconds: float
    packet_hops: int | None


def ours(scenario: Scenario, flows: Path, seed: int) -> Took:
    """Run the closed loop."""
    cell = cell_of({**dataclasses.asdict(scenario), "flags": flags(scenario)}, flows, seed)
    links = np.array([len(path.links) + 2 for path in cell.network.paths])
    began, hops, counting = time.process_time(), 0, 0.0
    for piece in cell.pieces():
        since = time.process_time()
        dropped = piece.fates.state & DROPPED != 0
        hops += int(np.where(dropped, piece.fates.hop, links[piece.fates.path]).sum())
        counting += time.process_time() - since
    return Took(time.process_time() - began - counting, hops)


def theirs(program: Path, scenario: Scenario, flows: Path, seed: int) -> Took:
    """Run a program with the flags of the ns-3 one. Raises Absent."""
    told = [f"--{flag}={value}" for flag, value in flags(scenario).items()]
    told += [f"--flows={flows}", f"--out={flows.with_name('results.csv')}", f"--seed={seed}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        ran = subprocess.run([program.resolve(), *told], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Absent(f"{program} cannot be run: {error.strerror}") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        said = " ".join((ran.stderr or ran.stdout).split())[-300:]
        raise Absent(f"{program} failed with {ran.returncode}: {said}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(seconds, said_hops(ran.stdout))


def said_hops(output: str) -> int | None:
    """`packet_hops` of the last line, if that is JSON and has it."""
    try:
        said: Any = json.loads(output.strip().splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        return None
    hops = said.get("packet_hops") if isinstance(said, dict) else None
    return hops if isinstance(hops, int) and hops > 0 else None


def table(runs: dict[str, Callable[[], Took]], rounds: int) -> list[str]:
    """A line for each that can be run, the first of which always can; all take turns."""
    best: dict[str, Took] = {}
    absent: dict[str, str] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            if name in absent:
                continue
            try:
                took = run()
            except Absent as error:
                absent[name] = str(error)
                continue
            if name not in best or took.seconds < best[name].seconds:
                best[name] = took
    first = next(iter(runs))
    own_hops = best[first].packet_hops or 0
    own_rate = own_hops / max(best[first].seconds, 1e-9)
    lines = [f"{'':10}{'processor s':>12}{'packet-hops':>13}{'M packet-hops/s':>17}{first + ' is':>14}"]
    for name, took in best.items():
        hops, counted = took.packet_hops or own_hops, "" if took.packet_hops else "  (packet-hops as here)"
        rate = hops / max(took.seconds, 1e-9)
        times = f"{own_rate / rate:.2f} times"
        lines.append(f"{name:10}{took.seconds:12.3f}{hops:13,}{rate / 1e6:17.2f}{times:>14}{counted}")
    return lines + [f"{name:10} {why}" for name, why in absent.items()]


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ns3.speed", description=__doc__)
    parser.add_argument("--scenario", default=SCENARIOS[0].name(), help="a name of benchmarks/ns3/scenarios.py")
    parser.add_argument("--seed", type=int, default=1, help="of the list (default: 1)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns that each has (default: {ROUNDS})")
    parser.add_argument("--ns3", type=Path, default=PROGRAM, help="what build.sh made (default: beside this)")
    parser.add_argument("--htsim", type=Path, help="a program on htsim that takes the same flags")
    told = parser.parse_args(argv)
    named = {scenario.name(): scenario for scenario in SCENARIOS}
    if told.scenario not in named:
        parser.error(f"no scenario {told.scenario!r}; there are {', '.join(named)}")
    scenario = named[told.scenario]
    with tempfile.TemporaryDirectory(prefix="segcast-speed-") as folder:
        flows = Path(folder) / "flows.csv"
        write_flows(scenario, told.seed, flows)
        ours(scenario, flows, told.seed)  # kernels compile
        runs = {"segcast": lambda: ours(scenario, flows, told.seed)}
        for name, program in (("ns-3", told.ns3), ("htsim", told.htsim)):
            if program is not None:
                runs[name] = lambda program=program: theirs(program, scenario, flows, told.seed)
        print(f"{told.scenario}, seed {told.seed}, best of {told.rounds} in turns")
        for line in table(runs, max(told.rounds, 1)):
            print(line)


if __name__ == "__main__":
    main()
