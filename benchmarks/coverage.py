"""How often intervals hold the truth where senders react: short flows over four paths, the truth by very many runs.

`python -m benchmarks.coverage`: studies of a few seeds each, as a forecast makes them, every seed with arrivals, a hash
and draws of its own; beside them so many seeds that their own error is small. The truth is not one long run, which
begins with an empty network but once: what the intervals are about are runs as long as these. The table goes into
docs/statistics.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.headline import Setting, Variant, flow_list, network, run
from segcast.analyzer.forecast.compare import interval
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.statistics.pooled import pooled_quantile, sample_of
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.reading import read_workload

Times = NDArray[np.int64]
Study = Sequence[Sequence[Times]]
"""Completion times by seed and policy."""

POLICIES = Variant("ecmp"), Variant("random", 50_000)
SHARES = {"p99": 0.99, "p99.9": 0.999}


def completions(setting: Setting, flows: int, folder: Path, seed: int) -> list[Times]:
    """Completion times of one seed, policy by policy, over the same flows."""
    scenario = validated({"policies": ["ecmp"], "network": network(setting)}, written)
    attached = attach(read_workload(flow_list(setting, flows, seed, folder)), scenario)
    return [np.asarray(run(attached, setting, seed, variant)["fct_ns"]) for variant in POLICIES]


def quantile(times: Times, share: float) -> float:
    """By nearest rank."""
    return float(np.quantile(times, share, method="inverted_cdf"))


def changed(seed: Sequence[Times]) -> float:
    """The logarithm of the ratio of both policies' p99 in one seed."""
    return math.log(quantile(seed[1], 0.99) / quantile(seed[0], 0.99))


def held(studies: Sequence[Study], true: Study) -> dict[str, tuple[int, int]]:
    """How many intervals there are of each kind, and how many of them hold the truth, which many seeds tell."""
    found: dict[str, list[bool]] = {}
    truth = [np.concatenate([seed[place] for seed in true]) for place in range(len(POLICIES))]
    ranks = [{name: quantile(times, share) for name, share in SHARES.items()} for times in truth]
    true_change = float(np.mean([changed(seed) for seed in true]))

    def note(name: str, low: float | None, high: float | None, value: float) -> None:
        kept = found.setdefault(name, [])
        if low is not None and high is not None:
            kept.append(low <= value <= high)

    for study in studies:
        for place in range(len(POLICIES)):
            means = interval([float(seed[place].mean()) for seed in study])
            note("mean over seeds", means.low, means.high, float(truth[place].mean()))
            for name, share in SHARES.items():
                pooled = pooled_quantile([sample_of(seed[place]) for seed in study], share)
                if pooled is not None:
                    note(f"pooled {name}", pooled.low, pooled.high, ranks[place][name])
        change = interval([changed(seed) for seed in study])
        note("change of p99", change.low, change.high, true_change)
    return {name: (len(kept), sum(kept)) for name, kept in found.items()}


def main() -> None:
    """Print how often each kind of interval holds the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--many", type=int, default=1500, help="seeds that tell the truth")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    setting = Setting(size=30_000, load=0.6)
    with tempfile.TemporaryDirectory(prefix="coverage-") as folder, ThreadPoolExecutor(chosen.threads) as pool:
        one = partial(completions, setting, chosen.flows, Path(folder))
        seeds = list(pool.map(one, range(1, chosen.studies * chosen.seeds + 1)))
        true = list(pool.map(one, range(1_000_000, 1_000_000 + chosen.many)))
    studies = [seeds[begin : begin + chosen.seeds] for begin in range(0, len(seeds), chosen.seeds)]
    print(f"{chosen.studies} studies of {chosen.seeds} seeds of {chosen.flows:,} flows; truth: {chosen.many:,} seeds")
    for name, (intervals, kept) in held(studies, true).items():
        print(f"| {name} | {kept} of {intervals} | {100 * kept / max(intervals, 1):.0f} % |")


if __name__ == "__main__":
    main()
