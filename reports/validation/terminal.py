"""What `measure`, `calibrate` and `validate` print in a terminal, from the documents that `--json` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.validation.words import METRICS, error_words, path_words, times_words

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


def print_validation(document: dict[str, Any], console: Console) -> None:
    """The verdict, the ranking, what is furthest off, and where the page is."""
    console.print(document["answer"], style="bold" if document["holds"] else "bold red", markup=False)
    console.print(document["ranking_words"], markup=False)
    console.print()
    for heading, name in (
        ("judged, largest errors", "disagreements"),
        ("not judged, or saying nothing, largest errors", "unjudged"),
    ):
        if document[name]:
            console.print(f"{heading}:", markup=False)
            _print_errors(document[name], name == "disagreements", console)
            console.print()
    for policy in document["policies"]:
        own = [row for row in document["departures"] if row["cell"] == policy["cell"]]
        gap = max((row["gap_error_p99_ns"] or 0 for row in own), default=0)
        kept, planned = (sum(row[name] for row in own) for name in ("boundaries_kept", "boundaries"))
        console.print(
            f"{policy['policy']}: {policy['packets']['sent']:,} sent, {policy['packets']['dropped']:,} lost; gaps of "
            f"departures within {text.duration(gap)} (p99); {kept:,} of {planned:,} flowlet boundaries survived",
            markup=False,
        )
    print_findings(document["findings"], console)
    console.print(f"page: {document['page']}", markup=False)


def _print_errors(found: list[dict[str, Any]], judged: bool, console: Console) -> None:
    rows = [["policy", "path", "metric", "comparison", "predicted", "measured", "error", "x tolerance", ""]]
    for row in found:
        unit = text.duration if row["metric"].endswith("_ns") else text.percent
        values = [unit(row["predicted"]), unit(row["measured"]), error_words(row), times_words(row)]
        verdict = "fails" if judged and row["holds"] is False else row["why"] or ""
        rows.append([row["policy"], path_words(row), METRICS[row["metric"]], row["comparison"], *values, verdict])
    print_table(console, rows, left=(0, 1, 2, 3, 8))


def print_probes(document: dict[str, Any], console: Console) -> None:
    """What was written."""
    console.print(
        f"{document['packets']:,} packets in {document['trains']:,} trains, {text.duration(document['duration_ns'])}: "
        f"{document['folder']}",
        markup=False,
    )


def print_calibration(document: dict[str, Any], console: Console) -> None:
    """The estimates of each path, and where the scenario is."""
    units = {
        "rate_bps": text.rate,
        "base_delay_ns": text.duration,
        "buffer_bytes": text.size,
        "burst_bytes": text.size,
        "overhead_bytes": text.size,
    }
    rows = [["path", "links", "rate", "base delay", "buffer", "burst", "overhead"]]
    for path in document["paths"]:
        cells = [unit(path[name]["value"], 4) if path[name] else text.NO_VALUE for name, unit in units.items()]
        rows.append([str(path["path_id"]), " ".join(path["links"]), *cells])
    print_table(console, rows, left=(0, 1))
    console.print(f"scenario, with intervals: {document['scenario']}", markup=False)


PRINTERS: Final[dict[str, Callable[[dict[str, Any], Console], None]]] = {
    "calibration": print_calibration,
    "measurement": print_measurement,
    "probes": print_probes,
    "validation": print_validation,
}
