"""Which packets of the trace a scenario is about."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.analyzer.values import Model, Prefix


class TrafficSpec(Model):
    """What enters the network of the trace's packets."""

    link_scope: Literal["exclude", "include"] = Field(
        default="exclude",
        description="packets that no router forwards: link-local, loopback, multicast, broadcast, without an address",
    )
    only: tuple[Prefix, ...] = Field(
        default=(), description="flows from or to these prefixes alone; none given: all flows"
    )
    without: tuple[Prefix, ...] = Field(default=(), description="no flows from or to these prefixes")
