"""The list of intervals in docs/statistics.md is that of what is printed, and what it says of each is enough."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def measured() -> list[list[str]]:
    """Rows of the table of coverage: cells."""
    _, _, part = (DOCS / "statistics.md").read_text("utf-8").partition("## Measured coverage")
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def bounds() -> set[str]:
    """Lower bounds of all tables and documents: `pooled.low`, `comparisons[].low`, a path's as `paths[].*.low`."""
    found, table = set(), ""
    for line in (DOCS / "tables.md").read_text("utf-8").splitlines():
        if line.startswith("### "):
            table = line.removeprefix("### ")
        elif match := re.match(r"\| `((?:[^`]*[._])?low)` \|", line):
            name = match[1] if ".json" in table or "--json" in table else f"{table}.{match[1]}"
            found.add(re.sub(r"^paths\[\]\.\w+\.", "paths[].*.", name))
    return found


def test_every_interval_that_is_printed_is_in_the_list_and_no_other() -> None:
    listed = {name for row in measured() for name in re.findall(r"`([^`]*low)`", row[1])}
    assert listed == bounds()


def test_every_interval_that_is_used_holds_the_truth_often_enough() -> None:
    used = [row for row in measured() if not row[0].startswith("not used")]
    assert len(used) >= 8
    for row in used:
        shares = [int(share) for share in re.findall(r"(\d+) %", row[-1])]
        assert shares or "see" in row[-1], row
        assert all(share >= 88 for share in shares), row
    assert {row[0] for row in measured()} - {row[0] for row in used}  # those that do not cover are named, and not used
