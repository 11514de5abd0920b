"""The HTML page of advice: one file, nothing fetched, made from the folder's document alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segcast.reports.advice.content import AdviceContent
from segcast.reports.forecast.page import environment, figures_json
from segcast.traces.disk.folders import new_file

_NAME: Final = "advice.html"


def write_advice(folder: Path) -> Path:
    """Write `advice.html` into an advice folder, whole or not at all, and return its path."""
    target = folder / _NAME
    page = render(AdviceContent(folder))
    with new_file(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target


def render(content: AdviceContent) -> str:
    """The page as text."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    template = environment().get_template("advice.html.j2")
    drawings = Markup(figures_json(content.drawings()))
    return str(template.render(content=content, figures=drawings, plotlyjs=Markup(get_plotlyjs())))
