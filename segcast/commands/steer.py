"""`segcast steer`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

import segcast as sc
from segcast.reports.text import echo
from segcast.screen import json_option, print_json

F = TypeVar("F", bound=Callable[..., Any])


def _host_options(command: F) -> F:
    """Which host is meant."""
    for option in (
        click.option(
            "--number",
            type=click.IntRange(0),
            default=0,
            help="Its first, among all steering hosts: for outer sources.",
        ),
        click.option(
            "--from", "sources", multiple=True, metavar="PREFIX", help="Its addresses, several times [those it has]."
        ),
        click.option("--at", metavar="ATTACHMENT", help="Where it is [where its addresses are]."),
        click.option("--iface", required=True, help="Interface that leads to the network."),
        click.argument("scenario", metavar="SCENARIO", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.group()
def steer() -> None:
    """This host's own packets, steered in the kernel by a scenario's paths and a policy of the forecast. Takes root."""


@steer.command()
@json_option
def check(as_json: bool) -> None:
    """Run the kernel's program on made-up packets, and say what the kernel lacks. Attaches and sends nothing."""
    document = sc.steer.check()
    if as_json:
        print_json(document)
    else:
        click.echo(f"kernel {document['kernel']} on {document['machine']}")
        for finding in document["findings"]:
            why = f": {finding['why']}" if finding["why"] else ""
            click.echo(f"  {'yes' if finding['held'] else 'NO '}  {finding['needs']}{why}")
        click.echo("a host here can be steered" if document["fit"] else "no host can be steered here")
    sys.exit(0 if document["fit"] else 1)


@steer.command()
@_host_options
@click.option("--i-mean-it", is_flag=True, help="Do not refuse an interface with a default route.")
@json_option
def plan(
    scenario: Path,
    iface: str,
    at: str | None,
    sources: tuple[str, ...],
    number: int,
    i_mean_it: bool,
    as_json: bool,
) -> None:
    """Print what would be attached for SCENARIO: targets, segment lists, headers, MTU. Touches nothing."""
    document = sc.steer.plan(scenario, iface, at=at, sources=sources, number=number, allow_default_route=i_mean_it)
    print_json(document) if as_json else _print_plan(document)


@steer.command()
@_host_options
@click.option("--policy", required=True, help="host-ecmp, random, inflight, round-robin, two-choices or spray.")
@click.option("--timeout", help="Of flowlets: 3ms, rtt, drained, or the first two with +drained.")
@click.option("--for", "duration", help="How long, such as 10m [until it is ended].")
@click.option("--ack-timeout", help="A packet without acknowledgement is lost then [steering.loss_timeout].")
@click.option("--seed", type=int, default=1, show_default=True, help="Of its draws.")
@click.option("--log", type=click.Path(path_type=Path), help="Parquet file for the flowlets.")
@click.option("--i-mean-it", is_flag=True, help="Do not refuse an interface with a default route.")
@click.option("--pin", is_flag=True, help="Leave it attached, until `segcast steer detach`; not with --for or --log.")
@click.option(
    "--hook",
    type=click.Choice(["auto", "tcx", "clsact"]),
    default="auto",
    show_default=True,
    help="How it is attached; auto: tcx, which came with Linux 6.6, and before that clsact.",
)
@click.option("--attach", "really", is_flag=True, help="Do it; without this the plan is printed.")
@json_option
def attach(
    scenario: Path,
    iface: str,
    at: str | None,
    sources: tuple[str, ...],
    number: int,
    policy: str,
    timeout: str | None,
    duration: str | None,
    ack_timeout: str | None,
    seed: int,
    log: Path | None,
    i_mean_it: bool,
    pin: bool,
    hook: Literal["auto", "tcx", "clsact"],
    really: bool,
    as_json: bool,
) -> None:
    """Steer by SCENARIO's paths in the foreground: it ends with --for, Ctrl-C or this process, however that ends."""
    if pin and (duration or log):
        raise sc.InputError("--pin: what stays attached has no end and no reader of its log; leave out --for and --log")
    asked: dict[str, Any] = {
        "at": at,
        "sources": sources,
        "number": number,
        "policy": policy,
        "timeout": timeout,
        "ack_timeout": ack_timeout,
        "seed": seed,
        "allow_default_route": i_mean_it,
    }
    if not really:
        document = sc.steer.plan(scenario, iface, **asked)
        print_json(document) if as_json else _print_plan(document)
        click.echo("nothing is attached: give --attach", err=True)
        return
    document = sc.steer.attach(scenario, iface, **asked, duration=duration, log=log, pin=pin, by=hook, progress=_show)
    if as_json:
        print_json(document)
    elif pin:
        click.echo(f"{iface}: steered until segcast steer detach --iface {iface}; pinned at {document['pinned']}")
    else:
        _print_tally(document)


