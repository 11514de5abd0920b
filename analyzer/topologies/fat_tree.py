"""fat-tree: k pods of k/2 edge and k/2 aggregation switches below k²/4 cores (Al-Fares et al., SIGCOMM 2008)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from segcast.analyzer.network.fabric import Fabric, Routes, full_duplex
from segcast.analyzer.network.numbered import HostCount
from segcast.analyzer.network.shapes import LinkShape
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, attach, common, register


class FatTreeSpec(NetworkBase):
    """Three tiers of switches with k ports. Nodes are edge0.0 (pod, number), agg0.0, core0; links edge0.0-agg0.0, …"""

    kind: Literal["fat-tree"] = Field(description="three tiers of switches with k ports each")
    k: int = Field(ge=2, le=64, description="ports of a switch, an even number: k pods, k²/4 cores")
    hosts_per_edge: HostCount | None = Field(
        default=None,
        description="hosts that flow lists number, edge switch by edge switch; none: k/2. If given, edge switch E has "
        "10.0.E.0/24 where it has no prefixes",
    )
    links: LinkShape = Field(description="the links between edge and aggregation switches")
    core_links: LinkShape | None = Field(default=None, description="the links to cores; none: as `links`")

    @field_validator("k")
    @classmethod
    def _even(cls, k: int) -> int:
        if k % 2:
            raise ValueError(f"{k} is odd: a switch has as many ports up as down")
        return k


def build(spec: FatTreeSpec, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """Slots of a pair: by the aggregation switch, then by the core above it."""
    half = spec.k // 2
    pods, halves = range(spec.k), range(half)
    core = spec.core_links or spec.links
    low = [
        (f"edge{p}.{e}-agg{p}.{a}", (f"edge{p}.{e}", f"agg{p}.{a}"), spec.links)
        for p in pods
        for e in halves
        for a in halves
    ]
    high = [
        (f"agg{p}.{a}-core{a * half + c}", (f"agg{p}.{a}", f"core{a * half + c}"), core)
        for p in pods
        for a in halves
        for c in halves
    ]
    edges, links = full_duplex([*low, *high])
    count = len(edges)

    def rise(pod: int, number: int, agg: int) -> int:
        return (pod * half + number) * half + agg

    def routes(a: int, b: int) -> Routes:
        (pod, mine), (other, theirs) = divmod(a, half), divmod(b, half)
        if pod == other:
            return Routes(tuple((rise(pod, mine, x), count + rise(pod, theirs, x)) for x in halves), (half,))
        paths = tuple(
            (
                rise(pod, mine, x),
                len(low) + rise(pod, x, c),
                count + len(low) + rise(other, x, c),
                count + rise(other, theirs, x),
            )
            for x in halves
            for c in halves
        )
        return Routes(paths, (half, half))

    return Fabric(
        edges=edges,
        links=links,
        attachments=attach([f"edge{p}.{e}" for p in pods for e in halves], attachments, spec.hosts_per_edge),
        routes=routes,
        per_attachment=spec.hosts_per_edge or half,
        **common(spec),
    )


register(kind="fat-tree", spec=FatTreeSpec, build=build)
