"""Quantities with units, as users write them, to exact integers: "10Gbps", "100us", "512KiB"."""

from __future__ import annotations

import re
from typing import Final

from traces.errors import InputError

_NUMBER: Final = re.compile(r"\s*([0-9]+)(?:\.([0-9]+))?\s*([A-Za-z/\u00b5\u03bc]*)\s*")

_DURATION: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
_SIZE: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_PREFIXES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_RATE: Final = {
    prefix + unit: factor for prefix, factor in _PREFIXES.items() for unit in ("bps", "bit/s", "b/s")
}


def _parse(text: str, units: dict[str, int], what: str, example: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None or match[3] not in units:
        raise InputError(f"{what} {text!r} is not a number with a unit such as {example}")
    fraction = match[2] or ""
    scaled = int(match[1] + fraction) * units[match[3]]
    whole, rest = divmod(scaled, 10 ** len(fraction))
    if rest:
        raise InputError(f"{what} {text!r} is not a whole number of the smallest unit ({next(iter(units))})")
    if whole >= 2**62:
        raise InputError(f"{what} {text!r} is too large")
    return whole


def duration_ns(text: str) -> int:
    """Nanoseconds of "100us", "1.5ms", "2s". Raises InputError."""
    return _parse(text, _DURATION, "duration", "100us or 1.5ms")


def size_bytes(text: str) -> int:
    """Bytes of "1500B", "512KiB", "1MB". Raises InputError."""
    return _parse(text, _SIZE, "size", "1500B or 512KiB")


def rate_bps(text: str) -> int:
    """Bits per second of "10Gbps", "2.5Gbit/s". Raises InputError."""
    return _parse(text, _RATE, "rate", "10Gbps or 100Mbit/s")


def _written(value: int, units: tuple[tuple[str, int], ...]) -> str:
    for name, factor in units:
        if value and value % factor == 0:
            return f"{value // factor}{name}"
    return f"{value}{units[-1][0]}"


def write_duration(value_ns: int) -> str:
    """The shortest exact text that `duration_ns` reads back."""
    return _written(value_ns, (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)))


def write_size(value_bytes: int) -> str:
    """The shortest exact text that `size_bytes` reads back."""
    return _written(value_bytes, (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)))


def write_rate(value_bps: int) -> str:
    """The shortest exact text that `rate_bps` reads back."""
    return _written(
        value_bps, (("Tbps", 10**12), ("Gbps", 10**9), ("Mbps", 10**6), ("kbps", 10**3), ("bps", 1))
    )
