"""The flags of `segcast rewrite` that say how its captures differ from the forecast's packets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

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
    click.option("--speed", default="1", help="Send so many times faster [1]."),
)


def flags(command: F) -> F:
    """Give a command these flags; their values are the fields of `replay.plan.Wanted`."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command
