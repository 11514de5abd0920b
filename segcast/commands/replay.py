"""`segcast replay`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from segcast.reports.console import print_cleared, print_plan, print_run
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


def options_of(sender: str, compensation: str | None, snaplen: str, calibrate: bool) -> Any:
    """The flags as the replay takes them. Raises InputError."""
    from segcast.replay.inject.plan import Options
    from segcast.traces.units import duration_ns, size_bytes

    taken = None if compensation is None else duration_ns(compensation)
    return Options(sender=sender, compensation_ns=taken, calibrate=calibrate, snaplen=size_bytes(snaplen))


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
    from segcast.replay.inject.connections import connected
    from segcast.replay.inject.machines import clear
    from segcast.replay.inject.plan import plan_replay
    from segcast.replay.inject.run import run_replay
    from segcast.replay.inject.wording import worded
    from segcast.replay.inventory import read_inventory
    from segcast.replay.testbed.bed import held
    from segcast.traces.errors import CheckFailed, InputError
    from segcast.traces.units import duration_ns

    options = options_of(sender, compensation, snaplen, calibrate)
    lab = read_inventory(inventory)
    if clean == (folder is not None):
        raise InputError("give REWRITE, what segcast rewrite wrote, or --clean, which takes none")
    click.get_current_context().with_resource(connected(lab.machines))
    if folder is None:
        cleared = clear(lab.machines)
        print_json({"machines": cleared}) if as_json else print_cleared(cleared)
        return
    plan = plan_replay(
        folder,
        lab,
        forecast=None if forecast is None else str(forecast.absolute()),
        sender=sender,
        transit=transit,
        limit_ns=None if limit is None else duration_ns(limit),
        allow_default_route=i_mean_it,
    )
    if (send or print_commands) and not dry_run and out is None:
        raise InputError("--out is missing: name the run folder to write")
    if print_commands and not dry_run:
        assert out is not None
        lines = worded(plan, out, options)
        if as_json:
            print_json({"commands": lines})
        else:
            from segcast.reports.text import echo

            for line in lines:
                echo(line)
        return
    if dry_run or not send:
        document = plan.as_dict() | {"sent": False}
        if as_json:
            print_json(document)
        else:
            print_plan(document)
            remedy = "it is refused as it is" if plan.refusals else "add --send and --out RUN to run it"
            click.echo(f"nothing was sent: this is the plan; {remedy}")
        if plan.refusals:
            raise CheckFailed(f"the plan is refused: {plan.refusals[0]}")
        return
    assert out is not None
    testbed = plan.inventory.testbed
    with nullcontext() if testbed is None else held(testbed), progress("replay") as shown:
        document = run_replay(plan, out, options, shown)
    print_json(document) if as_json else print_run(document, out)
