"""A comparison in a terminal: the answer, what was asked differently, and results side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from segcast.reports.compare.content import MOST, Row, document_of
from segcast.reports.console import print_table

if TYPE_CHECKING:
    from rich.console import Console


def print_comparison(document: dict[str, Any], console: Console) -> None:
    """The answer, what limits it, differences, results and budgets; the page has all of them."""

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False)

    content = document_of(document)
    say(content.document.answer, "bold")
    for limit in content.document.but:
        say(f"but: {limit}", "dim")
    if content.differences:
        say("")
        print_table(console, [["differs", "first", "second"], *content.shortened[:MOST]], left=(0, 1, 2))
        _rest(say, len(content.differences))
    if content.headline:
        say("")
        heads = [content.title, "first", "second", "change", ""]
        print_table(console, [heads, *_lines(content.headline[:MOST])], left=(0, 3, 4))
        _rest(say, len(content.headline))
    if content.others:
        say("")
        heads = ["also clearly different", "", "first", "second", "change", ""]
        rows = [[row.name, row.metric, *_cells(row)] for row in content.others[:MOST]]
        print_table(console, [heads, *rows], left=(0, 1, 4, 5))
        _rest(say, len(content.others))
    if content.kept:
        say("")
        say(f"budgets: {content.document.slo}")
        print_table(console, [["", "first", "second"], *content.kept[:MOST]], left=(0, 1, 2))
        _rest(say, len(content.kept))
    for name, one, of, _ in content.forecasts:
        say(f"{name}: {one.folder} ({of}): {one.answer}", "dim")
    if document.get("page"):
        say(f"page: {document['page']}")


def _rest(say: Any, there: int) -> None:
    if there > MOST:
        say(f"... and {there - MOST} more; --out and --json have them", "dim")


def _lines(rows: Iterable[Row]) -> list[list[str]]:
    return [[row.name, *_cells(row)] for row in rows]


def _cells(row: Row) -> list[str]:
    return [row.first, row.second, row.change, row.verdict]
