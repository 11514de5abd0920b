"""SIDs as texts of ones and zeros: block, number of the node, function (RFC 8986 section 3.1, RFC 9800 section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network


def bits_of(address: str) -> str:
    """The 128 bits of an address."""
    return f"{int(IPv6Address(address)):0128b}"


def address_of(bits: str) -> str:
    """The address that begins with these bits, and ends with zeros."""
    return str(IPv6Address(int(bits.ljust(128, "0"), 2)))


def plain(block: str, node_bits: int, number: int, function: int, function_bits: int | None) -> str:
    """A SID of a node's: its function behind the locator, or at the end of the address."""
    network = IPv6Network(block)
    locator = bits_of(str(network.network_address))[: network.prefixlen] + f"{number:0{node_bits}b}"
    if function_bits is None:
        return address_of(locator + f"{function:0{128 - len(locator)}b}")
    return address_of(locator + f"{function:0{function_bits}b}")


def compressed(block: str, width: int, number: int, function: int | None) -> str:
    """A uSID: the block, the node's identifier, and one for the function unless that is None."""
    network = IPv6Network(block)
    bits = bits_of(str(network.network_address))[: network.prefixlen] + f"{number:0{width}b}"
    return address_of(bits + ("" if function is None else f"{function:0{width}b}"))


def carriers(sids: Sequence[str], block: str, width: int) -> list[str]:
    """The addresses that carry these uSIDs: as many as fit in each, the identifiers of one together."""
    length = IPv6Network(block).prefixlen
    head = bits_of(block.split("/")[0])[:length]
    filled = [head]
    for sid in sids:
        behind = bits_of(sid)[length:]
        own = ""
        while "1" in behind:
            own, behind = own + behind[:width], behind[width:]
        if len(filled[-1]) + len(own) > 128:
            filled.append(head)
        filled[-1] += own
    return [address_of(bits) for bits in filled]
