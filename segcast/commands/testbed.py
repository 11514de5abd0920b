"""`segcast testbed`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal

import click

import segcast as sc
from segcast.commands.replay import sending_options
from segcast.reports.console import print_run
from segcast.reports.text import echo
from segcast.screen import json_option, named_progress, note, print_json, progress

_MOST_SEEDS: Final = 10_000

_name = click.option("--name", default="sgtb", show_default=True, help="Of the testbed; its namespaces begin with it.")


@click.group()
def testbed() -> None:
    """The network of a scenario in network namespaces here: forwarding, SIDs, shaped links. Takes root."""


@testbed.command()
@click.argument("source", metavar="F", type=click.Path(path_type=Path))
@_name
@click.option("--max-rate", default="2Gbps", show_default=True, help="Refuse networks with faster links.")
@click.option("--burst", default="10kB", show_default=True, help="Of token buckets, where the scenario has none.")
@json_option
def up(source: Path, name: str, max_rate: str, burst: str, as_json: bool) -> None:
    """Build the network of FORECAST, which may be a scenario file; what stands already is left as it is."""
    with progress("testbed") as shown:
        document = sc.testbed.up(source, shown, name=name, max_rate=max_rate, burst=burst)
    print_json(document) if as_json else _print_status(document)


@testbed.command()
@click.argument("source", metavar="F", type=click.Path(path_type=Path))
@click.option("--format", "form", metavar="FORMAT", help="Print configuration instead: ip, frr, sonic or vpp.")
@click.option("--node", metavar="NODE", help="Of that node alone, as it is typed there; needs --format.")
@click.option("--burst", default="10kB", show_default=True, help="Of token buckets, where the scenario has none.")
@_name
@json_option
def plan(source: Path, form: str | None, node: str | None, burst: str, name: str, as_json: bool) -> None:
    """Print every SID of FORECAST, which may be a scenario file, and the segment list of every path. Builds nothing.

    With --format, print the configuration of every node: addresses, routes, SIDs. Of ip, that is what `up` builds.
    """
    from segcast.reports.sids import print_sids

    if form is None:
        if node is not None:
            raise sc.InputError("--node: is of a configuration; give --format, too")
        table = sc.testbed.sids(source)
        print_json({"sids": table.as_dict()}) if as_json else print_sids(table)
        return
    document = sc.testbed.configuration(source, form, node, name=name, burst=burst)
    if as_json:
        print_json(document)
        return
    click.echo(document["text"])
    for line in document["left_out"]:
        click.echo(line, err=True)


@testbed.command()
@_name
@json_option
def status(name: str, as_json: bool) -> None:
    """Say what stands, and what the shapers of its links have counted."""
    document = sc.testbed.status(name)
    print_json(document) if as_json else _print_status(document)


@testbed.command()
@_name
@json_option
def down(name: str, as_json: bool) -> None:
    """Remove everything that a testbed made, also after a crash."""
    document = sc.testbed.down(name)
    if as_json:
        print_json(document)
        return
    ended = f", {document['processes_ended']} processes ended" if document["processes_ended"] else ""
    click.echo(f"testbed {name}: {len(document['namespaces_removed'])} namespaces removed{ended}")


@testbed.command("run")
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
@click.option("--policy", required=True, help="Policy whose schedule to send, by its label.")
@click.option("--timeout", help="Flowlet timeout of the cell, if the forecast has several.")
@click.option("--seed", type=int, help="Seed of the cell, if several were kept.")
@click.option("--load", type=float, help="Load of the cell, if the forecast has several.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--no-calibration", is_flag=True, help="Do not send the first second beforehand to calibrate gaps.")
@_name
@sending_options
@json_option
def run_command(
    folder: Path,
    policy: str,
    timeout: str | None,
    seed: int | None,
    load: float | None,
    out: Path,
    no_calibration: bool,
    name: str,
    sender: Literal["tcpreplay", "absolute"],
    limit: str | None,
    compensation: str | None,
    snaplen: str,
    transit: bool,
    as_json: bool,
) -> None:
    """Send the schedule of one policy of FORECAST through the testbed, and capture departures and arrivals."""
    with progress("replay") as shown:
        document = sc.testbed.run(
            folder,
            out,
            shown,
            policy=policy,
            timeout=timeout,
            seed=seed,
            load=load,
            name=name,
            transit=transit,
            sender=sender,
            limit=limit,
            compensation=compensation,
            calibrate=not no_calibration,
            snaplen=snaplen,
        )
    print_json(document) if as_json else print_run(document, out)


@testbed.command()
@click.argument("source", metavar="SCENARIO", type=click.Path(path_type=Path))
@click.option(
    "--workload",
    required=True,
    help="Flow list to send; {seed} in its name stands for the cell's seed.",
)
@click.option("--policy", help="Policies, such as ecmp,random,inflight [the scenario's].")
@click.option("--timeout", help="Flowlet timeouts, such as 3ms,20ms [the scenario's].")
@click.option("--seeds", help="Seeds, such as 1-9 or 1,4,7 [the scenario's].")
@click.option("--cc", "control", help="Congestion control of the kernel's senders [that of the scenario's transport].")
@click.option(
    "--ack-timeout",
    default="300ms",
    show_default=True,
    help="Where the kernel's program steers: a packet that nobody has acknowledged is in flight no more.",
)
@click.option("--super-frames", is_flag=True, help="Let TCP hand down several segments at once.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--send", is_flag=True, help="Do it; without it, say what would be run.")
@click.option("--name", default="sglive", show_default=True, help="Of the testbed, built for it and then removed.")
@json_option
def live(
    source: Path,
    workload: str,
    policy: str | None,
    timeout: str | None,
    seeds: str | None,
    control: str | None,
    ack_timeout: str,
    super_frames: bool,
    out: Path | None,
    send: bool,
    name: str,
    as_json: bool,
) -> None:
    """Send a flow list by the kernel's own TCP through the network of SCENARIO, under each policy and seed.

    SCENARIO is a scenario file or a forecast. Nothing is sent without --send, and then only within the namespaces of a
    testbed that is built for it and removed at the end, also if this command is killed. Policies but ecmp and host-ecmp
    are followed by a program that the kernel runs at the hosts' interfaces. An interrupted run resumes when the same
    command is given again.

    segcast testbed live fabric.toml --workload "flows-{seed}.csv" --policy ecmp,random,inflight --seeds 1-9 --cc cubic
    --out RUN --send
    """
    from segcast.reports.live import print_live, print_study

    asked: dict[str, Any] = {
        "policies": _parts(policy),
        "timeouts": _parts(timeout),
        "seeds": None if seeds is None else _seeds(seeds),
        "control": control,
        "ack_timeout": ack_timeout,
        "super_frames": super_frames,
        "name": name,
    }
    if not send:
        document = sc.testbed.plan_live(source, workload, **asked)
        print_json(document) if as_json else print_study(document)
        return
    if out is None:
        raise sc.InputError("--out is missing: name the folder to write")
    with named_progress("live run", "s") as shown:
        found = sc.testbed.live(source, workload, out, shown, say=note, **asked)
    print_json({"run": str(out), **found}) if as_json else print_live(out)


def _parts(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _seeds(text: str) -> list[int]:
    """Seeds as numbers and ranges that commas separate. Raises InputError."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})(?:\s*-\s*(\d{1,19}))?\s*", part)
        if match is None:
            raise sc.InputError(f"--seeds {text!r}: give numbers and ranges, such as 1-9 or 1,4,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + _MOST_SEEDS:
            raise sc.InputError(f"--seeds {part.strip()}: give a range upwards, of at most {_MOST_SEEDS:,} seeds")
        found += range(first, last + 1)
    return found


def _print_status(document: dict[str, Any]) -> None:
    echo(f"testbed {document['name']}: {document['state']}, {len(document['namespaces'])} namespaces")
    for missing in document.get("missing", []):
        echo(f"  missing: {missing}")
    for link in document.get("links", []):
        counted = "" if link["packets"] is None else f", {link['packets']:,} packets, {link['dropped']:,} dropped"
        place = f"{link['namespace']} {link['interface']}"
        echo(f"  {link['link']}: {link['rate_bps'] / 1e6:g} Mbit/s, {link['limit_bytes']:,} bytes at {place}{counted}")
    for line in document.get("notes", []):
        echo(f"  note: {line}")
    if "inventory" in document:
        echo(f"  inventory: {document['inventory']}")
