"""Quantities with units, as users write them, to exact integers: "10Gbps", "100us", "512KiB"."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from segcast.traces.errors import InputError

NANOSECOND_BITS: Final = 8_000_000_000
"""A byte takes this many nanoseconds over a rate in bit/s."""

_LONGEST: Final = 40
_LEAST_DECIMAL: Final = 10_000  # smaller sizes are those of packets, which are told in bytes: 9000B
_TIMES: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns"))
_QUANTITY: Final = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµμ]+(?:/s)?)\s*")
_PREFIXES: Final = "QRYZEPTGMKkcmuµμnpfazyrq"  # both letters for micro are in use
_EXPONENTS: Final = (30, 27, 24, 21, 18, 15, 12, 9, 6, 3, 3, -2, -3, -6, -6, -6, -9, -12, -15, -18, -21, -24, -27, -30)
_POWERS: Final = {"": 0, **dict(zip(_PREFIXES, _EXPONENTS, strict=True))}
_BINARY: Final = {f"{prefix}i": 1 << 10 * power for power, prefix in enumerate("KMGTPEZYRQ", start=1)}


def _parse(text: str, units: tuple[str, ...], scale: int, what: str, example: str) -> int:
    """What `text` says in one of `units`, times `scale`, as a whole number. Raises InputError."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    number = _number(match[1], match[2], units) if match else None
    if number is None:
        raise InputError(f"{what} {shown!r} is not a number with a unit such as {example}")
    value = number * scale
    if not math.isfinite(value) or not 0 <= value < 2**53:
        raise InputError(f"{what} {text!r} is out of range")
    if abs(value - round(value)) > 1e-6:
        raise InputError(f"{what} {text!r} is finer than Segcast computes: whole ns, bytes and bit/s")
    return round(value)


def _number(digits: str, name: str, units: tuple[str, ...]) -> float | None:
    """The number of a unit that `digits` are with `name`, a prefix and one of `units`; None if it is not."""
    for unit in units:
        prefix = name.removesuffix(unit)
        if prefix == name:
            continue
        if prefix in _BINARY:
            return float(digits) * _BINARY[prefix]
        if prefix in _POWERS:
            return float(f"{digits}e{_POWERS[prefix]}")
    return None


def duration_ns(text: str) -> int:
    """Nanoseconds of "100us", "1.5ms", "2s". Raises InputError."""
    return _parse(text, ("s",), 10**9, "duration", "100us or 1.5ms")


def size_bytes(text: str) -> int:
    """Bytes of "1500B", "512KiB", "1MB". Raises InputError."""
    return _parse(text, ("B",), 1, "size", "1500B or 512KiB")


def rate_bps(text: str) -> int:
    """Bits per second of "10Gbps", "2.5Gbit/s". Raises InputError."""
    return _parse(text, ("bps", "bit/s", "b/s"), 1, "rate", "10Gbps or 100Mbit/s")


def _written(value: int, units: tuple[tuple[str, int], ...]) -> str:
    for name, factor in units:
        if value and value % factor == 0:
            return f"{value // factor}{name}"
    return f"{value}{units[-1][0]}"


def write_duration(value_ns: int) -> str:
    """The shortest exact text that `duration_ns` reads back."""
    return _written(value_ns, tuple((unit, factor) for factor, unit in _TIMES))


def say_number(value: float | Decimal) -> str:
    """Exactly, as people read it, with neither an exponent nor a needless zero: `1.2341`, `2`."""
    return format(Decimal(str(value)).normalize(), "f")


def say_duration(value_ns: int) -> str:
    """Exactly, as people read it: `1.5 ms`, `99.999 us`. For settings, which are names; measurements are rounded."""
    factor, unit = next((f, u) for f, u in _TIMES if value_ns >= f or f == 1)
    return f"{say_number(Decimal(value_ns) / factor)} {unit}"


def say_span(value_ns: int) -> str:
    """A measured time as people read it: whole seconds from 1,000 s on, else to four significant digits."""
    return f"{value_ns / 1e9:,.0f} s" if value_ns >= 10**12 else say_duration(int(float(f"{value_ns:.4g}")))


def significant(value: float, digits: int) -> str:
    """A finite `value` to so many significant digits, never in exponents, without trailing zeros."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if places <= 0:
        return str(int(rounded))
    return f"{rounded:.{places}f}".rstrip("0").rstrip(".")


def say_share(ratio: float) -> str:
    """A finite ratio as `31 %`, `4.2 %`, `0.013 %`; below a millionth of a percent `<0.000001 %`.

    Two significant digits below 10 %, whole percents above. All percentages that people read are written by it.
    """
    value = ratio * 100
    if 0 < abs(value) < 1e-6:
        return "<0.000001 %" if value > 0 else ">-0.000001 %"
    return f"{round(value) if abs(value) >= 9.95 else significant(value, 2)} %"


def write_size(value_bytes: int) -> str:
    """An exact text that `size_bytes` reads back, as people give it: `1MiB`, `250kB`, `9000B`."""
    binary = _written(value_bytes, (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)))
    if value_bytes < _LEAST_DECIMAL:
        return binary
    decimal = _written(value_bytes, (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1)))
    return min(binary, decimal, key=lambda text: sum(sign.isdigit() for sign in text))


def write_rate(value_bps: int) -> str:
    """The shortest exact text that `rate_bps` reads back."""
    return _written(value_bps, (("Tbps", 10**12), ("Gbps", 10**9), ("Mbps", 10**6), ("kbps", 10**3), ("bps", 1)))
