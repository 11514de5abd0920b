"""The command that follows from a result, as it is typed: whoever has read one answer has the next question at hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from segcast.screen import PLUGINS, say, terminal


def say_next(what: str, verb: str, trace: str, layer: str | None, *more: str | Path) -> None:
    """The next command over the same trace, read alike and with the same files of policies; `more` are its options."""
    read = ["--layer", layer] if layer == "inner" else []
    for file in click.get_current_context().meta.get(PLUGINS, ()):
        read += ["--plugin", str(file)]
    say(terminal(), f"next, {what}: {shlex.join(['segcast', verb, trace, *read, *map(str, more)])}")


def after_forecast(trace: str, layer: str | None, out: Path, document: dict[str, Any], scenario: Any) -> None:
    """How far the load goes within the scenario's budgets, or until the forecast's own figure has doubled."""
    axis = [] if scenario.growth is None else ["--over", "growth"]
    asked = [] if scenario.slo is not None else _doubled(document)
    if scenario.slo is None and not asked:
        return
    what = (
        "how far each policy keeps the budgets"
        if not asked
        else f"how much load each policy carries until {asked[0]} doubles"
    )
    slo = ["--slo", asked[1]] if asked else []
    say_next(what, "plan", trace, layer, "--scenario", out / "scenario.toml", *slo, *axis, "--out", "plan")


def _doubled(document: dict[str, Any]) -> list[str]:
    """The metric that a forecast is about, and the budget that it is at most twice what the baseline has."""
    from segcast.traces.units import write_duration

    metric, name = ("fct_p99_ns", "p99_fct") if document["trace"]["reacts"] else ("delay_p99_ns", "p99_delay")
    rows = [row for row in document["comparisons"] if row["metric"] == metric and row["baseline"]]
    if not rows:
        return []
    twice = 2 * min(rows, key=lambda row: row["load"])["baseline"]
    return [name.replace("_", " "), f"{name} < {write_duration(round(float(f'{twice:.2g}')))}"]
