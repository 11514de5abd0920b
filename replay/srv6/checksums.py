"""Checksums over a byte buffer: the Internet checksum (RFC 1071) and CRC32c (RFC 9260 appendix A)."""

from __future__ import annotations

import sys
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import at, int64, kernel

_LITTLE: Final = sys.byteorder == "little"

Integer: TypeAlias = int | np.int64  # kernels compute in 64 bits, compiled or not


def _crc32c_table() -> NDArray[np.uint32]:
    """The reflected CRC32c of every byte, uint32[256] (polynomial 0x1EDC6F41)."""
    table = np.empty(256, np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table[byte] = value
    return table


_TABLE: Final = _crc32c_table()


@kernel
def ones_sum(buffer: NDArray[np.uint8], first: Integer, end: Integer, begun: Integer) -> Integer:
    """The Internet checksum of buffer[first:end], words big-endian, an odd last byte padded with 0.

    `begun` is a sum to go on from (of a pseudo-header). The field that will hold the result must be 0
    beforehand.
    """
    even = first + (end - first) // 2 * 2
    words = buffer[at(first) : at(even)].view(np.uint16)
    swapped = np.uint64(0)
    for k in range(len(words)):
        swapped += np.uint64(words[at(k)])
    folded = int64(swapped)
    while folded >> 16 > 0:
        folded = (folded & 0xFFFF) + (folded >> 16)
    if _LITTLE:  # the sum of swapped words is the swapped sum (RFC 1071 section 2)
        folded = (folded & 0xFF) << 8 | folded >> 8
    total = int64(begun) + folded
    if even < end:
        total += int64(buffer[at(even)]) << 8
    while total >> 16 > 0:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@kernel
def crc32c(buffer: NDArray[np.uint8], first: Integer, end: Integer) -> Integer:
    """CRC32c of buffer[first:end]; SCTP stores it least significant byte first."""
    value = np.int64(0xFFFFFFFF)
    for place in range(first, end):
        value = np.int64(_TABLE[(value ^ np.int64(buffer[place])) & 255]) ^ value >> 8
    return value ^ 0xFFFFFFFF
