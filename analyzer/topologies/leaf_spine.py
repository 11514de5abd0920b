"""leaf-spine: every leaf is linked to every spine; hosts are attached at leaves (a folded Clos of two tiers)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from segcast.analyzer.network.fabric import Fabric, Routes, full_duplex
from segcast.analyzer.network.numbered import HostCount
from segcast.analyzer.network.shapes import LinkShape
from segcast.analyzer.toml_keys import WrongKey
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, attach, common, register

MOST_LINKS: Final = 100_000


class LeafSpineSpec(NetworkBase):
    """Leaves and spines. Nodes are leaf0, … and spine0, …; links leaf0-spine0, … or, if parallel, leaf0-spine0.0, …"""

    kind: Literal["leaf-spine"] = Field(description="every leaf linked to every spine")
    leaves: int = Field(ge=2, le=4096, description="number of leaves")
    spines: int = Field(ge=1, le=1024, description="number of spines")
    parallel: int = Field(default=1, ge=1, le=64, description="links between a leaf and a spine")
    hosts_per_leaf: HostCount | None = Field(
        default=None,
        description="hosts that flow lists number, leaf by leaf; a leaf without prefixes has 10.0.LEAF.0/24",
    )
    links: LinkShape = Field(description="the links between leaves and spines")


def build(spec: LeafSpineSpec, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """Slots of a pair: by the link up (spine, then its number), then by the link down."""
    wanted = spec.leaves * spec.spines * spec.parallel
    if wanted > MOST_LINKS:
        raise WrongKey(("network", "leaves"), f"makes {wanted:,} links, more than {MOST_LINKS:,}: give fewer")
    leaves = [f"leaf{leaf}" for leaf in range(spec.leaves)]
    several = spec.parallel > 1
    edges, links = full_duplex(
        [
            (f"{leaf}-spine{spine}" + (f".{number}" if several else ""), (leaf, f"spine{spine}"), spec.links)
            for leaf in leaves
            for spine in range(spec.spines)
            for number in range(spec.parallel)
        ]
    )
    count = len(edges)

    def place(leaf: int, spine: int, number: int) -> int:
        return (leaf * spec.spines + spine) * spec.parallel + number

    def routes(a: int, b: int) -> Routes:
        ways = itertools.product(range(spec.spines), range(spec.parallel), range(spec.parallel))
        paths = tuple((place(a, spine, up), count + place(b, spine, down)) for spine, up, down in ways)
        return Routes(paths, (spec.spines * spec.parallel, spec.parallel) if several else (spec.spines,))

    return Fabric(
        edges=edges,
        links=links,
        attachments=attach(leaves, attachments, spec.hosts_per_leaf),
        routes=routes,
        explicit=frozenset(range(len(links))) if several else frozenset(),
        per_attachment=spec.hosts_per_leaf,
        **common(spec),
    )


register(kind="leaf-spine", spec=LeafSpineSpec, build=build)
