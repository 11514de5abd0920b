"""What the command line hands to its commands: progress, documents shown, pages written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, nothing else.")


@dataclass(frozen=True, slots=True)
class Screen:
    """`progress(what, unit)` gives a function of what is done and what there is; `show(document, as_json, kind)` prints
    a document of that kind; `write_page(folder)` writes the HTML page of a validation.
    """

    progress: Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
    show: Callable[[dict[str, Any], bool, str], None]
    write_page: Callable[[Path], object]
