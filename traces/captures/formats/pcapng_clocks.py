"""The clocks of pcapng interfaces: what `if_tsresol` says, and time stamps as nanoseconds."""

from __future__ import annotations

import numpy as np

from segcast.traces.byteorder import Word
from segcast.traces.jit import kernel


def clock(resolution: int) -> tuple[int, int]:
    """Mode and factor (see `Interfaces`) of an if_tsresol byte: powers of 10, or of 2 with the high bit."""
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return 2, exponent
    if exponent <= 9:
        return 0, int(10 ** (9 - exponent))
    if exponent <= 28:
        return 1, int(10 ** (exponent - 9))
    return 2, 127  # 64 bits of such ticks never reach a nanosecond; nor do 64 bits of 2**-127 s


def resolution_ns(resolution: int) -> float:
    """Length of a tick of an if_tsresol byte, in nanoseconds."""
    exponent = resolution & 0x7F
    return 1e9 * (2.0**-exponent if resolution & 0x80 else 10.0**-exponent)


@kernel
def nanoseconds(high: int, low: int, mode: Word, factor: Word, offset_s: Word) -> Word:
    """Floor of a pcapng timestamp in nanoseconds, in 128 bits where needed; held at the ends of int64.

    In units of a nanosecond or coarser (powers of 10), 2**63 ticks or more do not fit and are read as negative: times
    before 1970, as some recorders write them.
    """
    billion = np.uint64(1_000_000_000)
    ticks = np.uint64(high) << np.uint64(32) | np.uint64(low)
    if mode == 1:  # finer than or equal to nanoseconds, powers of 10
        ticks //= factor
        seconds, rest = ticks // billion, ticks % billion
    elif mode == 0:
        units = billion // factor
        if ticks >> np.uint64(63):
            before = ~ticks  # ticks are -(before + 1)
            seconds, rest = before // units, before % units * factor + factor
            offset_s -= np.int64(seconds) + 1
            seconds, rest = np.uint64(0), billion - rest
        else:
            seconds, rest = ticks // units, ticks % units * factor
    else:
        if factor >= np.uint64(64):
            seconds, fraction = np.uint64(0), ticks
        else:
            seconds = ticks >> factor
            fraction = ticks & ((np.uint64(1) << factor) - np.uint64(1))
        # fraction * 10**9 as two 64-bit halves, then shifted right by `factor`
        mask = np.uint64(0xFFFFFFFF)
        low_product = (fraction & mask) * billion
        middle = (fraction >> np.uint64(32)) * billion + (low_product >> np.uint64(32))
        upper = middle >> np.uint64(32)
        lower = (middle & mask) << np.uint64(32) | (low_product & mask)
        if factor == np.uint64(0):
            rest = np.uint64(0)
        elif factor < np.uint64(64):
            rest = lower >> factor | upper << (np.uint64(64) - factor)
        elif factor < np.uint64(128):
            rest = upper >> (factor - np.uint64(64))
        else:
            rest = np.uint64(0)
    most = 9_223_372_036
    if seconds > np.uint64(1 << 62) or offset_s > (1 << 61):
        return np.int64(9_223_372_036_854_775_807)
    whole, part = np.int64(seconds) + offset_s, np.int64(rest)
    if part >= 1_000_000_000:
        whole, part = whole + 1, part - 1_000_000_000
    if whole > most or (whole == most and part > 854_775_807):
        return np.int64(9_223_372_036_854_775_807)
    if whole < -most - 1 or (whole == -most - 1 and part < 145_224_193):
        return np.int64(-9_223_372_036_854_775_807)
    if whole < 0:  # in steps that stay within 64 bits
        return (whole + 1) * 1_000_000_000 + (part - 1_000_000_000)
    return whole * 1_000_000_000 + part
