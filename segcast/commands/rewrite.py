"""`segcast rewrite`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

import segcast as sc
from segcast.screen import busy, json_option, plugin_option, show

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS: Final = (
    click.option(
        "--steer-all",
        is_flag=True,
        help="Write segment lists for policies that do not steer, too: those of their paths.",
    ),
    click.option(
        "--interfaces",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="TOML file of the interfaces that hosts inject at: one capture per interface instead of one per host.",
    ),
    click.option("--mtu", type=int, help="Largest IP packet in bytes, SRv6 included [network.mtu]."),
    click.option(
        "--oversize",
        type=click.Choice(["refuse", "shorten", "drop"]),
        default="refuse",
        help="What happens to packets longer than the MTU [refuse].",
    ),
    click.option("--map", multiple=True, metavar="OLD=NEW", help="Prefix of inner addresses and what stands for it."),
    click.option("--map-mac", multiple=True, metavar="OLD=NEW", help="Captured MAC address and what stands for it."),
    click.option("--vlan", default="strip", help="VLAN tags: keep, strip, an ID, or OUTER.INNER [strip]."),
    click.option(
        "--pcap",
        type=click.Choice(["ns", "us"]),
        default="ns",
        help="Resolution of the captures' times; us, which TRex and old tools take, adds a script for TRex [ns].",
    ),
    click.option("--speed", default="1", help="Send so many times faster [1]."),
)


def _flags(command: F) -> F:
    """Give a command these flags; their values are parameters of `segcast.lab.rewrite`."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


@click.command()
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
@click.option("--policy", required=True, help="Policy whose schedule to write, by its label.")
@click.option("--timeout", help="Flowlet timeout of the cell, such as 100us or rtt, if the forecast has several.")
@click.option("--seed", type=int, help="Seed of the cell, if several were kept.")
@click.option("--load", type=float, help="Load of the cell, if the forecast has several.")
@_flags
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the captures.")
@plugin_option
@json_option
def rewrite(
    folder: Path,
    policy: str,
    timeout: str | None,
    seed: int | None,
    load: float | None,
    out: Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the schedule of one policy as SRv6-encapsulated captures, one per injecting host or interface."""
    from segcast.reports.console import print_rewrite

    with busy("rewrite"):
        summary = sc.lab.rewrite(folder, out, policy=policy, timeout=timeout, seed=seed, load=load, **flags)
    show(summary, as_json, print_rewrite)
