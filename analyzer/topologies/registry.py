"""The registry of topologies: the kinds of network that a scenario may ask for.

A topology is a model of what the scenario says of it, with a `kind` of its own, and a function that makes a `Fabric`.
One whose network may stand in a file of its own also has a function that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from segcast.analyzer.network.fabric import Attachment, Fabric
from segcast.analyzer.network.model import ETHERNET_MINIMUM_BYTES
from segcast.analyzer.network.numbered import default_prefix
from segcast.analyzer.network.shapes import LinkShape, Override
from segcast.analyzer.registry import Registry
from segcast.analyzer.toml_keys import Where, WrongKey
from segcast.analyzer.values import Model, Name, Prefix, Sid, Size


class NetworkBase(Model):
    """What every network has; the field `kind` is that of its topology."""

    minimum_frame: Size = Field(
        default=ETHERNET_MINIMUM_BYTES, description="frames are padded to it: 60B on Ethernet, or 0B"
    )
    mtu: Size | None = Field(default=None, description="largest IP packet, SRv6 included; none: not checked")
    host_links: LinkShape | None = Field(
        default=None, description="the link of each host to its attachment; none: not modelled"
    )
    host_uplinks: LinkShape | None = Field(
        default=None, description="the direction from hosts, if it differs, such as the queue of their NICs"
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
    """A kind of network.

    `build` takes what the scenario says of the network, and of attachments. `read_files`, if not None, takes the data
    of a scenario that are not validated yet, the scenario's folder, and what puts a place into words; it returns the
    data with what stands in other files, and what errors call each of the network's links (nothing if they stand in
    the scenario itself).
    """

    kind: str
    spec: type[NetworkBase]
    build: Callable[[Any, Sequence[AttachmentSpec]], Fabric]
    read_files: Callable[[dict[str, Any], Path, Where], tuple[dict[str, Any], tuple[str, ...]]] | None = None

    @property
    def is_default(self) -> bool:
        """Whether networks that do not say their kind are of this one."""
        return not self.spec.model_fields["kind"].is_required()


_TOPOLOGIES: Final[Registry[Topology]] = Registry("segcast.analyzer.topologies", "network kind")


def register(
    *,
    kind: str,
    spec: type[NetworkBase],
    build: Callable[[Any, Sequence[AttachmentSpec]], Fabric],
    read_files: Callable[[dict[str, Any], Path, Where], tuple[dict[str, Any], tuple[str, ...]]] | None = None,
) -> None:
    """Add a topology; the arguments are the fields of `Topology`."""
    _TOPOLOGIES.add(kind, Topology(kind, spec, build, read_files))


def topologies() -> dict[str, Topology]:
    """All topologies by kind, in the order of their names."""
    return _TOPOLOGIES.all()


def build_fabric(spec: NetworkBase, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """The fabric that a scenario asks for. Raises InputError."""
    owner = next(topology for topology in topologies().values() if topology.spec is type(spec))
    return owner.build(spec, attachments)


def common(spec: NetworkBase) -> dict[str, Any]:
    """The fields of `Fabric` that do not depend on the kind. Raises WrongKey."""
    if spec.host_uplinks is not None and spec.host_links is None:
        raise WrongKey(("network", "host_uplinks"), "needs network.host_links, which is not there")
    return {
        "hosts": spec.host_links,
        "uplinks": spec.host_uplinks,
        "minimum_frame_bytes": spec.minimum_frame,
        "overrides": spec.overrides,
    }


def attach(nodes: Sequence[str], given: Sequence[AttachmentSpec], hosts: int | None = None) -> tuple[Attachment, ...]:
    """An attachment at each of the nodes, with what the scenario says of it. Raises WrongKey for others.

    With `hosts` that flow lists number, those without prefixes have their default ones.
    """
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
    return tuple(
        attachment if attachment.prefixes or hosts is None else attachment._replace(prefixes=(default_prefix(number),))
        for number, attachment in enumerate(found.values())
    )
