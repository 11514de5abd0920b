"""The HTML page of a comparison: one file, nothing fetched, made from the folder's document alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.compare.content import MOST, CompareContent
from segcast.reports.compare.plans_content import PlanCompareContent
from segcast.reports.pages import plain_page, write_page


def write_comparison(folder: Path) -> Path:
    """Write `compare.html` into a comparison folder, whole or not at all, and return its path."""
    page = plain_page("compare.html.j2", content=CompareContent.read(folder), most=MOST)
    return write_page(folder / "compare.html", page)


def write_plan_comparison(folder: Path) -> Path:
    """The same of a comparison of plans."""
    page = plain_page("compare-plans.html.j2", content=PlanCompareContent.read(folder))
    return write_page(folder / "compare.html", page)
