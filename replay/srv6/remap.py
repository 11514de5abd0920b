"""Gives the packets other addresses, prefix by prefix, and keeps what their checksums say of them true."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.walk import FRAGMENT, PADDED, Inner, WalkedPackets
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel
from segcast.traces.protocols import TCP

_ICMPV6: Final = 58
_UDP: Final = 17
_UDP_LITE: Final = 136


class Prefixes(NamedTuple):
    """Prefixes and what stands for them, longest first: `family` int64[m] (0 for IPv4, 1 for IPv6), `bits` int64[m];
    `old`, `new` uint8[m, 16], of which IPv4 uses the first 4.
    """

    family: NDArray[np.int64]
    bits: NDArray[np.int64]
    old: NDArray[np.uint8]
    new: NDArray[np.uint8]


def parse_prefixes(pairs: Sequence[str]) -> Prefixes:
    """`OLD=NEW` of each pair; an address alone is a prefix of all its bits. Raises InputError."""
    found: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, ipaddress.IPv4Network | ipaddress.IPv6Network] = {}
    for pair in pairs:
        try:
            left, right = pair.split("=")
            old, new = ipaddress.ip_network(left.strip()), ipaddress.ip_network(right.strip())
        except ValueError as error:
            why = f": {error}" if pair.count("=") == 1 else ""
            raise InputError(f"--map {pair}: write it like 10.20.1.0/24=192.0.2.0/24{why}") from None
        if (old.version, old.prefixlen) != (new.version, new.prefixlen):
            raise InputError(f"--map {pair}: both must be of one IP version and length, for host bits are kept")
        if found.setdefault(old, new) != new:
            raise InputError(f"--map {pair}: {old} is mapped to two prefixes; give one")
    order = sorted(found, key=lambda prefix: -prefix.prefixlen)

    def addresses(prefixes: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> NDArray[np.uint8]:
        padded = b"".join(prefix.network_address.packed.ljust(16, b"\0") for prefix in prefixes)
        return np.frombuffer(padded, np.uint8).reshape(-1, 16)

    return Prefixes(
        np.array([int(prefix.version == 6) for prefix in order], np.int64),
        np.array([prefix.prefixlen for prefix in order], np.int64),
        addresses(order),
        addresses([found[prefix] for prefix in order]),
    )


@kernel
def remap(buffer: NDArray[np.uint8], inner: Inner, prefixes: Prefixes, change: NDArray[np.int64]) -> None:
    """Replace the prefix of source and destination by what stands for the longest that fits; host bits stay.

    `change` int64[n, 2], by source and destination: set to the one's complement sum of the new words and the
    complements of the old ones (RFC 1624), for checksums that cannot be computed anew; 0 where nothing changed.
    """
    for i in range(len(inner.start)):
        family = inner.family[i]
        width = 4 if family == 0 else 16
        for end in range(2):
            at = inner.start[i] + (12 if family == 0 else 8) + end * width
            change[i, end] = 0
            for m in range(len(prefixes.bits)):
                if prefixes.family[m] != family:
                    continue
                whole = prefixes.bits[m] // 8
                mask = (0xFF00 >> (prefixes.bits[m] - whole * 8)) & 255
                fits = True
                for k in range(whole):
                    if buffer[at + k] != prefixes.old[m, k]:
                        fits = False
                        break
                if fits and mask > 0:
                    fits = bool((np.int64(buffer[at + whole]) & mask) == np.int64(prefixes.old[m, whole]))
                if not fits:
                    continue
                total = np.int64(0)
                for k in range(width):
                    before = np.int64(buffer[at + k])
                    after = before
                    if k < whole:
                        after = np.int64(prefixes.new[m, k])
                    elif k == whole:
                        after = np.int64(prefixes.new[m, k]) | (before & ~mask & 255)
                    buffer[at + k] = after
                    total += (after + (255 - before)) << (8 if k % 2 == 0 else 0)
                change[i, end] = total
                break


@kernel
def follow(buffer: NDArray[np.uint8], inner: Inner, found: WalkedPackets, change: NDArray[np.int64]) -> None:
    """Let the checksums of first fragments, which cover bytes that are elsewhere, follow changed addresses (RFC 1624).

    `found` is what `walk` and `mend` left; the destination counts where the pseudo-header has it.
    """
    for i in range(len(inner.start)):
        start = inner.start[i]
        total = change[i, 0]
        if found.destination[i] == start + (16 if inner.family[i] == 0 else 24):
            total += change[i, 1]
        if total == 0 or found.outcome[i] & (FRAGMENT | PADDED) != FRAGMENT:
            continue
        protocol = found.protocol[i]
        at = found.transport[i]
        field = np.int64(-1)
        if protocol == TCP:
            field = at + 16
        elif protocol in (_UDP, _UDP_LITE):
            field = at + 6
        elif protocol == _ICMPV6 and inner.family[i] == 1:
            field = at + 2
        if field < 0 or field + 2 > start + inner.total[i]:
            continue
        old = np.int64(buffer[field]) << 8 | np.int64(buffer[field + 1])
        if protocol == _UDP and old == 0:
            continue
        total += 0xFFFF - old
        while total >> 16 > 0:
            total = (total & 0xFFFF) + (total >> 16)
        checksum = 0xFFFF - total
        if checksum == 0 and (protocol in (_UDP, _UDP_LITE)):
            checksum = np.int64(0xFFFF)
        buffer[field] = checksum >> 8
        buffer[field + 1] = checksum & 255
