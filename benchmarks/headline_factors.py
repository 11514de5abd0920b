"""What decides the headline: `python -m benchmarks.headline_factors [FACTOR ...]`.

One factor at a time is changed about the study's centre (`benchmarks.headline`: load 0.6, 1 MB, CUBIC, RACK, 8 hosts a
leaf), and beside fixed sizes whole jobs are run: web pages and shuffles, whose flows wait for each other. A row for
each setting: changes of p99 (of jobs: of the time of a whole job) in per cent, paired by seed, with 95 % intervals.
Cells that are kept in the folder are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tomli_w

from benchmarks.headline import Setting, Variant, change, flow_list, network, plain, run
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.reading import read_workload

CENTRE: Final = Setting()
AT: Final = 100_000
FACTORS: Final[dict[str, tuple[tuple[str, Setting], ...]]] = {
    "load": tuple((f"load {load:g}", replace(CENTRE, load=load)) for load in (0.3, 0.45, 0.6, 0.75, 0.9)),
    "size": tuple((name, replace(CENTRE, size=size)) for name, size in (("100 kB", 100_000), ("10 MB", 10_000_000))),
    "transport": (
        ("DCTCP", replace(CENTRE, control="dctcp")),
        ("three duplicates (dupack)", replace(CENTRE, receiver="dupack")),
        ("TSO, 64 kB", replace(CENTRE, tso=65_536)),
    ),
    "hosts": tuple((f"{hosts // 4} a path", replace(CENTRE, hosts=hosts)) for hosts in (4, 8, 32)),
    "skew": (("one spine at half the rate", replace(CENTRE, slow_spine=True)),),
}
TIMEOUTS_NS: Final = (16_000, 50_000, 100_000, 256_000, 500_000, 1_000_000, "rtt", "spread", "drained", "safe")
JOBS: Final = {"web-pages": 2600, "shuffle": 640}
JOB_TIMEOUTS_NS: Final = (100_000, 500_000, "rtt", "spread")
LEAST_FLOWS, MOST_FLOWS = 100, 6000


def told(setting: Setting) -> str:
    """A setting as the name of a file."""
    return "-".join(str(value) for value in vars(setting).values())


def list_of(kind: str, setting: Setting, flows: int, seed: int, folder: Path) -> Path:
    """The flow list of a seed; `kind` is fixed, or that of jobs."""
    if kind == "fixed":
        return flow_list(setting, flows, seed, folder)
    file = folder / f"{kind}-{setting.load}-{seed}.csv"
    if not file.exists():
        scenario = folder / "jobs.toml"
        scenario.write_text(tomli_w.dumps({"policies": ["ecmp"], "network": network(setting)}))
        words = ["--load", str(setting.load), "--flows", str(flows), "--seed", str(seed), "--out", str(file)]
        command = [sys.executable, "-m", "segcast", "synth", kind, "--scenario", str(scenario), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return file


def cells(kind: str, setting: Setting, variant: Variant, flows: int, seeds: int, folder: Path) -> list[dict[str, Any]]:
    """A cell for each seed, from the folder if it is there."""
    kept = folder / f"{kind}-{told(setting)}-{flows}-{str(variant).replace(' ', '').replace(',', '-')}.json"
    found: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for seed in range(len(found) + 1, seeds + 1):
        scenario = validated({"policies": ["ecmp"], "network": network(setting)}, written)
        workload = read_workload(list_of(kind, setting, flows, seed, folder))
        cell = plain(run(attach(workload, scenario), setting, seed, variant))
        if kind != "fixed":
            cell["fct_ns"] = times_of_jobs(workload.flow.to_pylist(), cell)
        del cell["asked_ns"], cell["complete_ns"]
        found.append(cell)
        kept.write_text(json.dumps(found))
    return found[:seeds]


def times_of_jobs(names: Sequence[str], cell: dict[str, Any]) -> list[int]:
    """From when the first flow of a job was asked to when its last was complete; flows are called JOB.NUMBER."""
    begun: dict[str, int] = {}
    done: dict[str, int] = {}
    for name, asked, complete in zip(names, cell["asked_ns"], cell["complete_ns"], strict=True):
        job = name.partition(".")[0]
        begun[job] = min(begun.get(job, asked), asked)
        done[job] = max(done.get(job, 0), complete)
    return [done[job] - begun[job] for job in begun]


def p99(found: list[dict[str, Any]]) -> list[float]:
    """Of each seed, in ms."""
    return [float(np.quantile(cell["fct_ns"], 0.99)) / 1e6 for cell in found]


def row(name: str, of: dict[Variant, list[dict[str, Any]]], timeout: int | str) -> str:
    """A setting's line."""
    ecmp, moved = of[Variant("ecmp")], of[Variant("inflight", timeout)]
    base = p99(ecmp)
    parts = [name, f"{np.mean(base):.3g} ({min(base):.3g} to {max(base):.3g})"]
    parts += [change(p99(of[Variant("inflight", timeout)]), base)]
    parts += [change(p99(of[Variant("inflight", timeout)]), p99(of[Variant("random", timeout)]))]
    for other in (Variant("inflight", timeout, "fabric"), Variant("spray")):
        parts.append(change(p99(of[other]), base) if other in of else "")
    parts += [f"{np.mean([cell['flowlets'] for cell in moved]):.1f}"]
    parts += [f"{np.mean([cell['needless'] for cell in moved]):.1f}"]
    unfinished = sum(cell["unfinished"] for found in of.values() for cell in found)
    return f"| {' | '.join(parts)} |" + (f" {unfinished} unfinished" if unfinished else "")


