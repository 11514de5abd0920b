"""parallel: paths that share nothing, between a left and a right attachment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from segcast.analyzer.network.fabric import BACK, Attachment, Edge, Fabric, Routes
from segcast.analyzer.network.model import Link
from segcast.analyzer.network.numbered import HostCount, default_prefix
from segcast.analyzer.network.shapes import LinkSpec
from segcast.analyzer.toml_keys import WrongKey
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, common, register
from segcast.analyzer.values import Model, Prefix, Sid

MOST_PATHS: Final = 1024


class PathSpec(Model):
    """A path from left to right."""

    segments: tuple[Sid, ...] = Field(default=(), description="its transit SIDs, from left to right")
    links: Annotated[tuple[LinkSpec, ...], Field(min_length=1, max_length=250, description="from left to right")]


class SideSpec(Model):
    """One end of the paths."""

    prefixes: tuple[Prefix, ...] = Field(
        default=(), description="addresses behind it; none on either side: by who talks with whom"
    )
    decapsulate_ipv4: Sid = Field(default="fd00:0:10::d4", description="SID that unpacks IPv4 there")
    decapsulate_ipv6: Sid = Field(default="fd00:0:10::d6", description="SID that unpacks IPv6 there")
    decapsulate_l2: Sid | None = Field(default="fd00:0:10::d2", description="SID that unpacks Ethernet there")


class RightSpec(SideSpec):
    """The other end, with SIDs of another node."""

    decapsulate_ipv4: Sid = Field(default="fd00:0:20::d4", description="SID that unpacks IPv4 there")
    decapsulate_ipv6: Sid = Field(default="fd00:0:20::d6", description="SID that unpacks IPv6 there")
    decapsulate_l2: Sid | None = Field(default="fd00:0:20::d2", description="SID that unpacks Ethernet there")


class ParallelSpec(NetworkBase):
    """Parallel paths between two attachments."""

    kind: Literal["parallel"] = Field(default="parallel", description="parallel paths; the default")
    hosts_per_side: HostCount | None = Field(
        default=None,
        description="hosts that flow lists number, those on the left first; sides without prefixes have 10.0.0.0/24 "
        "and 10.0.1.0/24",
    )
    left: SideSpec = SideSpec()
    right: RightSpec = RightSpec()
    paths: Annotated[tuple[PathSpec, ...], Field(min_length=1, max_length=MOST_PATHS, description="in slot order")]


def build(spec: ParallelSpec, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """The links of all paths forward, then back in the order in which a packet meets them."""
    if attachments:
        raise WrongKey(("attachments",), "parallel paths have network.left and network.right instead")
    total = sum(len(path.links) for path in spec.paths)
    names: set[str] = set()
    for number, path in enumerate(spec.paths):
        for hop, link in enumerate(path.links):
            if not names.isdisjoint((link.name, link.name + BACK)):
                raise WrongKey(("network", "paths", number, "links", hop, "name"), f"two are called {link.name}")
            names |= {link.name, link.name + BACK}
    forward: list[Link] = []
    back: list[Link] = []
    edges: list[Edge] = []
    ways: list[tuple[int, ...]] = []
    for path in spec.paths:
        first, hops = len(forward), len(path.links)
        forward += [link.link(link.name) for link in path.links]
        back += [link.link(link.name + BACK) for link in reversed(path.links)]
        edges += [
            Edge(link.name, ("left", "right"), first + hop, total + first + hops - 1 - hop)
            for hop, link in enumerate(path.links)
        ]
        ways.append(tuple(range(first, first + hops)))

    def routes(a: int, b: int) -> Routes:
        if a < b:
            return Routes(tuple(ways), (len(ways),), tuple(path.segments for path in spec.paths))
        backwards = tuple(tuple(total + link for link in way) for way in ways)
        return Routes(backwards, (len(ways),), tuple(path.segments[::-1] for path in spec.paths))

    sides = (("left", spec.left), ("right", spec.right))
    numbered = spec.hosts_per_side is not None
    return Fabric(
        edges=tuple(edges),
        links=(*forward, *back),
        attachments=tuple(
            Attachment(
                name,
                name,
                side.prefixes or ((default_prefix(number),) if numbered else ()),
                (side.decapsulate_ipv4, side.decapsulate_ipv6),
                side.decapsulate_l2,
                ("network", name),
            )
            for number, (name, side) in enumerate(sides)
        ),
        routes=routes,
        always=((0, 1), (1, 0)),
        deals=False,
        by_conversation=not (spec.left.prefixes or spec.right.prefixes or numbered),
        per_attachment=spec.hosts_per_side,
        **common(spec),
    )


register(kind="parallel", spec=ParallelSpec, build=build)
