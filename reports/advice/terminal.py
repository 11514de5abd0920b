"""What `advise` prints in a terminal, from the document that `--json` shows: few lines, the rest is on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from segcast.analyzer.advice.document import AdviceDocument
from segcast.reports import text
from segcast.reports.advice.content import setting_rows
from segcast.reports.console import print_table

if TYPE_CHECKING:
    from rich.console import Console

_LIMITS: Final = 2


def print_advice(document: dict[str, Any], console: Console) -> None:
    """The verdict, its reasons and limits, timeouts as people type them, and where the page is."""
    advice = AdviceDocument.model_validate({name: document[name] for name in AdviceDocument.model_fields})
    console.print(advice.answer, style="bold", markup=False)
    for reason in advice.because:
        console.print(f"because: {reason}", markup=False)
    for limit in advice.but[:_LIMITS]:
        console.print(f"but: {limit}", style="dim", markup=False)
    if len(advice.but) > _LIMITS:
        console.print(f"but: {len(advice.but) - _LIMITS} more on the page", style="dim", markup=False)
    print_table(console, setting_rows(advice), left=(0, 5))
    ran = "all run now" if advice.ran == advice.cells else f"{text.count(advice.ran, ',')} run now"
    console.print(f"{text.count(advice.cells, ',')} cells, {ran}; page: {document['page']}", style="dim", markup=False)
