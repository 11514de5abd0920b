"""What the commands other than `forecast` print in a terminal, from the documents `--json` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reports import text
from reports.text import counted
from traces.units import say_duration

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN: Final = ("p50", "p99", "max")
_HOSTS: Final = 5


def print_table(console: Console, rows: list[list[str]], left: tuple[int, ...] = (0,)) -> None:
    """Aligned columns; those numbered in `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), style="dim" if number == 0 else "", markup=False, highlight=False)


def print_flowlets(report: dict[str, Any], console: Console) -> None:
    """Gaps and the flowlets at each timeout."""
    gaps = "  ".join(f"{name} {text.duration(value)}" for name, value in report["gap_ns"].items())
    console.print(
        f"{report['trace']}: {counted(report['packets'], 'packet')} of {counted(report['flows'], 'flow')}", markup=False
    )
    console.print(f"gaps within flows: {gaps}", markup=False)
    console.print()
    rows = [
        [*("timeout", "flowlets", "never split"), *("packets mean", *_SHOWN), *("bytes mean", *_SHOWN)],
    ]
    for row in report["timeouts"]:
        share = row["never_split"] / row["flows"] if row["flows"] else 0
        rows.append(
            [
                say_duration(row["timeout_ns"]),
                f"{row['flowlets']:,}",
                f"{row['never_split']:,} ({100 * share:.0f} %)",
                text.plain(row["packets_mean"]),
                *(text.count(row[f"packets_{q}"], ",") for q in _SHOWN),
                text.size(row["bytes_mean"]),
                *(text.size(row[f"bytes_{q}"]) for q in _SHOWN),
            ]
        )
    print_table(console, rows)


def print_rewrite(summary: dict[str, Any], console: Console) -> None:
    """Files written and what was left out."""
    console.print(
        f"{counted(summary['packets'], 'packet')}, {text.size(summary['bytes'])} "
        f"in {counted(len(summary['files']), 'capture')} ({summary['mode']}) from {summary['cell']}: "
        f"{summary['folder']}",
        markup=False,
    )
    files = sorted(summary["files"], key=lambda file: -file["packets"])
    shown = files if len(files) <= _HOSTS + 1 else files[:_HOSTS]
    rows = [[f["host"], f"{f['packets']:,}", text.size(f["bytes"]), f["path"]] for f in shown]
    print_table(console, [["host", "packets", "bytes", "capture"], *rows], left=(0, 3))
    if len(shown) < len(files):
        console.print(f"... and {counted(len(files) - len(shown), 'more host')}, listed in rewrite.json", markup=False)
    for title, counts in (("not written", summary["skipped"]), ("changed", summary["mended"])):
        there = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
        if there:
            console.print(f"{title}: {there}", markup=False)
