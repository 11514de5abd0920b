"""The walking kernel: mends IPv4 and IPv6 headers of padded packets and finds their transport headers.

Sources: RFC 791, RFC 8200 sections 4 and 8.1, RFC 4302 section 2, RFC 6275 section 6.4, RFC 8754 section 2.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.checksums import Integer, ones_sum
from segcast.traces.jit import kernel

PADDED: Final = 1  # bytes were missing and are zero now
HEADER_MENDED: Final = 2  # a header was cut, and has been completed to a valid one
FRAGMENT: Final = 4  # one fragment of a packet
MALFORMED: Final = 8  # a header contradicts the packet's length
NO_CHECKSUM: Final = 16  # the transport checksum could not be, or need not be, set
CHECKSUM_ZEROED: Final = 32  # checksum 0, "none", since the rest of the datagram is elsewhere
SHORTENED: Final = 64  # bytes at its end are left out
MAPPED: Final = 128  # an address was replaced

_HOP_BY_HOP: Final = 0
_ROUTING: Final = 43
_FRAGMENT_HEADER: Final = 44
_AUTHENTICATION: Final = 51
_NO_NEXT_HEADER: Final = 59
_DESTINATION: Final = 60


class Inner(NamedTuple):
    """Packets in a buffer, int64[n] each: index of the IP header, whole length, bytes that were captured, and
    family (0 for IPv4, 1 for IPv6); `shortened` bool[n]: its end was left out, so that inner lengths may lie beyond.
    Of a packet at least the fixed IP header was captured.
    """

    start: NDArray[np.int64]
    total: NDArray[np.int64]
    kept: NDArray[np.int64]
    family: NDArray[np.int64]
    shortened: NDArray[np.bool_]


class WalkedPackets(NamedTuple):
    """What `walk` finds, int64[n] each.

    `protocol` of the transport header, -1 if there is none to mend; `transport`: its index in the buffer;
    `destination`: index of the address in the pseudo-header; `outcome`: bits.
    """

    protocol: NDArray[np.int64]
    transport: NDArray[np.int64]
    destination: NDArray[np.int64]
    outcome: NDArray[np.int64]


@kernel
def is_extension(protocol: Integer, family: Integer) -> bool:
    """Whether a header of this number is followed by another one in a packet of this family."""
    if protocol == _AUTHENTICATION:
        return True
    return family == 1 and protocol in (_HOP_BY_HOP, _ROUTING, _FRAGMENT_HEADER, _DESTINATION)


@kernel
def end_cut_option(
    buffer: NDArray[np.uint8], first: Integer, end: Integer, cut: Integer, one_byte: int, extra_bytes: int
) -> None:
    """Zero the option that `cut` runs through, among those from `first` to `end`: the padding ends the list.

    Options up to number `one_byte` have no length byte; a length counts from the option's first byte less
    `extra_bytes` (0 in IPv4 and TCP, where zero is End of Option List; 2 in IPv6, where zeros are Pad1).
    """
    at = first
    while at < cut and at < end:
        if np.int64(buffer[at]) <= one_byte:
            at += 1
            continue
        size: Integer = np.int64(buffer[at + 1]) + extra_bytes if at + 1 < cut else np.int64(0)
        if size < 2 or at + size > cut:
            buffer[at : min(cut, end)] = 0
            return
        at += size


@kernel
def walk(buffer: NDArray[np.uint8], inner: Inner, found: WalkedPackets) -> None:
    """Set lengths and the IPv4 header checksum, complete headers that were cut, and fill `found`.

    An extension header whose length was not captured becomes an empty one followed by No Next Header (RFC
    8200 section 4.7). The pseudo-header's destination is the final one where a routing header or an IPv4
    source route is still under way (RFC 8200 section 8.1, RFC 1122 section 3.2.1.8).
    """
    for i in range(len(inner.start)):
        start = inner.start[i]
        end = start + inner.total[i]
        cut = start + inner.kept[i]
        outcome = PADDED if cut < end else 0
        if inner.shortened[i]:
            outcome |= SHORTENED
        fragment = False
        found.protocol[i] = -1
        found.transport[i] = end
        found.destination[i] = start
        if inner.family[i] == 0:
            at = start + (np.int64(buffer[start]) & 15) * 4
            destination = start + 16
            protocol = np.int64(buffer[start + 9])
            if inner.total[i] <= 65535:
                buffer[start + 2] = inner.total[i] >> 8
                buffer[start + 3] = inner.total[i] & 255
            if at < start + 20 or at > end:
                found.outcome[i] = outcome | MALFORMED
                continue
            if cut < at:
                outcome |= HEADER_MENDED
                end_cut_option(buffer, start + 20, at, cut, 1, 0)
            option = start + 20
            while option < at - 1 and buffer[option] != 0:
                kind = np.int64(buffer[option])
                size = np.int64(1) if kind == 1 else np.int64(buffer[option + 1])
                if size < 1 or option + size > at:
                    break
                if (kind == 131 or kind == 137) and size >= 7 and np.int64(buffer[option + 2]) <= size - 3:
                    destination = option + size - 4
                option += size
            buffer[start + 10] = 0
            buffer[start + 11] = 0
            folded = ones_sum(buffer, start, at, 0)
            buffer[start + 10] = folded >> 8
            buffer[start + 11] = folded & 255
            position = (np.int64(buffer[start + 6]) & 31) << 8 | np.int64(buffer[start + 7])
            fragment = bool(position > 0 or (np.int64(buffer[start + 6]) & 32) > 0)
            later = bool(position > 0)
        else:
            at = start + 40
            destination = start + 24
            protocol = np.int64(buffer[start + 6])
            if inner.total[i] <= 65575:
                buffer[start + 4] = (inner.total[i] - 40) >> 8
                buffer[start + 5] = (inner.total[i] - 40) & 255
            later = False
        while not later:
            if not is_extension(protocol, inner.family[i]):
                break
            least = 8
            if protocol == _AUTHENTICATION:
                least = 16 if inner.family[i] == 1 else 12  # whole units of 8 octets in IPv6, of 4 in IPv4
            if at + least > end:
                outcome |= MALFORMED
                break
            if cut < at + (4 if protocol == _FRAGMENT_HEADER else 2):
                outcome |= HEADER_MENDED
                buffer[at : at + least] = 0
                buffer[at] = _NO_NEXT_HEADER
                if protocol == _AUTHENTICATION:
                    buffer[at + 1] = least // 4 - 2
                if protocol == _ROUTING:
                    buffer[at + 2] = 253  # experimental (RFC 4727 section 3), ignored as no segments are left
                protocol = np.int64(_NO_NEXT_HEADER)
                at += least
                continue
            size = (np.int64(buffer[at + 1]) + 1) * 8
            if protocol == _AUTHENTICATION:
                size = (np.int64(buffer[at + 1]) + 2) * 4
            elif protocol == _FRAGMENT_HEADER:
                size = np.int64(8)
                position = (np.int64(buffer[at + 2]) << 8 | np.int64(buffer[at + 3])) >> 3
                fragment = bool(fragment or position > 0 or (np.int64(buffer[at + 3]) & 1) > 0)
                later = bool(position > 0)
            if at + size > end:
                outcome |= MALFORMED
                break
            if cut < at + size:
                outcome |= HEADER_MENDED
            if cut < at + size and protocol in (_HOP_BY_HOP, _DESTINATION):
                end_cut_option(buffer, at + 2, at + size, cut, 0, 2)
            if protocol == _ROUTING:
                if cut < at + 8:
                    buffer[at + 3] = 0
                if cut < at + 3:
                    buffer[at + 2] = 253
                kind = np.int64(buffer[at + 2])
                if np.int64(buffer[at + 3]) > 0:
                    if (kind == 0 or kind == 2) and size >= 24:
                        destination = at + size - 16
                    elif kind == 4 and size >= 24:
                        destination = at + 8
                    else:
                        outcome |= NO_CHECKSUM
            protocol = np.int64(buffer[at])
            at += size
        if fragment:
            outcome |= FRAGMENT
        if not later and outcome & MALFORMED == 0:
            found.protocol[i] = protocol
        found.transport[i] = at
        found.destination[i] = destination
        found.outcome[i] = outcome
