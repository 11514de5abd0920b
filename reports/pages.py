"""What all HTML pages share: one file each, nothing fetched, made from a template, its content and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Protocol

from segcast.reports import text
from segcast.reports.style import DARK, Figure
from segcast.traces.disk.folders import new_file

_TEMPLATES: Final = Path(__file__).parent / "templates"

# Beside "scatter", which is always there.
_DRAWN: Final = ("bar", "heatmap")
_REGISTERED: Final = re.compile(r"\.register\(\[((?:[\w$]+\(\),?)+)\]\)")
_HANDS_ON: Final = r"var {}=[\w$]+\(\([\w$,]*\)=>\{{(?:\"use strict\";)?[\w$]+\.exports=([\w$]+)\(\)"
_KIND: Final = re.compile(r'moduleType:"trace",name:"(\w+)"')


class Drawn(Protocol):
    """A page's content that has figures, by the names under which the template places them."""

    def drawings(self) -> dict[str, Figure]:
        """The figures."""
        ...


def write_page(target: Path, page: str) -> Path:
    """Write a page, whole or not at all, and return its path."""
    with new_file(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target


def drawn_page(template: str, content: Drawn) -> str:
    """A page with figures as text, with what draws them in it."""
    # Imported here: a command that writes no report does not pay for them.
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    drawings = Markup(figures_json(content.drawings()))
    return plain_page(template, content=content, figures=drawings, plotlyjs=Markup(with_kinds_drawn(get_plotlyjs())))


def with_kinds_drawn(library: str) -> str:
    """plotly.js that sets up only the kinds of traces that pages draw: the others took a third of the time to open.

    What it does not recognise, such as another packing of a later version, is left whole.
    """
    asked = max(_REGISTERED.finditer(library), key=lambda found: len(found[0]), default=None)
    if asked is None:
        return library
    kinds: dict[str, str] = {}
    for entry in asked[1].split(","):
        kinds[_kind(library, entry.removesuffix("()"))] = entry
        if kinds.keys() >= set(_DRAWN):
            kept = ",".join(kinds[kind] for kind in _DRAWN)
            return f"{library[: asked.start(1)]}{kept}{library[asked.end(1) :]}"
    return library


def _kind(library: str, module: str) -> str:
    """The kind of trace that a module of plotly.js hands on; empty if it hands on something else."""
    hands_on = re.search(_HANDS_ON.format(re.escape(module)), library)
    begin = library.find(f"var {hands_on[1]}=") if hands_on else -1
    if begin < 0:
        return ""
    kind = _KIND.search(library[begin : library.find("});var ", begin)])
    return kind[1] if kind else ""


def plain_page(template: str, **values: Any) -> str:
    """A page as text; text in it is escaped."""
    return str(_environment().get_template(template).render(**values))


def _environment() -> Any:
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
    made.globals["dark"] = DARK
    made.filters |= {"duration": text.duration, "percent": text.percent, "plain": text.plain, "given": text.given}
    made.filters["brief"] = text.brief
    return made


def figures_json(figures: dict[str, Any]) -> str:
    """Figures as one JSON object by name; unvalidated, for speed."""
    from plotly.io import to_json

    # CORRECTNESS: plotly's encoder escapes every `<`, so no text in a figure can end the script element.
    parts = (f'"{name}":{to_json(figure, validate=False)}' for name, figure in figures.items())
    return "{" + ",".join(parts) + "}"
