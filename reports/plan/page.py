"""The HTML page of a plan: one file, nothing fetched, made from the folder's document alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.pages import drawn_page, write_page
from segcast.reports.plan.content import PlanContent


def write_plan(folder: Path) -> Path:
    """Write `plan.html` into a plan folder, whole or not at all, and return its path."""
    return write_page(folder / "plan.html", drawn_page("plan.html.j2", PlanContent(folder)))
