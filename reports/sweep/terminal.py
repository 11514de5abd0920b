"""What `sweep` prints in a terminal, from the document that `--json` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from segcast.analyzer.sweep.document import SweepDocument
from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.forecast.metrics import BY_COLUMN
from segcast.reports.sweep.content import brief_values, case_line
from segcast.traces.units import say_number

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN: Final = 40


def print_sweep(document: dict[str, Any], console: Console) -> None:
    """The answer, what to do in each case, and where the page is."""
    stated = SweepDocument.model_validate({name: value for name, value in document.items() if name != "page"})
    console.print(stated.answer, style="bold", markup=False)
    console.print()
    fields = [each.field for each in stated.fields]
    loads = len(stated.loads) > 1
    title = BY_COLUMN[stated.cases[0].metric].title
    heads = [
        *fields,
        *(["load"] if loads else []),
        "do",
        "figures of",
        title,
        f"of {stated.baseline}",
        "change",
        "95 %",
        "drops",
        "breaks",
    ]
    brief = {each.field: brief_values(each.values) for each in stated.fields}
    rows = [heads]
    for case in stated.cases[:_SHOWN]:
        line = case_line(case)
        values = [brief[field].get(value := case.values[field], value) for field in fields]
        rows.append(
            [
                *values,
                *([say_number(case.load)] if loads else []),
                line["do"],
                *(line[name] for name in ("of", "value", "baseline", "change", "interval", "drops", "breaks")),
            ]
        )
    print_table(console, rows, left=tuple(len(fields) + loads + place for place in (0, 1, 7)))
    if len(stated.cases) > _SHOWN:
        console.print(f"... and {text.counted(len(stated.cases) - _SHOWN, 'more case')}, on the page", markup=False)
    console.print()
    for each in stated.but:
        console.print(f"but: {each}", style="dim", markup=False)
    if stated.budgets:
        console.print(f"within: {stated.budgets}", style="dim", markup=False)
    console.print(f"{text.counted(stated.cells, 'cell')} of {text.counted(stated.variants, 'variant')}", style="dim")
    console.print(f"page: {document['page']}", markup=False)
