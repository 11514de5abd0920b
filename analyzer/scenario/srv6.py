"""How steered packets are encapsulated, as a scenario says it in its table `srv6`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from segcast.analyzer.network.fabric import Assembly
from segcast.analyzer.network.sids import Flavor, Layout, NodeSids
from segcast.analyzer.network.srv6_modes import Mode, mode_names
from segcast.analyzer.values import Ipv6Prefix, Mac, Model, Sid

if TYPE_CHECKING:
    ModeName = Mode
else:
    ModeName = Annotated[Literal[mode_names()], AfterValidator(Mode)]


class HmacSpec(Model):
    """An HMAC TLV of SHA-256 in every SRH (RFC 8754 section 2.1.2)."""

    key_id: Annotated[int, Field(ge=1, le=2**32 - 1)] = Field(description="HMAC Key ID")
    key_file: Annotated[str, Field(min_length=1)] = Field(
        description="file with the key, from the scenario's folder; a newline at its end does not count"
    )
    flag: bool = Field(
        default=False,
        description="set bit 3 of the SRH's flags, too: Linux finds no HMAC without; RFC 8754 assigns none",
    )


class NodeSidsSpec(Model):
    """SIDs of a node, where they are not to be allocated."""

    end: Sid | None = Field(default=None, description="its End SID; none: allocated")
    links: dict[str, Sid] = Field(
        default_factory=dict, description="its End.X SIDs, by the name of the link that they send over"
    )
    outside: bool = Field(default=False, description="allow SIDs that are not in the node's locator")

    def sids(self) -> NodeSids:
        """The same for a network."""
        return NodeSids(self.end, self.links, self.outside)


class Srv6Spec(Model):
    """How steered packets are encapsulated; the outer source of a host is its number in `source_prefix`."""

    mode: ModeName = Field(
        default=Mode.ENCAPS,
        description="a new IPv6 header with the full list, with the first SID left out, or with uSIDs; an SRH inserted "
        "into IPv6 packets; or whole Ethernet frames inside",
    )
    block: Ipv6Prefix = Field(default="fd00::/32", description="what locators of nodes are allocated from")
    node_bits: Annotated[int, Field(ge=1, le=96)] = Field(
        default=16, description="bits of a node's number, behind the block; with uSIDs, of every identifier"
    )
    function_bits: Annotated[int, Field(ge=16, le=112)] | None = Field(
        default=None, description="bits of the function, behind the locator; none: it stands in the last bits"
    )
    locators: dict[str, Ipv6Prefix] = Field(default_factory=dict, description="the locator of a node, if given")
    sids: dict[str, NodeSidsSpec] = Field(default_factory=dict, description="the SIDs of a node, if given")
    max_sids: int | None = Field(default=None, ge=1, le=127, description="most SIDs (carriers) that hosts can write")
    source_prefix: Ipv6Prefix = Field(default="fd00:0:100::/64", description="the hosts' own addresses")
    hop_limit: Annotated[int, Field(ge=1, le=255)] = Field(default=64, description="of the outer header")
    copy_hop_limit: bool = Field(default=False, description="that of the packet inside instead")
    tag: Annotated[int, Field(ge=0, le=0xFFFF)] = Field(default=0, description="Tag of the SRH")
    hmac: HmacSpec | None = Field(default=None, description="sign the SRH; none: it has no TLV")
    flavors: tuple[Flavor, ...] = Field(
        default=(), description="flavours of the nodes' End and End.X SIDs (RFC 8986 section 4.16)"
    )
    source_mac: Mac = Field(default="02:00:00:00:00:01", description="of rewritten frames")
    destination_mac: Mac = Field(default="02:00:00:00:00:02", description="of rewritten frames")

    def layout(self) -> Layout:
        """How SIDs are made, and which are given."""
        given = {node: spec.sids() for node, spec in self.sids.items()}
        return Layout(self.mode, self.block, self.node_bits, self.function_bits, self.locators, given)

    def assembly(self) -> Assembly:
        """What a network is assembled with."""
        return Assembly(
            self.layout(),
            self.source_prefix,
            self.max_sids,
            self.tag,
            self.hmac is not None,
            self.flavors,
        )


def with_whole_key_file(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A scenario's data, not yet validated, with the whole path of the HMAC's key file, which it gives from `folder`.

    What is no such table or text stays as it is: validation says what is wrong with it.
    """
    srv6 = data.get("srv6")
    hmac = srv6.get("hmac") if isinstance(srv6, dict) else None
    if not isinstance(srv6, dict) or not isinstance(hmac, dict):
        return data
    key_file = hmac.get("key_file")
    if not isinstance(key_file, str) or not key_file:
        return data
    return {**data, "srv6": {**srv6, "hmac": {**hmac, "key_file": str((folder / key_file).resolve())}}}
