"""A report as it reads: the page and what the terminal shows."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rich.console import Console

from segcast.reports.forecast.page import write_report
from segcast.reports.forecast.terminal import print_forecast


class Page(HTMLParser):
    """The text, the elements and the tags with attributes of a page; plotly's bundle is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag in ("script", "style"):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.words.append(data)
        elif self._within[-1] == "script":
            self.scripts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def figures(self) -> dict[str, Any]:
        (found,) = (script for script in self.scripts if script.startswith("{"))
        return dict(json.loads(found))


def page_of(folder: Path) -> Page:
    page = Page()
    page.feed(write_report(folder).read_text(encoding="utf-8"))
    return page


def printed(folder: Path, *, every: bool = False, **options: Any) -> list[str]:
    buffer = io.StringIO()
    print_forecast(folder, Console(file=buffer, **options), every=every)
    return buffer.getvalue().splitlines()
