"""The HTML page of a failure study: one file, nothing fetched, made from the folder's document and tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segcast.reports.forecast.page import environment
from segcast.reports.plan.failures_content import WORST, FailuresContent
from segcast.traces.disk.folders import new_file

_NAME: Final = "failures.html"


def write_failures(folder: Path) -> Path:
    """Write `failures.html` into the folder of a failure study, whole or not at all, and return its path."""
    target = folder / _NAME
    page = str(environment().get_template("failures.html.j2").render(content=FailuresContent(folder), worst=WORST))
    with new_file(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target
