"""What a validation says in words: metrics, paths and errors, the same on the page and in a terminal."""

from __future__ import annotations

from typing import Any, Final

from segcast.reports import text

METRICS: Final = {
    "loss_ratio": "loss",
    "delay_p50_ns": "p50 delay",
    "delay_area_ns": "area of delay",
    "delay_p99_ns": "p99 delay",
    "residual_p50_ns": "p50 residual",
    "reordered_ratio": "reordered",
}


def path_words(row: dict[str, Any]) -> str:
    """The path of a row of COMPARISONS."""
    return "all paths" if row["path_id"] is None else f"path {row['path_id']}"


def verdict_words(row: dict[str, Any]) -> str:
    """What a row of COMPARISONS says, and why it says nothing."""
    said = row["verdict"] or "not judged"
    return f"{said}: {row['why']}" if row["why"] else said


def times_words(row: dict[str, Any]) -> str:
    """By how many times the tolerance it is off."""
    return text.plain(abs(row["error"]) / row["allowed"], 2) if row["allowed"] else text.NO_VALUE


def error_words(row: dict[str, Any]) -> str:
    """How far the measured value is from the predicted one: `+12 us (+3 %)`, `-0.1 %`."""
    error = row["error"]
    if not row["metric"].endswith("_ns"):
        return text.percent(error, signed=True)
    words = ("+" if error > 0 else "") + text.duration(error)
    return f"{words} ({text.change(error / row['predicted'])})" if row["predicted"] else words
