"""Writes the pages of docs/ that follow from the code, and the demo's output in the README. A test keeps them true."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

import segcast
from analyzer.schema import FLOWLETS, FORECAST_TABLES
from segcast import cli
from traces.schema import FLOWS, PACKETS, Table

_FOLDER = Path(__file__).parent
_WIDTH = 100
_DEMO_BEGINS = "<!-- demo -->"
_DEMO_ENDS = "<!-- /demo -->"


def _table_lines(table: Table, where: str) -> Iterator[str]:
    yield f"### {table.name}"
    yield f"{where}. A row is {table.row}.\n"
    yield "| column | type | null | meaning |"
    yield "|---|---|---|---|"
    for column in table.columns:
        yield f"| `{column.name}` | {column.type} | {'yes' if column.nullable else ''} | {column.meaning} |"
    yield ""


def tables_page() -> str:
    """docs/tables.md"""
    lines = ["# Tables", ""]
    lines += ["Generated from `traces/schema.py` and `analyzer/schema.py` by `make docs`.", ""]
    lines += ["## A trace: a folder `NAME.trace`", ""]
    lines += _table_lines(PACKETS, "`packets/*.parquet`")
    lines += _table_lines(FLOWS, "`flows.parquet`")
    lines += ["## A forecast: a folder", ""]
    for table in FORECAST_TABLES:
        where = "`packets/CELL.parquet`" if table.name == "packets" else f"`{table.name}.parquet`"
        lines += _table_lines(table, where)
    lines += ["## Flowlets: a file", ""]
    lines += _table_lines(FLOWLETS, "What `segcast flowlets --out` names")
    return "\n".join(lines)


def commands_page() -> str:
    """docs/commands.md"""
    parts = ["# Commands\n\nGenerated from `segcast.py` by `make docs`.\n"]
    for name in ["", *sorted(cli.commands)]:
        command: click.Command = cli.commands[name] if name else cli
        title = f"segcast {name}".strip()
        # A context of its own, so that the page does not depend on the terminal's width.
        context = click.Context(
            command, info_name=title, terminal_width=_WIDTH, **cli.context_settings | {"max_content_width": _WIDTH}
        )
        parts.append(f"## {title}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def demo_output() -> str:
    """What `make demo` prints, as a block for the README."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, segcast.__file__, "demo", "--out", "out/demo"],
            cwd=folder,
            env=os.environ | {"COLUMNS": str(_WIDTH)},
            capture_output=True,
            text=True,
            check=True,
        )
    return f"```\n{ran.stdout.strip()}\n```"


def readme(text: str, demo: str) -> str:
    """README.md with that demo output in its place."""
    head, _, rest = text.partition(_DEMO_BEGINS)
    _, _, tail = rest.partition(_DEMO_ENDS)
    return f"{head}{_DEMO_BEGINS}\n{demo}\n{_DEMO_ENDS}{tail}"


PAGES = {"tables.md": tables_page, "commands.md": commands_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (_FOLDER / name).write_text(page(), encoding="utf-8")
    _README = _FOLDER.parent / "README.md"
    _README.write_text(readme(_README.read_text(encoding="utf-8"), demo_output()), encoding="utf-8")