def table(factor: str, chosen: argparse.Namespace) -> Iterator[str]:
    """The lines of a factor."""
    jobs = factor in JOBS
    rows: list[tuple[str, Setting, int | str]]
    if factor == "timeout" or jobs:
        rows = [
            (f"{t // 1000} us" if isinstance(t, int) else f"`{t}`", CENTRE, t)
            for t in (JOB_TIMEOUTS_NS if jobs else TIMEOUTS_NS)
        ]
    else:
        rows = [(name, setting, AT) for name, setting in FACTORS[factor]]
    for name, setting, timeout in rows:
        flows = (
            JOBS[factor] if jobs else min(max(chosen.megabytes * 1_000_000 // setting.size, LEAST_FLOWS), MOST_FLOWS)
        )
        used = [Variant("ecmp"), Variant("random", timeout), Variant("inflight", timeout)]
        used += [Variant("inflight", timeout, "fabric"), Variant("spray")]
        kind = factor if jobs else "fixed"
        yield row(name, {v: cells(kind, setting, v, flows, chosen.seeds, chosen.out) for v in used}, timeout)


def main() -> None:
    """Print a table for each factor."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*FACTORS, "timeout", *JOBS]
    parser.add_argument("factors", nargs="*", default=known, metavar="FACTOR", help=f"of {', '.join(known)} [all]")
    parser.add_argument("--out", type=Path, default=Path("out/headline"), help="folder of the cells [out/headline]")
    parser.add_argument("--megabytes", type=int, default=600, help="of a seed, in 100 to 6000 flows [600]")
    parser.add_argument("--seeds", type=int, default=10)
    chosen = parser.parse_args()
    if unknown := set(chosen.factors) - set(known):
        parser.error(f"unknown factor {min(unknown)}; known: {', '.join(known)}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for factor in chosen.factors:
        print(f"\n{factor}\n")
        print(
            "| | ecmp p99, ms (of seeds) | inflight against ecmp, % | inflight against random, % | "
            "one counter for all, against ecmp, % | spray against ecmp, % | flowlets a flow | needlessly sent again |"
        )
        print("|---|" + "--:|" * 7)
        for line in table(factor, chosen):
            print(line, flush=True)


if __name__ == "__main__":
    main()
