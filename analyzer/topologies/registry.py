"""The registry of topologies: the kinds of network that a scenario may ask for.

A topology is a model of what the scenario says of it, with a `kind` of its own, and a function that makes a `Fabric`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from segcast.analyzer.network.fabric import Attachment, Fabric
from segcast.analyzer.network.model import ETHERNET_MINIMUM_BYTES
from segcast.analyzer.toml_keys import WrongKey
from segcast.analyzer.values import LinkShape, Model, Name, Override, Prefix, Sid, Size


class NetworkBase(Model):
    """What every network has."""

    minimum_frame: Size = Field(
        default=ETHERNET_MINIMUM_BYTES, description="frames are padded to it: 60B on Ethernet, or 0B"
    )
    mtu: Size | None = Field(default=None, description="largest IP packet, SRv6 included; none: not checked")
    host_links: LinkShape | None = Field(
        default=None, description="the link of each host to its attachment; none: not modelled"
    )
    overrides: tuple[Override, ...] = Field(default=(), description="links that differ from their kind")


class AttachmentSpec(Model):
    """A point where hosts are attached."""

    name: Name = Field(description="its name: that of its node, unless `node` says otherwise")
    node: Name | None = Field(default=None, description="the node it is at")
    prefixes: tuple[Prefix, ...] = Field(default=(), description="addresses behind it; the longest prefix wins")
    decapsulate_ipv4: Sid | None = Field(default=None, description="SID that unpacks IPv4 there; none: allocated")
    decapsulate_ipv6: Sid | None = Field(default=None, description="SID that unpacks IPv6 there; none: allocated")
    decapsulate_l2: Sid | None = Field(default=None, description="SID that unpacks Ethernet there; none: allocated")


@dataclass(frozen=True, slots=True)
class Topology:
    """A topology as the registry knows it."""

    kind: str
    spec: type[NetworkBase]
    build: Callable[[Any, Sequence[AttachmentSpec]], Fabric]


_TOPOLOGIES: dict[str, Topology] = {}


def register(*, kind: str, spec: type[NetworkBase], build: Callable[[Any, Sequence[AttachmentSpec]], Fabric]) -> None:
    """Add a topology; `build` takes what the scenario says of the network, and of attachments."""
    _TOPOLOGIES[kind] = Topology(kind, spec, build)


def topologies() -> dict[str, Topology]:
    """All topologies by kind, in order of name."""
    package = importlib.import_module("segcast.analyzer.topologies")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"segcast.analyzer.topologies.{module.name}")
    return dict(sorted(_TOPOLOGIES.items()))


def build_fabric(spec: NetworkBase, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """The fabric that a scenario asks for. Raises InputError."""
    owner = next(topology for topology in topologies().values() if topology.spec is type(spec))
    return owner.build(spec, attachments)


def common(spec: NetworkBase) -> dict[str, Any]:
    """The fields of `Fabric` that do not depend on the kind."""
    return {
        "hosts": spec.host_links,
        "minimum_frame_bytes": spec.minimum_frame,
        "overrides": spec.overrides,
    }


def attach(nodes: Sequence[str], given: Sequence[AttachmentSpec]) -> tuple[Attachment, ...]:
    """An attachment at each of the nodes, with what the scenario says of it. Raises WrongKey for others."""
    found = {node: Attachment(node, node) for node in nodes}
    said: set[str] = set()
    for number, spec in enumerate(given):
        node = spec.node or spec.name
        place = ("attachments", number)
        if node not in found:
            some = ", ".join(nodes[:8]) + (f" and {len(nodes) - 8} more" if len(nodes) > 8 else "")
            raise WrongKey(place, f"hosts cannot be attached at {node!r}; they can at {some}")
        if node in said:
            raise WrongKey(place, f"{node} has an attachment already")
        said.add(node)
        sids = tuple(sid for sid in (spec.decapsulate_ipv4, spec.decapsulate_ipv6) if sid is not None)
        if len(sids) == 1:
            raise WrongKey(place, "give decapsulate_ipv4 and decapsulate_ipv6, or neither")
        found[node] = Attachment(spec.name, node, spec.prefixes, sids, spec.decapsulate_l2, place)
    names: set[str] = set()
    for attachment in sorted(found.values(), key=lambda attachment: attachment.place):
        if attachment.name in names:
            raise WrongKey((*attachment.place, "name"), f"two are called {attachment.name}")
        names.add(attachment.name)
    return tuple(found.values())
