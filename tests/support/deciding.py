"""Small tables of numbers, and the decision that they support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segcast.analyzer.answers.candidates import Circumstances
from segcast.analyzer.answers.decision import Decision, decide
from segcast.analyzer.forecast.compare import compare
from tests.support.forecasts import Row, row

US = 1_000
SEEDS = range(1, 7)
# Of each seed, how far its luck moves every policy: little, so that a few percent can be told apart.
LUCK = {seed: 1 + 0.002 * ((seed * 7) % 5 - 2) for seed in range(1, 60)}


def cells(p99: Mapping[str, float], load: float = 1.0, seeds: Sequence[int] = SEEDS, **columns: Any) -> list[Row]:
    """Cells of policies whose p99 delay is, over the seeds, about this; a column may be one value or one by policy."""
    rows = []
    for place, (policy, value) in enumerate(p99.items()):
        own = {name: v.get(policy, 0.0) if isinstance(v, dict) else v for name, v in columns.items()}
        for seed in seeds:
            luck = LUCK[seed] * (1 + 0.001 * ((seed * 3 + place) % 4 - 1.5) * (policy != "ecmp"))
            measured = row(policy, None if policy == "ecmp" else 100 * US, seed, value * luck)
            usual = {"packets": 100_000, "delivered": 100_000, "displaced_3": 0, "effective_flows": 500.0}
            usual |= {"dropped_dead_link": 0, "dropped_undetected": 0, "utilisation_max": 0.5}
            rows.append(measured | usual | {"load": load} | own)
    return rows


def decided(rows: Sequence[Row], **circumstances: Any) -> Decision:
    return decide(rows, compare(rows, "ecmp"), Circumstances("ecmp", **circumstances))
