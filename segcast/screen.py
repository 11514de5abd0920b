"""What all commands share: opening a trace, progress and notes on stderr, one document or a table on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

import segcast as sc
from segcast import signs
from segcast.signs import MANNER

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

progress: Final = signs.progress
named_progress: Final = signs.named_progress
busy: Final = signs.busy
JSON_VERSION: Final = 1  # of documents that do not say their own
PLUGINS: Final = "segcast.plugins"  # where a context keeps the files of --plugin

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, nothing else.")
layer_option = click.option(
    "--layer", type=click.Choice(["outer", "inner"]), help="IP header that counts where tunnels nest them [outer]."
)


def _load_plugins(context: click.Context, option: click.Parameter, files: tuple[Path, ...]) -> None:
    if files:
        for file in files:
            sc.load_plugin(file)
        context.meta[PLUGINS] = files


plugin_option = click.option(
    "--plugin",
    type=click.Path(path_type=Path),
    multiple=True,
    expose_value=False,
    is_eager=True,
    callback=_load_plugins,
    help="Python file with policies or flowlet timeouts of your own (docs/policies.md); may be given several times.",
)

block_option = click.option(
    "--block", help="Blocks of time by which connections are resampled, such as 50ms [a twentieth]."
)
validated_option = click.option(
    "--validated",
    type=click.Path(path_type=Path),
    help="A validation (segcast validate), whose measured error of the model is then said.",
)
transport_option = click.option(
    "--transport", help="How TCP senders react: cubic, dctcp or newreno [none; flow lists: cubic]."
)


def network_options(command: F) -> F:
    """Parallel paths or a leaf-spine fabric, delay and buffer of links."""
    for option in (
        click.option("--buffer", help="Buffer of a path or link [512KiB]."),
        click.option("--delay", help="Propagation delay of a path or link [5us]."),
        click.option("--leaf-spine", help="A fabric instead, such as 16x4x25Gbps: leaves, spines, rate of links."),
        click.option("--paths", help="Parallel paths, such as 4x10Gbps or 2x10Gbps,2x25Gbps."),
    ):
        command = option(command)
    return command


def note(text: str) -> None:
    """A line on stderr that is no error."""
    if not MANNER.quiet:
        click.echo(f"segcast: {line_of(text)}", err=True)


def line_of(text: str) -> str:
    """A message as one line that only says what it says: control characters of names in it are shown as escapes."""
    from segcast.traces.disk.names import visible

    return visible(text.strip())


def terminal() -> Console:
    """The console of stdout."""
    from rich.console import Console

    from segcast.traces.disk.names import visible

    class VisibleConsole(Console):
        """A console whose lines of text stay lines, whatever names are in them."""

        def print(self, *objects: Any, **options: Any) -> None:
            """As Rich does it, with control characters as escapes."""
            super().print(*(visible(each) if isinstance(each, str) else each for each in objects), **options)

    return VisibleConsole(soft_wrap=True, highlight=False, emoji=False)


def say(console: Console, text: str) -> None:
    """A line of plain text, without Rich's markup."""
    console.print(text, markup=False)


def show(document: dict[str, Any], as_json: bool, printed: Callable[[dict[str, Any], Console], None]) -> None:
    """The document of a command as JSON, or as `printed` shows it in a terminal."""
    if as_json:
        print_json(document)
    else:
        printed(document, terminal())


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout; each says the version of Segcast and of itself."""
    said = {"segcast": sc.__version__, "schema_version": JSON_VERSION}
    click.echo(json.dumps({**said, **document}, indent=1))


def print_schema(schema: dict[str, Any]) -> None:
    """A JSON Schema on stdout, as it is: its form is JSON Schema's own."""
    click.echo(json.dumps(schema, indent=1))


def print_facts(facts: dict[str, Any], console: Console) -> None:
    """What a trace holds, and its findings."""
    from segcast.reports.trace.facts import print_facts as printed

    printed(facts, console)
