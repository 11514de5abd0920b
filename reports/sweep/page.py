"""The HTML page of a sweep: one file, nothing fetched, made from the folder's document and tables alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.pages import drawn_page, write_page
from segcast.reports.sweep.content import SweepContent


def write_sweep(folder: Path) -> Path:
    """Write `sweep.html` into a sweep folder, whole or not at all, and return its path."""
    return write_page(folder / "sweep.html", drawn_page("sweep.html.j2", SweepContent(folder)))
