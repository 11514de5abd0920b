"""What `measure`, `calibrate` and `validate` print in a terminal, from the documents that `--json` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from reports import text

if TYPE_CHECKING:
    from rich.console import Console

_MOST: Final = 8


def print_measurement(document: dict[str, Any], console: Console) -> None:
    """Counts, delays, clocks, and what to know before believing them."""
    packets = document["packets"]
    console.print(
        f"{packets['planned']:,} packets planned, {packets['sent']:,} seen leaving, {packets['received']:,} arriving; "
        f"{packets['dropped']:,} lost",
        style="bold",
        markup=False,
    )
    delays = "  ".join(f"{name} {text.duration(value)}" for name, value in document["delay_ns"].items())
    console.print(f"one-way delay: {delays}", markup=False)
    ways = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in document["paths"].items() if count)
    console.print(f"paths: {ways}", markup=False)
    for fit in document["clocks"]["fits"]:
        residual = "not known" if fit["residual_ns"] is None else text.duration(fit["residual_ns"])
        console.print(
            f"clock {fit['clock']}: {text.duration(fit['offset_ns'])} ahead of {fit['reference']}, drift "
            f"{fit['drift'] * 1e6:.3g} ppm, residual {residual}, "
            f"error of the offset up to {text.duration(fit['round_trip_ns'] // 2)}",
            markup=False,
        )
    print_findings(document["findings"], console)


def print_findings(findings: list[str], console: Console) -> None:
    """The first of them, a line each."""
    for finding in findings[:_MOST]:
        console.print(f"note: {finding}", style="dim", markup=False)
    if len(findings) > _MOST:
        console.print(f"... and {len(findings) - _MOST} more notes", style="dim", markup=False)


PRINTERS: Final[dict[str, Callable[[dict[str, Any], Console], None]]] = {"measurement": print_measurement}
