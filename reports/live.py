"""What `testbed live` prints in a terminal: what would be run, and what came out."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any, Final

from segcast.replay.live.document import read_live, read_live_table
from segcast.replay.live.tables import LIVE_SUMMARY
from segcast.reports import text
from segcast.reports.text import counted, echo

_TIMES: Final = ("p50", "p95", "p99", "mean")


def print_study(document: dict[str, Any]) -> None:
    """What would be run, and how long that takes."""
    cells = document["cells"]
    frames = "super-frames" if document["super_frames"] else "single segments"
    echo(
        f"{counted(len(cells), 'cell')}, about {text.duration(document['expected_ns'])}; TCP {document['control']}, "
        f"segments of {document['segment_bytes']} bytes, {frames}; testbed {document['name']}"
    )
    for each in document["lists"]:
        of = (
            f"seeds {each['seeds'][0]} to {each['seeds'][-1]}" if len(each["seeds"]) > 1 else f"seed {each['seeds'][0]}"
        )
        echo(f"  list {each['name']}: {counted(each['flows'], 'flow')}, {of}")
    echo(f"  order: {', '.join(cells[:12])}{', ...' if len(cells) > 12 else ''}")
    for note in document["notes"]:
        echo(f"  note: {note}")
    echo("nothing was sent: this is the plan; add --send and --out RUN to run it")


def print_live(folder: Path) -> None:
    """Completion times of each policy, as means over its cells, and what to know before believing them."""
    document = read_live(folder)
    rows = read_live_table(folder, LIVE_SUMMARY).to_pylist()
    kinds = list(dict.fromkeys((row["policy"], row["timeout"]) for row in sorted(rows, key=lambda row: row["cell"])))
    for policy, timeout in kinds:
        own = [row for row in rows if (row["policy"], row["timeout"]) == (policy, timeout)]

        def mean(name: str, own: list[dict[str, Any]] = own) -> float | None:
            values = [row[name] for row in own if row[name] is not None]
            return fmean(values) if values else None

        times = ", ".join(f"{name} {text.duration(mean(f'fct_{name}_ns'))}" for name in _TIMES)
        flows = sum(row["messages"] for row in own)
        per_flow = ", ".join(
            f"{said} {text.plain(sum(row[name] or 0 for row in own) / max(1, flows))}"
            for name, said in (("retransmissions", "sent again"), ("dropped", "dropped"), ("flowlets", "flowlets"))
            if any(row[name] is not None for row in own)
        )
        lost = sum(row["unfinished"] for row in own)
        echo(
            f"{policy}{f', {timeout}' if timeout else ''}: {times}; {counted(len(own), 'cell')}, "
            f"{counted(flows, 'flow')}{f', {lost} unfinished' if lost else ''}; per flow {per_flow}"
        )
    for finding in document.findings:
        echo(f"finding: {finding}")
    echo(f"run: {folder}")
