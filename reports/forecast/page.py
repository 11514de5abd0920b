"""The HTML page of a forecast: one file, nothing fetched, made from the folder's tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from segcast.reports import text
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.traces.disk.folders import new_file

_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_NAME: Final = "report.html"


def write_report(folder: Path) -> Path:
    """Write `report.html` into a forecast folder, whole or not at all, and return its path.

    Raises InputError if the folder lacks what a report needs, or cannot be written.
    """
    page = render(Forecast(folder))
    target = folder / _NAME
    with new_file(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target


def render(forecast: Forecast) -> str:
    """The page as text."""
    # Imported here: a command that writes no report does not pay for them.
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    content = ForecastContent(forecast)
    return str(
        environment()
        .get_template("report.html.j2")
        .render(content=content, figures=Markup(figures_json(content.drawings())), plotlyjs=Markup(get_plotlyjs()))
    )


def environment() -> Any:
    """Where the templates are, and the filters they use."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"typeset": text.typeset, "count": text.count, "size": text.size, "rate": text.rate}
    made.filters |= {"duration": text.duration, "percent": text.percent}
    return made


def figures_json(figures: dict[str, Any]) -> str:
    """Figures as one JSON object by name; unvalidated, for speed."""
    from plotly.io import to_json

    # CORRECTNESS: plotly's encoder escapes every `<`, so no text in a figure can end the script element.
    parts = (f'"{name}":{to_json(figure, validate=False)}' for name, figure in figures.items())
    return "{" + ",".join(parts) + "}"
