"""The mending kernel: completes transport headers of padded packets and sets checksums.

Sources: RFC 9293 section 3.1 (TCP), RFC 768 and RFC 8200 section 8.1 (UDP), RFC 3828 section 3.1 (UDP-Lite),
RFC 792, RFC 4443 section 2.3, RFC 3376 section 4, RFC 9260 section 3 and RFC 4820 section 3 (SCTP and its PAD
chunk).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.checksums import Integer, crc32c, ones_sum
from segcast.replay.srv6.walk import (
    CHECKSUM_ZEROED,
    FRAGMENT,
    HEADER_MENDED,
    MALFORMED,
    NO_CHECKSUM,
    PADDED,
    SHORTENED,
    Inner,
    WalkedPackets,
    end_cut_option,
)
from segcast.traces.jit import kernel
from segcast.traces.protocols import TCP

_ICMP: Final = 1
_IGMP: Final = 2
_UDP: Final = 17
_ICMPV6: Final = 58
_NO_NEXT_HEADER: Final = 59
_SCTP: Final = 132
_UDP_LITE: Final = 136

_PAD_CHUNK: Final = 0x84


@kernel
def end_cut_chunk(buffer: NDArray[np.uint8], first: Integer, end: Integer, cut: Integer, shortened: bool) -> bool:
    """Make a PAD chunk of the SCTP chunk that `cut` or `end` runs through, or of all that was not captured.

    A DATA chunk (0) or I-DATA chunk (64) keeps its header, if that was captured, and carries zeros. Returns
    whether the chunks fill buffer[first:end]; a PAD chunk needs 4 bytes.
    """
    at = first
    while at < end:
        if at + 4 > end:
            return False
        size: Integer = np.int64(buffer[at + 2]) << 8 | np.int64(buffer[at + 3])
        if at + 4 > cut:
            size = end - at
            buffer[at] = _PAD_CHUNK
            buffer[at + 1] = 0
            buffer[at + 2] = size >> 8
            buffer[at + 3] = size & 255
            return True
        if size < 4:
            return False
        if at + size > end:
            if not shortened:
                return False
            size = end - at
            buffer[at] = _PAD_CHUNK
            buffer[at + 1] = 0
            buffer[at + 2] = size >> 8
            buffer[at + 3] = size & 255
            return True
        if at + size > cut:
            kind = buffer[at]
            header = 16 if kind == 0 else 20
            if not (kind == 0 or kind == 64) or cut < at + header:
                buffer[at] = _PAD_CHUNK
                buffer[at + 1] = 0
        at += (size + 3) // 4 * 4
    return True


@kernel
def mend(buffer: NDArray[np.uint8], inner: Inner, found: WalkedPackets) -> None:
    """Complete and checksum the transport headers that `walk` found; adds to `found.outcome`.

    Fragments: one captured whole is left as it is; a cut first fragment gets a complete header, and checksum
    0 if it is UDP over IPv4 (no checksum, RFC 768); other cut fragments keep a checksum that no longer holds.
    """
    for i in range(len(inner.start)):
        protocol = found.protocol[i]
        at = found.transport[i]
        start = inner.start[i]
        end = start + inner.total[i]
        cut = min(max(start + inner.kept[i], at), end)
        outcome = found.outcome[i]
        if protocol < 0 or protocol == _NO_NEXT_HEADER or (outcome & FRAGMENT > 0 and outcome & PADDED == 0):
            found.outcome[i] = outcome | NO_CHECKSUM
            continue
        least = 8
        covered = end  # end of what the checksum covers
        pseudo = True
        field = np.int64(-1)
        if protocol == TCP:
            least = 20
            field = at + 16
        elif protocol in (_UDP, _UDP_LITE):
            field = at + 6
        elif protocol == _ICMPV6 and inner.family[i] == 1:
            field = at + 2
        elif protocol in (_ICMP, _IGMP) and inner.family[i] == 0:
            field = at + 2
            pseudo = False
        elif protocol == _SCTP:
            least = 12
            field = at + 8
        if field < 0:
            found.outcome[i] = outcome | NO_CHECKSUM
            continue
        if end - at < least:
            found.outcome[i] = outcome | MALFORMED | NO_CHECKSUM
            continue
        if cut < at + least:
            outcome |= HEADER_MENDED
        if protocol == TCP:
            if cut < at + 13:
                buffer[at + 12] = 0x50
            header = (np.int64(buffer[at + 12]) >> 4) * 4
            if header < 20 or at + header > end:
                outcome |= MALFORMED
            elif cut < at + header:
                outcome |= HEADER_MENDED
                end_cut_option(buffer, at + 20, at + header, cut, 1, 0)
        elif protocol == _UDP:
            size = np.int64(buffer[at + 4]) << 8 | np.int64(buffer[at + 5])
            if cut < at + 6 or size < 8 or (at + size > end and outcome & FRAGMENT == 0):
                size = end - at
                buffer[at + 4] = size >> 8
                buffer[at + 5] = size & 255
            covered = at + size
        elif protocol == _UDP_LITE:
            if cut < at + 6:
                buffer[at + 4] = 0
                buffer[at + 5] = 0
            size = np.int64(buffer[at + 4]) << 8 | np.int64(buffer[at + 5])
            if at + size > end and inner.shortened[i]:
                size = np.int64(0)  # the whole is covered
                buffer[at + 4] = 0
                buffer[at + 5] = 0
            if size >= 8 and at + size <= end:
                covered = at + size
            elif size > 0:
                outcome |= MALFORMED | NO_CHECKSUM
        elif protocol == _SCTP and outcome & (PADDED | SHORTENED) > 0 and outcome & FRAGMENT == 0:
            filled = end_cut_chunk(buffer, at + 12, end, cut, bool(inner.shortened[i]))
            outcome |= 0 if filled else MALFORMED
        if outcome & FRAGMENT > 0:
            if protocol == _UDP and inner.family[i] == 0:
                buffer[field] = 0
                buffer[field + 1] = 0
                outcome |= CHECKSUM_ZEROED
            outcome |= NO_CHECKSUM
        elif protocol == _UDP and inner.family[i] == 0:
            unused = cut >= at + 8 and buffer[field] == 0 and buffer[field + 1] == 0
            outcome |= NO_CHECKSUM if unused else 0  # the sender used none (RFC 768)
        if outcome & NO_CHECKSUM > 0:
            found.outcome[i] = outcome
            continue
        buffer[field] = 0
        buffer[field + 1] = 0
        if protocol == _SCTP:
            buffer[field + 2] = 0
            buffer[field + 3] = 0
            checksum: Integer = crc32c(buffer, at, end)
            for k in range(4):
                buffer[field + k] = (checksum >> 8 * k) & 255
        else:
            total = np.int64(0)
            if pseudo:
                width = 4 if inner.family[i] == 0 else 16
                source = start + (12 if inner.family[i] == 0 else 8)
                for k in range(0, width, 2):
                    total += np.int64(buffer[source + k]) << 8 | np.int64(buffer[source + k + 1])
                    target = found.destination[i] + k
                    total += np.int64(buffer[target]) << 8 | np.int64(buffer[target + 1])
                total += protocol + (covered - at if protocol == _UDP else end - at)
            checksum = ones_sum(buffer, at, covered, total)
            if checksum == 0 and protocol in (_UDP, _UDP_LITE):
                checksum = np.int64(0xFFFF)
            buffer[field] = checksum >> 8
            buffer[field + 1] = checksum & 255
        found.outcome[i] = outcome
