"""The HTML page of advice: one file, nothing fetched, made from the folder's document alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.advice.content import AdviceContent
from segcast.reports.pages import drawn_page, write_page


def write_advice(folder: Path) -> Path:
    """Write `advice.html` into an advice folder, whole or not at all, and return its path."""
    return write_page(folder / "advice.html", drawn_page("advice.html.j2", AdviceContent(folder)))
