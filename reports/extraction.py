"""What `segcast workload` and `segcast export` print in a terminal, from the documents that `--json` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.text import counted

if TYPE_CHECKING:
    from rich.console import Console


def print_extraction(made: dict[str, Any], console: Console) -> None:
    """What is in the list, and what of the trace is not."""
    sizes = ", ".join(f"{name} {text.size(value)}" for name, value in made["flow_bytes"].items())
    thinks = made["think_ns"]
    crossing = f", of which {made['crossing']:,} are two streams each: their data crosses" if made["crossing"] else ""
    lines = [
        f"{made['workload']}: {counted(made['flows'], 'flow')}, {text.size(made['bytes'])}",
        f"{counted(made['connections'], 'connection')} of {counted(made['hosts'], 'host')}{crossing}",
        f"sizes: {sizes}",
        "no flow waits for another"
        if thinks is None
        else f"think times: {', '.join(f'{name} {text.duration(value)}' for name, value in thinks.items())}",
    ]
    for line in lines:
        console.print(line, markup=False)
    listed, rest = made["listed"], made["open_loop"]
    rows = [
        [each["reason"], f"{each['flows']:,}", f"{each['packets']:,}", text.size(each["bytes"])]
        for each in ({"reason": "in the list", **listed}, *rest)
    ]
    print_table(console, [["", "flows", "packets", "bytes"], *rows])
    if rest:
        console.print("note: what is not in the list stays open loop: sent when the trace says", markup=False)


def print_export(made: dict[str, Any], console: Console) -> None:
    """What is in the capture."""
    packets, connections = counted(made["packets"], "packet"), counted(made["connections"], "connection")
    console.print(f"{made['pcap']}: {packets} of {connections}, cell {made['cell']}", markup=False)
    if made["resized"]:
        console.print(
            f"note: {counted(made['resized'], 'packet')} have another length than in the model: TCP/IP headers of its "
            "size cannot be written",
            markup=False,
        )
