"""What a failure study prints in a terminal, from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.plan.failures_content import WORST, FailuresContent

if TYPE_CHECKING:
    from rich.console import Console

_CAUSES: Final = 60


def print_failures(folder: Path, console: Console) -> None:
    """The answer; of each policy what failures cost, the worst of them and the links they press; what limits it."""
    content = FailuresContent(folder)
    document = content.document
    console.print(document.answer, style="bold", markup=False)
    for told in content.variants:
        console.print()
        console.print(told.label, style="bold", markup=False)
        for sentence in told.says:
            console.print(f"  {sentence}", markup=False)
        console.print()
        console.print(_title(len(told.failures), content.tried, "failures"), style="dim", markup=False)
        print_table(console, [content.failure_heads, *told.failures[:WORST]])
        console.print()
        console.print(_title(len(told.links), content.tried, "links"), style="dim", markup=False)
        causes = tuple(number for number, head in enumerate(content.link_heads) if head == "caused by")
        rows = [[_short(cell) if place in causes else cell for place, cell in enumerate(row)] for row in told.links]
        print_table(console, [content.link_heads, *rows[:WORST]], left=(0, *causes))
    console.print()
    for limit in document.but:
        console.print(f"but: {limit}", style="dim", markup=False)
    ran = f"{text.count(document.ran, ',')} run now" if document.ran < document.cells else "all run now"
    console.print(f"{text.count(document.cells, ',')} cells, {ran}", style="dim", markup=False)


def _title(count: int, tried: str, what: str) -> str:
    if what == "failures":
        return f"worst {WORST} of {tried} tried" if count > WORST else f"all {tried} tried, the worst first"
    worst = f"the {WORST} links most used at worst, of {count} that carry anything" if count > WORST else "links"
    return f"{worst}, over {tried}"


def _short(causes: str) -> str:
    """A list of causes that fits a line."""
    if len(causes) <= _CAUSES:
        return causes
    names = causes.split(", ")
    kept = [name for number, name in enumerate(names) if len(", ".join(names[: number + 1])) <= _CAUSES] or names[:1]
    return f"{', '.join(kept)}, ..."
