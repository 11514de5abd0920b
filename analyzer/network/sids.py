"""SRv6 identifiers of a fabric: given or allocated, and how a list of them goes on the wire (docs/model.md).

Sources: RFC 8986 sections 3.1, 4.1, 4.2, 4.5, 4.6, 4.9 (locators, End, End.X, End.DX6, End.DX4, End.DX2); RFC 9800
sections 4.1 and 6 (NEXT-C-SID: a block, then identifiers of one length, several to an address, called a carrier);
draft-filsfils-spring-srv6-net-pgm-insertion (H.Insert, H.Insert.Red).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.toml_keys import Place, WrongKey

Flavor = Literal["psp", "usp", "usd"]

_FIRST_NODE: Final = 0x1000
_FUNCTION_BITS: Final = 16  # the least that the functions below fit in
_LEAST_BLOCK_BITS: Final = 8
_IDENTIFIER_BITS: Final = (16, 24, 32)

_END: Final = 1
_DECAPSULATE: Final = {2: 0xD2, 4: 0xD4, 6: 0xD6}
_FIRST_ADJACENCY: Final = 0x100
_PLAIN_ADJACENCY: Final = 0xE000  # added to it where SIDs are not compressed

_SRV6: Final = ("srv6",)
_LOCATORS: Final = ("srv6", "locators")
_GIVEN: Final = ("srv6", "sids")

_IPV6_HEADER_BYTES: Final = 40
_SRH_FIXED_BYTES: Final = 8
_SID_BYTES: Final = 16
_HMAC_TLV_BYTES: Final = 40
_ETHERNET_BYTES: Final = 14


def srv6_bytes(sids: int, mode: Mode, *, tag: int = 0, signed: bool = False) -> int:
    """Bytes that so many SIDs (in mode usid: carriers) add (RFC 8754 section 2; RFC 8986 section 5).

    The last SID is the one that unpacks; where an SRH is inserted, the packet's own destination. A list of which
    nothing is left when reduced needs no SRH, unless a tag or an HMAC (`signed`) is to be carried. Layer 2: the
    inner Ethernet header counts, its VLAN tags do not.
    """
    if mode.inserts and sids == 1:
        return 0
    outer = 0 if mode.inserts else _IPV6_HEADER_BYTES + (_ETHERNET_BYTES if mode.layer_2 else 0)
    listed = sids - 1 if mode.reduced else sids
    if listed == 0:
        if not (tag or signed):
            return outer
        listed = 1
    return outer + _SRH_FIXED_BYTES + _SID_BYTES * listed + (_HMAC_TLV_BYTES if signed else 0)


@dataclass(frozen=True, slots=True)
class NodeSids:
    """SIDs that a scenario gives to a node: its End, and End.X by the name of the link that they send over.

    `outside`: they may lie outside the node's locator.
    """

    end: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """How SIDs are made of a block, a node's number and a function, and which of them are given.

    `node_bits` follow the block; where SIDs are compressed, every identifier has as many. `function_bits` follow the
    locator; None: the function stands in the last bits of the address. `locators` and `given` are by node.
    """

    mode: Mode = Mode.ENCAPS
    block: str = "fd00::/32"
    node_bits: int = 16
    function_bits: int | None = None
    locators: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, NodeSids] = field(default_factory=dict)

    @property
    def block_bits(self) -> int:
        """How many bits the block has."""
        return ipaddress.IPv6Network(self.block).prefixlen

    def on_the_wire(self, sids: Sequence[str]) -> tuple[str, ...]:
        """The addresses that stand in the header for these SIDs. Raises WrongKey for a SID that is no uSID."""
        return on_the_wire(sids, self.mode, self.block, self.node_bits)

    def matched(self, sid: str) -> tuple[str, int]:
        """The prefix of the packets that a SID is for, and how many bits its identifiers have if it is a uSID."""
        if not self.mode.compressed:
            return f"{sid}/128", 0
        bits = self.node_bits * len(usids(sid, self.block, self.node_bits))
        return str(ipaddress.IPv6Network((sid, self.block_bits + bits), strict=False)), bits

    def checked(self) -> Layout:
        """The layout itself. Raises WrongKey if nodes and functions have no room in an address."""
        block, bits = self.block_bits, self.node_bits
        if block < _LEAST_BLOCK_BITS:
            raise WrongKey((*_SRV6, "block"), f"{self.block} has {block} bits: give {_LEAST_BLOCK_BITS} or more")
        if self.mode.compressed:
            if bits not in _IDENTIFIER_BITS:
                raise WrongKey((*_SRV6, "node_bits"), f"{bits}: identifiers of uSIDs have 16, 24 or 32 bits")
            if block % 8:
                raise WrongKey((*_SRV6, "block"), f"{self.block} has {block} bits: with uSIDs give a multiple of 8")
            if self.function_bits is not None:
                raise WrongKey(
                    (*_SRV6, "function_bits"),
                    f"the function of a uSID has {bits} bits, as identifiers have: leave it out",
                )
            if (held := (128 - block) // bits) < 2:
                raise WrongKey(
                    (*_SRV6, "block"),
                    f"a carrier with the block {self.block} holds {held} of the identifiers of {bits} bits, "
                    f"and the last uSID of a path has two: give at most {128 - 2 * bits} bits",
                )
        elif 128 - block - bits < self.least_function_bits:
            raise WrongKey(
                (*_SRV6, "block" if self.function_bits is None else "function_bits"),
                f"{self.block} and srv6.node_bits {bits} leave {max(0, 128 - block - bits)} bits for functions: "
                f"{self.least_function_bits} are needed",
            )
        return self

    @property
    def least_function_bits(self) -> int:
        """How many bits must be left behind a locator."""
        return self.function_bits or _FUNCTION_BITS


class Owner(NamedTuple):
    """Whose a SID is, in words, its node, whether it is an End, and the key that gives it, if one does."""

    words: str
    node: str
    is_end: bool
    place: Place


class Sids:
    """SIDs of the nodes of a fabric: node number N has the locator block:N, with functions behind.

    Nodes are numbered from 0x1000 (from 1 where a number has less than 16 bits) in their order. The function of End is
    1, of End.X 0xe100 + the number of the link among the node's; 0xd2, 0xd4 and 0xd6 unpack Ethernet, IPv4 and IPv6. In
    mode usid, End is the node alone, and the others have identifiers of the topmost eighth: 0xe000 + 0x100 + the number
    of the link, 0xe000 + 0xd2 and so on where these have 16 bits (RFC 9800 section 4.1: GIB and LIB).

    `links` are the names of the links of each node, in the order of their numbers.
    """

    def __init__(self, nodes: Sequence[str], links: Mapping[str, Sequence[str]], layout: Layout) -> None:
        self._layout = layout.checked()
        self._links = links
        block, bits = ipaddress.IPv6Network(layout.block), layout.node_bits
        first = _FIRST_NODE if bits >= 16 else 1
        last = self._local(0) if layout.mode.compressed else 1 << bits
        if first + len(nodes) > last:
            raise WrongKey(("network",), f"{len(nodes)} nodes, but srv6.block has locators for {last - first}")
        shift = 128 - block.prefixlen - bits
        start = int(block.network_address)
        self._locators = {
            node: ipaddress.IPv6Network((start | first + number << shift, block.prefixlen + bits))
            for number, node in enumerate(nodes)
        }
        for node, locator in layout.locators.items():
            self._locators[node] = self._given_locator(node, ipaddress.IPv6Network(locator), block)
        self._refuse_overlaps()
        for node in nodes:
            self._check_numbers(node)
        for node in layout.given:
            self._check_given(node)

    def _given_locator(
        self, node: str, locator: ipaddress.IPv6Network, block: ipaddress.IPv6Network
    ) -> ipaddress.IPv6Network:
        key, layout = (*_LOCATORS, node), self._layout
        if node not in self._locators:
            raise WrongKey(key, f"the network has no node {node!r}; it has {_some(list(self._locators))}")
        if not layout.mode.compressed:
            if 128 - locator.prefixlen < layout.least_function_bits:
                raise WrongKey(
                    key,
                    f"{locator} of {node} leaves {128 - locator.prefixlen} bits for functions: "
                    f"{layout.least_function_bits} are needed",
                )
            return locator
        if locator.prefixlen != (wanted := block.prefixlen + layout.node_bits):
            raise WrongKey(key, f"{locator} of {node} has {locator.prefixlen} bits: give {wanted}, as uSIDs have")
        number = int(locator.network_address) >> 128 - wanted & (1 << layout.node_bits) - 1
        if not locator.subnet_of(block) or not 0 < number < self._local(0):
            raise WrongKey(key, f"{locator} of {node} is no uSID of {block} below {self._local(0):x}")
        return locator

    def _refuse_overlaps(self) -> None:
        before = ""
        for node in sorted(self._locators, key=lambda node: (self._locators[node], node)):
            # CORRECTNESS: in this order a locator overlaps an earlier one only if it overlaps the one before it.
            if before and self._locators[node].overlaps(self._locators[before]):
                key = node if node in self._layout.locators else before
                raise WrongKey((*_LOCATORS, key), f"{node} and {before} would share {self._locators[node]}")
            before = node

    def _check_numbers(self, node: str) -> None:
        """Raise WrongKey if a node has more links than functions number."""
        count = len(self._links.get(node, ()))
        if self._layout.mode.compressed:
            most = (1 << self._layout.node_bits) - self._local(_FIRST_ADJACENCY)
        else:
            bits = self._layout.function_bits or 128 - self._locators[node].prefixlen
            most = (1 << bits) - _PLAIN_ADJACENCY - _FIRST_ADJACENCY
        if count > most:
            raise WrongKey(("network",), f"{node} has {count} links, but functions of its SIDs number only {most}")

    def _check_given(self, node: str) -> None:
        """Raise WrongKey unless the SIDs that are given to a node can be its own."""
        given = self._layout.given[node]
        if node not in self._locators:
            raise WrongKey((*_GIVEN, node), f"the network has no node {node!r}; it has {_some(list(self._locators))}")
        links = self._links.get(node, ())
        for link in given.links:
            if link not in links:
                raise WrongKey((*_GIVEN, node, "links", link), f"{node} has no link {link!r}; it has {_some(links)}")
        for key, sid in _keys_of(node, given):
            address = ipaddress.IPv6Address(sid)
            if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
                raise WrongKey(key, f"{sid} is no address that a SID can have")
            if self._layout.mode.compressed:
                try:
                    usids(sid, self._layout.block, self._layout.node_bits)
                except WrongKey as error:
                    raise WrongKey(key, error.message) from None
            if address in self._locators[node]:
                continue
            if not given.outside:
                raise WrongKey(
                    key,
                    f"{sid} is not in {self._locators[node]}, the locator of {node}: give another in srv6.locators, or "
                    f"allow it with outside = true in srv6.sids.{node}",
                )
            for other, locator in self._locators.items():
                if address in locator:
                    raise WrongKey(key, f"{sid} of {node} is in {locator}, the locator of {other}")

    @functools.cached_property
    def owners(self) -> Mapping[str, Owner]:
        """Whose each End and End.X is. Raises WrongKey if one is two things' at once."""
        found: dict[str, Owner] = {}
        for node in self._locators:
            given = self._layout.given.get(node, NodeSids())
            keys = {sid: key for key, sid in _keys_of(node, given)}
            mine = [(self.end(node), f"End of {node}", True)]
            mine += [
                (self.adjacency(node, number), f"End.X of {link} at {node}", False)
                for number, link in enumerate(self._links.get(node, ()))
            ]
            for sid, words, is_end in mine:
                owner = Owner(words, node, is_end, keys.get(sid, ()))
                if (other := found.setdefault(sid, owner)) is not owner:
                    raise WrongKey(owner.place or other.place, f"{sid} would be {other.words} and {owner.words}")
        return found

    def locator(self, node: str) -> ipaddress.IPv6Network:
        """The prefix under which a node is reached."""
        return self._locators[node]

    def outside(self, node: str) -> list[str]:
        """The SIDs of a node that are not in its locator."""
        given = self._layout.given.get(node, NodeSids())
        sids = (sid for _, sid in _keys_of(node, given))
        return [sid for sid in sids if ipaddress.IPv6Address(sid) not in self._locators[node]]

    def end(self, node: str) -> str:
        """The SID of a node."""
        given = self._layout.given.get(node)
        if given is not None and given.end is not None:
            return given.end
        if self._layout.mode.compressed:
            return str(self._locators[node].network_address)
        return self._function(node, _END)

    def adjacency(self, node: str, number: int) -> str:
        """The SID that makes a node send over the link of that number among its own."""
        given = self._layout.given.get(node)
        if given is not None and (sid := given.links.get(self._links[node][number])) is not None:
            return sid
        if self._layout.mode.compressed:
            return self._function(node, self._local(_FIRST_ADJACENCY + number))
        return self._function(node, _PLAIN_ADJACENCY + _FIRST_ADJACENCY + number)

    def decapsulate(self, node: str, inside: Literal[2, 4, 6]) -> str:
        """The SID that makes a node unpack an Ethernet frame (2), an IPv4 or an IPv6 packet."""
        number = _DECAPSULATE[inside]
        return self._function(node, self._local(number) if self._layout.mode.compressed else number)

    def _local(self, number: int) -> int:
        """An identifier that has its meaning at one node only."""
        return (0xE << self._layout.node_bits - 4) + number

    def _function(self, node: str, function: int) -> str:
        locator = self._locators[node]
        bits = self._layout.node_bits if self._layout.mode.compressed else self._layout.function_bits
        shift = 0 if bits is None else 128 - locator.prefixlen - bits
        return str(ipaddress.IPv6Address(int(locator.network_address) | function << shift))


