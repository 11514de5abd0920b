"""`segcast replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.reports.console import print_cleared, print_plan, print_run
from segcast.reports.text import echo
from segcast.screen import json_option, print_json, progress


def sending_options(command: Any) -> Any:
    """The flags that `segcast replay` and `segcast testbed run` share."""
    for option in reversed(
        (
            click.option(
                "--sender",
                type=click.Choice(["tcpreplay", "absolute"]),
                default="tcpreplay",
                show_default=True,
                help="absolute: one own, which keeps time where tcpreplay drifts.",
            ),
            click.option("--limit", help="Time after which sending is cut off [3 times the schedule and 30s]."),
            click.option(
                "--compensation", help="Taken from every gap for what tcpreplay before 4.5.3 adds to it, such as 8us."
            ),
            click.option("--snaplen", default="0B", help="Bytes captured of each packet [0B: all]."),
            click.option("--transit", is_flag=True, help="Capture at the inventory's transit points too."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--inventory", required=True, type=click.Path(path_type=Path), help="Interfaces and machines, a TOML file."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--send", is_flag=True, help="Do send; without it the plan is printed.")
@click.option("--dry-run", is_flag=True, help="Print the plan and send nothing, whatever else is given.")
@click.option(
    "--print-commands", is_flag=True, help="Write what is to be sent to --out, print the commands by machine."
)
@click.option(
    "--calibrate", is_flag=True, help="Send the first second beforehand, to know what tcpreplay adds to gaps."
)
@click.option(
    "--i-mean-it",
    is_flag=True,
    help="Send even at an interface that has the default route, or carries this ssh session.",
)
@click.option(
    "--clean", is_flag=True, help="Remove what killed replays left on the inventory's machines, and send nothing."
)
@click.option(
    "--forecast",
    type=click.Path(path_type=Path),
    help="The forecast it belongs to, noted in the run folder [the one that REWRITE names].",
)
@sending_options
@json_option
def replay(
    folder: Path | None,
    inventory: Path,
    out: Path | None,
    send: bool,
    dry_run: bool,
    print_commands: bool,
    calibrate: bool,
    i_mean_it: bool,
    clean: bool,
    forecast: Path | None,
    sender: str,
    limit: str | None,
    compensation: str | None,
    snaplen: str,
    transit: bool,
    as_json: bool,
) -> None:
    """Send what segcast rewrite wrote to REWRITE at an inventory's interfaces, and capture departures and arrivals.

    Nothing is sent without --send. Interfaces must exist, be up, carry the longest packet and the busiest 100 ms, and
    neither have the default route nor carry this ssh session.
    """
    if clean == (folder is not None):
        raise sc.InputError("give REWRITE, what segcast rewrite wrote, or --clean, which takes none")
    if folder is None:
        cleared = sc.lab.clear(inventory)
        print_json({"machines": cleared}) if as_json else print_cleared(cleared)
        return
    planned: dict[str, Any] = {
        "forecast": forecast,
        "sender": sender,
        "transit": transit,
        "limit": limit,
        "allow_default_route": i_mean_it,
    }
    options: dict[str, Any] = {"compensation": compensation, "calibrate": calibrate, "snaplen": snaplen}
    if dry_run or not (send or print_commands):
        _show_plan(sc.lab.plan(folder, inventory, **planned), as_json)
        return
    if out is None:
        raise sc.InputError("--out is missing: name the run folder to write")
    if print_commands:
        lines = sc.lab.commands(folder, inventory, out, **planned, **options)
        if as_json:
            print_json({"commands": lines})
            return
        for line in lines:
            echo(line)
        return
    with progress("replay") as shown:
        document = sc.lab.replay(folder, inventory, out, shown, **planned, **options)
    print_json(document) if as_json else print_run(document, out)


def _show_plan(document: dict[str, Any], as_json: bool) -> None:
    """What would be sent. Raises CheckFailed if it is refused."""
    refused = document["refused"]
    if as_json:
        print_json(document)
    else:
        print_plan(document)
        remedy = "it is refused as it is" if refused else "add --send and --out RUN to run it"
        click.echo(f"nothing was sent: this is the plan; {remedy}")
    if refused:
        raise sc.CheckFailed(f"the plan is refused: {refused[0]}")
