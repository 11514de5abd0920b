"""Addresses, many at a time: as text, and by prefix."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segcast.traces.byteorder import Bytes, Word
from segcast.traces.jit import int64, kernel

_LONGEST4: Final = 15
_LONGEST6: Final = 39
_DOT: Final = ord(".")
_COLON: Final = ord(":")
_ZERO: Final = ord("0")
_TEN: Final = ord("a") - 10
_HALF: Final = 64


@kernel
def _write4(address: Word, text: Bytes, at: int) -> int:
    """Write dotted decimals at `at`; the place after them."""
    for shift in range(24, -8, -8):
        octet = address >> shift & 0xFF
        if octet >= 100:
            text[at] = _ZERO + octet // 100
            at += 1
        if octet >= 10:
            text[at] = _ZERO + octet // 10 % 10
            at += 1
        text[at] = _ZERO + octet % 10
        at += 1
        if shift > 0:
            text[at] = _DOT
            at += 1
    return at


@kernel
def _group(high: np.uint64, low: np.uint64, number: int) -> Word:
    """One of the eight groups of 16 bits, the most significant first."""
    half = high if number < 4 else low
    return int64(half >> np.uint64(16 * (3 - number % 4)) & np.uint64(0xFFFF))


@kernel
def _write6(high: np.uint64, low: np.uint64, text: Bytes, at: int) -> int:
    """Write the canonical text (RFC 5952 section 4; no dotted decimals) at `at`; the place after it."""
    longest, gap = 1, -1  # groups of zeros that "::" stands for: the longest run of two or more, the first of equals
    run = 0
    for number in range(8):
        run = run + 1 if _group(high, low, number) == 0 else 0
        if run > longest:
            longest, gap = run, number - run + 1
    number = 0
    while number < 8:
        if number == gap:
            text[at] = _COLON
            text[at + 1] = _COLON
            at += 2
            number += longest
            continue
        if number > 0 and number != gap + longest:
            text[at] = _COLON
            at += 1
        value = _group(high, low, number)
        started = False
        for shift in range(12, -4, -4):
            digit = value >> shift & 15
            if started or digit > 0 or shift == 0:
                started = True
                text[at] = (_ZERO if digit < 10 else _TEN) + digit
                at += 1
        number += 1
    return at


@kernel
def _write(
    version: npt.NDArray[np.uint8],
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    text: Bytes,
    end: npt.NDArray[np.int32],
) -> None:
    """Write the texts one after the other, and where each ends: `end` int32[n + 1], from 0."""
    at = int64(0)
    for row in range(version.size):
        if version[row] == 4:
            at = _write4(int64(low[row]), text, at)
        else:
            at = _write6(high[row], low[row], text, at)
        end[row + 1] = at


def address_texts(
    version: npt.NDArray[np.uint8], high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> pa.Array:
    """Text of n addresses (IPv4 dotted; IPv6 as RFC 5952); `version` 4 or 6, the halves as `Headers` has them."""
    sixes = int(np.count_nonzero(version != 4))
    text = np.empty((len(version) - sixes) * _LONGEST4 + sixes * _LONGEST6, np.uint8)
    end = np.zeros(len(version) + 1, np.int32)
    _write(version, np.ascontiguousarray(high), np.ascontiguousarray(low), text, end)
    return pa.StringArray.from_buffers(len(version), pa.py_buffer(end), pa.py_buffer(text[: end[-1]].copy()))


def within(
    ip_version: npt.NDArray[np.uint8],
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    prefixes: Sequence[str],
) -> npt.NDArray[np.bool_]:
    """Which of n addresses, halves as `Headers` has them, are in one of the prefixes, bool[n]."""
    found = np.zeros(len(high), np.bool_)
    for prefix in map(ipaddress.ip_network, prefixes):
        base, bits = int(prefix.network_address), prefix.prefixlen
        if prefix.version == 4:
            found |= (ip_version == 4) & _begins(low, base, 32, bits)
        else:
            upper = _begins(high, base >> _HALF, _HALF, min(bits, _HALF))
            lower = _begins(low, base & (2**_HALF - 1), _HALF, max(bits - _HALF, 0))
            found |= (ip_version == 6) & upper & lower
    return found


def _begins(words: npt.NDArray[np.uint64], base: int, size: int, bits: int) -> npt.NDArray[np.bool_]:
    """Which words of `size` bits begin with the first `bits` of `base`."""
    if bits == 0:
        return np.ones(len(words), np.bool_)
    shift = np.uint64(size - bits)
    found: npt.NDArray[np.bool_] = words >> shift == np.uint64(base) >> shift
    return found
