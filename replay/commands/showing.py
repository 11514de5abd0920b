"""How commands of a replay show what they do: progress on stderr, one document or a few lines on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, nothing else.")


def print_json(document: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=1))


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Called with what is done and what there is: a bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def print_plan(plan: dict[str, Any]) -> None:
    """What a replay would send, and where."""
    click.echo(
        f"{plan['packets']:,} packets in {plan['duration_ns'] / 1e9:.3f} s, "
        f"cut off after {plan['limit_ns'] / 1e9:.1f} s"
    )
    for row in plan["senders"]:
        link = "unknown" if row["link_bps"] is None else f"{row['link_bps'] / 1e9:.3f} Gbit/s"
        click.echo(
            f"  send    {row['name']}: {row['packets']:,} packets at {_place(row)}, "
            f"{row['busiest_bps'] / 1e9:.3f} Gbit/s in the busiest 100 ms (link {link}), "
            f"frames of up to {row['longest_frame_bytes']} bytes (MTU {row['mtu']})"
        )
    for row in plan["receivers"]:
        click.echo(f"  receive {row['name']}: at {_place(row)}")
    if plan["transit"]:
        click.echo(f"  see     {', '.join(plan['transit'])}")
    for note in plan["notes"]:
        click.echo(f"  note:   {note}")
    for why in plan["refused"]:
        click.echo(f"  refused: {why}")


def print_run(run: dict[str, Any], out: object) -> None:
    """What a replay did."""
    for row in run["senders"]:
        missed = f", {row['dropped_by_capture']} missed by its capture" if row["dropped_by_capture"] else ""
        click.echo(f"{row['host']}: sent {row['sent']:,}, failed {row['failed']:,}{missed}")
    for row in run["receivers"]:
        if row["dropped_by_capture"]:
            click.echo(f"{row['host']}: {row['dropped_by_capture']} received packets missed by the capture")
    click.echo(f"run: {out}")


def _place(row: dict[str, Any]) -> str:
    return f"{row['interface']} of {row['netns'] or row['machine']}"
