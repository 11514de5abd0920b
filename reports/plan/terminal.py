"""What `plan` prints in a terminal, from the document that `--json` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcast.analyzer.plan.axes import axis_named
from segcast.analyzer.plan.document import StatedEdge
from segcast.analyzer.plan.words import name_of
from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.plan.content import edge_line, gain_line

if TYPE_CHECKING:
    from rich.console import Console


def print_plan(document: dict[str, Any], console: Console) -> None:
    """The answer, each policy's edge, what limits the answer, and where the page is."""
    axis = axis_named(document["over"])
    console.print(document["answer"], style="bold", markup=False)
    console.print()
    rows = [["policy", f"keeps it {'up to' if axis.rises else 'from'}", "95 %", "against", "first to break", "cells"]]
    for entry in document["edges"]:
        edge = StatedEdge.model_validate(entry)
        value, interval = edge_line(axis, edge)
        against = gain_line(edge) if edge.gain is not None else text.NO_VALUE
        if edge.policy == document["baseline"]:
            against = "baseline"
        breaks = (edge.binding if edge.end is None else edge.end.words) or text.NO_VALUE
        rows.append([name_of(edge), value, interval, against, breaks, text.count(edge.cells)])
    print_table(console, rows, left=(0, 4))
    console.print()
    for limit in document["but"]:
        console.print(f"but: {limit}", style="dim", markup=False)
    ran = f"{text.count(document['ran'], ',')} run now" if document["ran"] < document["cells"] else "all run now"
    console.print(f"{text.count(document['cells'], ',')} cells, {ran}", style="dim", markup=False)
    console.print(f"page: {document['page']}", markup=False)