@steer.command()
@click.option("--iface", multiple=True, help="Only this one; may be given several times.")
@json_option
def status(iface: tuple[str, ...], as_json: bool) -> None:
    """Say what is attached to the interfaces, Segcast's and others'."""
    document = sc.steer.status(iface)
    if as_json:
        print_json(document)
        return
    for row in document["programs"]:
        whose = "Segcast's" if row["own"] else "not Segcast's"
        kept = ", pinned" if row["pinned"] else ""
        program = f"program {row['program_id']} {row['name']!r}, {whose}{kept}"
        click.echo(f"{row['interface']} {row['hook']} by {row['by']}: {program}")
    if not document["programs"]:
        click.echo("nothing is attached")


@steer.command()
@click.option("--iface", required=True, help="Interface.")
@json_option
def detach(iface: str, as_json: bool) -> None:
    """Take off what was attached with --pin, or what a process that was killed has left in a clsact qdisc."""
    document = sc.steer.detach(iface)
    if as_json:
        print_json(document)
    else:
        click.echo(f"{iface}: {'detached' if document['detached'] else 'nothing was left there'}")


def _print_plan(document: dict[str, Any]) -> None:
    echo(f"{document['interface']}: host at {document['at']}, program {document['program_sha256'][:16]}")
    for host in document["hosts"]:
        echo(f"  from {host['source']}, outer source {host['outer_source']}")
    for target in document["targets"]:
        route = "not routed by it" if target["route_mtu"] is None else f"route MTU {target['route_mtu']}"
        echo(f"  to {target['prefix']} at {target['attachment']}: {route}")
    for path in document["paths"]:
        four, six = " ".join(path["ipv4"]), " ".join(path["ipv6"])
        echo(
            f"  path {path['path_id']}, slot {path['slot']} to {path['to']}: {four}"
            + (f" | {six}" if six != four else "")
        )
    echo(
        f"  headers of up to {document['header_bytes']} bytes: of the MTU of {document['mtu']}, packets may have "
        f"{document['largest_packet_bytes']}"
    )
    for why in document["refused"]:
        echo(f"  refused: {why}")


def _print_tally(document: dict[str, Any]) -> None:
    tally = document["tally"]
    echo(
        f"{document['interface']}: {tally['steered']:,} packets steered, {tally['flowlets']:,} flowlets of "
        f"{tally['flows']:,} flows, {tally['path_changes']:,} changes of path"
    )
    for path, count in document["sent_bytes"].items():
        echo(f"  path {path}: {count:,} bytes")
    for name, count in tally.items():
        if count and name in _UNUSUAL:
            echo(f"  {count:,} {_UNUSUAL[name]}")
    if document["log"] is not None:
        echo(f"  flowlets: {document['log']}")


_UNUSUAL = {
    "too_long": "packets left alone, as the MTU has no room for their header",
    "push_failed": "packets left alone, as the kernel could not make room in them",
    "dropped": "packets dropped with half a header",
    "contended": "packets kept on their paths, uncounted, as another processor was busy",
    "uncounted": "packets steered that there was no room to count",
    "behind": "times more was due than one packet may take care of",
    "evicted": "flows forgotten for want of room",
    "log_lost": "flowlets missing in the log",
    "timed_out": "packets not acknowledged in time",
}


def _show(tally: dict[str, int]) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{tally['steered']:,} packets, {tally['flowlets']:,} flowlets ", nl=False, err=True)
