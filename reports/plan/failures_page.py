"""The HTML page of a failure study: one file, nothing fetched, made from the folder's document and tables alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.pages import plain_page, write_page
from segcast.reports.plan.failures_content import WORST, FailuresContent


def write_failures(folder: Path) -> Path:
    """Write `failures.html` into the folder of a failure study, whole or not at all, and return its path."""
    page = plain_page("failures.html.j2", content=FailuresContent(folder), worst=WORST)
    return write_page(folder / "failures.html", page)
