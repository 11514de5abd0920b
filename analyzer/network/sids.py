"""SRv6 identifiers of a fabric: given or allocated, and how a list of them goes on the wire (docs/model.md).

Sources: RFC 8986 sections 3.1, 4.1, 4.2, 4.5, 4.6, 4.9 (locators, End, End.X, End.DX6, End.DX4, End.DX2); RFC 9800
sections 4.1 and 6 (NEXT-C-SID: a block, then 16-bit identifiers, several to an address, which one calls a carrier);
draft-filsfils-spring-srv6-net-pgm-insertion (H.Insert, H.Insert.Red).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.toml_keys import WrongKey

Flavor = Literal["psp", "usp", "usd"]

FIRST_NODE: Final = 0x1000
BLOCK_BITS: Final = 32
NODE_BITS: Final = 16
CARRIER_IDS: Final = 6

# Identifiers below this number are nodes, those from it on functions of a node (RFC 9800 section 4.1: GIB and LIB).
_FIRST_LOCAL: Final = 0xE000
_DECAPSULATE: Final = {2: 0xE0D2, 4: 0xE0D4, 6: 0xE0D6}
_FIRST_ADJACENCY: Final = 0xE100

_BLOCK: Final = ("srv6", "block")
_LOCATORS: Final = ("srv6", "locators")

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


class Sids:
    """SIDs of the nodes of a fabric, in a block of 2**16 locators of 48 bits: node N has block:N::/48.

    Nodes are numbered from 0x1000 in their order; `locators` gives some of them another locator. End is ::1 of the
    locator, End.X ::e100 + the number of the adjacency; ::d2, ::d4 and ::d6 unpack Ethernet, IPv4 and IPv6; in mode
    usid the function follows the node's 16 bits, and End is the node alone.
    """

    def __init__(self, nodes: Sequence[str], mode: Mode, block: str, locators: Mapping[str, str]) -> None:
        network = ipaddress.IPv6Network(block)
        if network.prefixlen != BLOCK_BITS:
            raise WrongKey(_BLOCK, f"{block} has {network.prefixlen} bits: give {BLOCK_BITS}, such as fd00::/32")
        last = _FIRST_LOCAL if mode.compressed else 1 << NODE_BITS
        if FIRST_NODE + len(nodes) > last:
            raise WrongKey(("network",), f"{len(nodes)} nodes, but srv6.block has locators for {last - FIRST_NODE}")
        self._mode = mode
        self._base: dict[str, int] = {}
        for number, node in enumerate(nodes):
            self._base[node] = int(network.network_address) | (FIRST_NODE + number) << 80
        for node, locator in locators.items():
            self._base[node] = self._given(node, ipaddress.IPv6Network(locator), network)
        owners: dict[int, str] = {}
        for node, base in self._base.items():
            if (other := owners.setdefault(base, node)) != node:
                raise WrongKey(_LOCATORS, f"{node} and {other} would share {_written(base)}/48")

    def _given(self, node: str, locator: ipaddress.IPv6Network, block: ipaddress.IPv6Network) -> int:
        key = (*_LOCATORS, node)
        if node not in self._base:
            raise WrongKey(key, f"the network has no node {node!r}; it has {_some(list(self._base))}")
        base = int(locator.network_address)
        if locator.prefixlen != BLOCK_BITS + NODE_BITS:
            raise WrongKey(key, f"{locator} of {node} has {locator.prefixlen} bits: give 48")
        number = base >> 80 & 0xFFFF
        if self._mode.compressed and (not locator.subnet_of(block) or not 0 < number < _FIRST_LOCAL):
            raise WrongKey(key, f"{locator} of {node} is no uSID of {block} below {_FIRST_LOCAL:x}")
        return base

    def locator(self, node: str) -> ipaddress.IPv6Network:
        """The prefix under which a node is reached."""
        return ipaddress.IPv6Network((self._base[node], BLOCK_BITS + NODE_BITS))

    def end(self, node: str) -> str:
        """The SID of a node."""
        return _written(self._base[node] | (0 if self._mode.compressed else 1))

    def adjacency(self, node: str, number: int) -> str:
        """The SID that makes a node send over the link of that number among its own."""
        return self._function(node, _FIRST_ADJACENCY + number, _FIRST_ADJACENCY + number)

    def decapsulate(self, node: str, inside: Literal[2, 4, 6]) -> str:
        """The SID that makes a node unpack an Ethernet frame (2), an IPv4 or an IPv6 packet."""
        return self._function(node, {2: 0xD2, 4: 0xD4, 6: 0xD6}[inside], _DECAPSULATE[inside])

    def _function(self, node: str, plain: int, compressed: int) -> str:
        return _written(self._base[node] | (compressed << 64 if self._mode.compressed else plain))


def _written(address: int) -> str:
    return str(ipaddress.IPv6Address(address))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def on_the_wire(sids: Sequence[str], mode: Mode, block: str) -> tuple[str, ...]:
    """The addresses that stand in the header for these SIDs: themselves, or in mode usid the carriers they fill.

    The identifiers of one SID (its node and function) are never parted. Raises WrongKey for a SID that is no uSID.
    """
    if not mode.compressed:
        return tuple(sids)
    carriers: list[list[int]] = [[]]
    for sid in sids:
        identifiers = usids(sid, block)
        if len(carriers[-1]) + len(identifiers) > CARRIER_IDS:
            carriers.append([])
        carriers[-1] += identifiers
    first = int(ipaddress.IPv6Network(block).network_address)
    return tuple(
        _written(first | sum(identifier << 80 - 16 * place for place, identifier in enumerate(carrier)))
        for carrier in carriers
    )


def usids(sid: str, block: str) -> list[int]:
    """The 16-bit identifiers of a uSID: what follows the block, up to the first zero."""
    address = int(ipaddress.IPv6Address(sid))
    found = [address >> 80 - 16 * place & 0xFFFF for place in range(CARRIER_IDS)]
    count = found.index(0) if 0 in found else CARRIER_IDS
    if ipaddress.IPv6Address(sid) not in ipaddress.IPv6Network(block) or count == 0 or any(found[count:]):
        raise WrongKey(
            ("srv6", "mode"),
            f'{sid} is no uSID of {block}: with srv6.mode = "usid" give the block, then 16-bit identifiers, then zeros',
        )
    return found[:count]
