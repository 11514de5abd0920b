"""A comparison of plans in a terminal: the answer, what was asked differently, and how far policies go in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcast.reports.compare.content import MOST
from segcast.reports.compare.plans_content import PlanCompareContent
from segcast.reports.console import print_table

if TYPE_CHECKING:
    from rich.console import Console


def print_plan_comparison(document: dict[str, Any], console: Console) -> None:
    """The answer, what limits it, differences and edges; the page has all of them."""

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False)

    content = PlanCompareContent.of(document)
    say(content.document.answer, "bold")
    for limit in content.document.but:
        say(f"but: {limit}", "dim")
    for heads, rows, left in (
        (["differs", "", "first", "second"], content.shortened, (0, 1, 2, 3)),
        ([content.keeps, "first", "second", "change", ""], [list(row) for row in content.rows], (0, 1, 2, 4)),
    ):
        if rows:
            say("")
            print_table(console, [heads, *rows[:MOST]], left=left)
            if len(rows) > MOST:
                say(f"... and {len(rows) - MOST} more; --out and --json have them", "dim")
    say("")
    for name, one, of in content.plans:
        say(f"{name}: {one.folder} ({of}): {one.answer}", "dim")
    if document.get("page"):
        say(f"page: {document['page']}")