def _keys_of(node: str, given: NodeSids) -> list[tuple[Place, str]]:
    """The SIDs that are given to a node, each with its key."""
    links = [((*_GIVEN, node, "links", link), sid) for link, sid in given.links.items()]
    return [*([((*_GIVEN, node, "end"), given.end)] if given.end is not None else []), *links]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def on_the_wire(sids: Sequence[str], mode: Mode, block: str, identifier_bits: int = 16) -> tuple[str, ...]:
    """The addresses that stand in the header for these SIDs: themselves, or in mode usid the carriers they fill.

    The identifiers of one SID (its node and function) are never parted. Raises WrongKey for a SID that is no uSID.
    """
    if not mode.compressed:
        return tuple(sids)
    network = ipaddress.IPv6Network(block)
    room = (128 - network.prefixlen) // identifier_bits
    carriers: list[list[int]] = [[]]
    for sid in sids:
        identifiers = usids(sid, block, identifier_bits)
        if len(carriers[-1]) + len(identifiers) > room:
            carriers.append([])
        carriers[-1] += identifiers
    shift = 128 - network.prefixlen - identifier_bits
    return tuple(
        str(
            network.network_address
            + sum(identifier << shift - identifier_bits * place for place, identifier in enumerate(carrier))
        )
        for carrier in carriers
    )


def usids(sid: str, block: str, identifier_bits: int = 16) -> list[int]:
    """The identifiers of a uSID: what follows the block, up to the first zero."""
    address, network = ipaddress.IPv6Address(sid), ipaddress.IPv6Network(block)
    behind = 128 - network.prefixlen
    room, mask = behind // identifier_bits, (1 << identifier_bits) - 1
    found = [int(address) >> behind - identifier_bits * (place + 1) & mask for place in range(room)]
    count = found.index(0) if 0 in found else room
    left_over = int(address) & (1 << behind - identifier_bits * count) - 1
    if address not in network or count == 0 or left_over:
        raise WrongKey(
            ("srv6", "mode"),
            f'{sid} is no uSID of {block}: with srv6.mode = "usid" give the block, then {identifier_bits}-bit '
            "identifiers, then zeros",
        )
    return found[:count]
