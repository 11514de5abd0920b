"""The HTML page of a forecast: one file, nothing fetched, made from the folder's tables alone."""

from __future__ import annotations

from pathlib import Path

from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.pages import drawn_page, write_page


def write_report(folder: Path) -> Path:
    """Write `report.html` into a forecast folder, whole or not at all, and return its path.

    Raises InputError if the folder lacks what a report needs, or cannot be written.
    """
    return write_page(folder / "report.html", render(Forecast(folder)))


def render(forecast: Forecast) -> str:
    """The page as text."""
    return drawn_page("report.html.j2", ForecastContent(forecast))
