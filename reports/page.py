"""The HTML page of a forecast: one file, nothing fetched, made from the folder's tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from reports import text
from reports.content import Content
from reports.data import Forecast
from traces.folders import new_file

_TEMPLATES: Final = Path(__file__).parent / "templates"
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
    import jinja2
    from markupsafe import Markup
    from plotly.io import to_json
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"typeset": text.typeset, "count": text.count, "size": text.size, "rate": text.rate}
    environment.filters |= {"duration": text.duration, "percent": text.percent}
    content = Content(forecast)
    return environment.get_template("report.html.j2").render(
        content=content,
        # CORRECTNESS: plotly's encoder escapes every `<`, so no text in a figure can end the script element.
        figures=Markup(_json(to_json, content.drawings())),
        plotlyjs=Markup(get_plotlyjs()),
    )


def _json(to_json: Any, figures: dict[str, Any]) -> str:
    """Figures as one JSON object by name; unvalidated, for speed."""
    parts = (f'"{name}":{to_json(figure, validate=False)}' for name, figure in figures.items())
    return "{" + ",".join(parts) + "}"
