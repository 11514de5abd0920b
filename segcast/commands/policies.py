"""`segcast policies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import segcast as sc
from segcast.screen import json_option, plugin_option, print_json, say, terminal

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@plugin_option
@json_option
def policies(as_json: bool) -> None:
    """Explain the policies and flowlet timeouts, their parameters, and where they come from."""
    document = sc.policies()
    if as_json:
        print_json(document)
        return
    console = terminal()
    asked = {"asked": "asked at each packet", "packet": "per packet", "flowlet": "per flowlet", "flow": "per flow"}
    for row in document["policies"]:
        who = "steered by SRv6" if row["steered"] else "not steered"
        _say_entry(console, row["policy"], f"{asked[row['granularity']]}, {who}", row)
    console.print()
    say(console, "Flowlet timeouts:")
    for row in document["timeouts"]:
        _say_entry(console, row["timeout"], "follows what returns" if row["learns"] else "needs no feedback", row)


def _say_entry(console: Console, name: str, how: str, row: dict[str, Any]) -> None:
    """A policy or flowlet timeout with its parameters."""
    say(console, f"{name:12} {row['summary']}")
    say(console, f"{'':12} {how}; {row['source']}")
    for parameter in row["parameters"]:
        among = f" ({', '.join(parameter['choices'])})" if "choices" in parameter else ""
        say(console, f"{'':12}   {parameter['name']} = {parameter['default']}{among}: {parameter['description']}")
