"""Numbers as people read them: durations, sizes, rates, counts and percentages, as plain ASCII.

Three significant digits unless said otherwise, in the unit that keeps the number between 1 and 1000; settings such as
timeouts are names, which `segcast.traces.units` writes exactly. None, NaN and infinities become `NO_VALUE`. All that
people read is rounded here, so that a sentence, a table and a page say the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from segcast.traces import units

Number = int | float | None

NO_VALUE: Final = "-"
DIGITS: Final = 3
TENFOLD: Final = 9.0  # The change that makes ten of one: bounds from there on are told as such, not in percent.

_TIME: Final = ((1, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s"))
_SIZE: Final = ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"), (1e15, "PB"))
_RATE: Final = ((1, "bit/s"), (1e3, "kbit/s"), (1e6, "Mbit/s"), (1e9, "Gbit/s"), (1e12, "Tbit/s"))
_COUNT: Final = ((1, ""), (1e6, "M"), (1e9, "G"), (1e12, "T"))


def significant(value: float, digits: int = DIGITS) -> str:
    """`value` to so many significant digits, never in exponents, without trailing zeros."""
    return units.significant(value, digits) if math.isfinite(value) else NO_VALUE


def _scaled(value: Number, steps: Sequence[tuple[float, str]], digits: int) -> str:
    """`value` in the largest unit it reaches once rounded."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    for scale, unit in steps:
        number = significant(value / scale, digits)
        if abs(float(number)) < 1000 or unit == steps[-1][1]:
            return f"{number} {unit}".rstrip()
    raise AssertionError("the last unit takes any value")


def duration(value_ns: Number, digits: int = DIGITS) -> str:
    """Nanoseconds as `850 ns`, `12.3 us`, `1.2 ms`, `4.05 s`, `1 h 12 min`; zero is `0 ns`."""
    if value_ns is None or not math.isfinite(value_ns):
        return NO_VALUE
    seconds = round(abs(value_ns) / 1e9)
    if seconds < 600:
        return _scaled(value_ns, _TIME, digits)
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if value_ns < 0 else ""
    return f"{sign}{hours} h {minutes} min" if hours else f"{sign}{minutes} min {rest} s"


def size(value_bytes: Number, digits: int = DIGITS) -> str:
    """Bytes as `64 B`, `1.5 kB`, `2 GB` (decimal)."""
    return _scaled(value_bytes, _SIZE, digits)


def rate(value_bps: Number, digits: int = DIGITS) -> str:
    """Bits per second as `10 Gbit/s` (decimal)."""
    return _scaled(value_bps, _RATE, digits)


def rate_unit(largest_bps: float) -> tuple[float, str]:
    """The scale and the unit in which to draw rates up to `largest_bps`."""
    fitting = [unit for unit in _RATE if largest_bps >= unit[0]]
    return fitting[-1] if fitting else _RATE[0]


def count(value: Number, gap: str = " ") -> str:
    """A whole number in groups of three: `12 345`, with `gap` between; from ten million on `12.3 M`."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    if abs(value) < 10_000_000:
        return f"{round(value):,}".replace(",", gap)
    return _scaled(value, _COUNT, DIGITS)


def tally(value: Number, gap: str = " ") -> str:
    """How many there are on average: `12 345`; below a hundred `0.33`, so that few are not none."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    return count(value, gap) if abs(value) >= 100 or value == round(value) else significant(value)


def counted(number: int, noun: str) -> str:
    """So many of something: `1 flow`, `12,345 flows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: Sequence[str], noun: str, most: int = 3) -> str:
    """Names one after the other: `a, b and c`; of more than `most` how many there are: `7 links`."""
    if len(names) > most:
        return f"{len(names):,} {noun}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plain(value: Number, digits: int = DIGITS) -> str:
    """A number without a unit: `1.42`."""
    return NO_VALUE if value is None else significant(value, digits)


def percent(ratio: Number, *, signed: bool = False, unit: bool = True) -> str:
    """A ratio as `31 %`, `4.2 %`, `0.013 %`; below a millionth of a percent `<0.000001 %`.

    Two significant digits below 10 %, whole percents above. `signed` adds a plus sign.
    """
    if ratio is None or not math.isfinite(ratio):
        return NO_VALUE
    text = units.say_share(ratio).removesuffix(" %")
    if signed and not text.startswith(("-", "<", ">")) and text != "0":
        text = f"+{text}"
    return f"{text} %" if unit else text


def change(ratio: Number) -> str:
    """A relative change as `-31 %`, `+4.2 %`, `0 %`; to a tenth of a percent, tenfold and more as `x12`."""
    if ratio is None or not math.isfinite(ratio):
        return NO_VALUE
    if ratio >= TENFOLD:
        return f"x{significant(1 + ratio, 2)}"
    rounded = round(ratio, 3)
    return percent(rounded + 0.0, signed=True)


def change_interval(low: Number, high: Number, unit: str = "") -> str:
    """The bounds of a change as `-35 to -27`, in percent (said if `unit` is ` %`); empty if there is no interval.

    A bound of tenfold or more is no percentage: `-20 to more than tenfold`.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    if low >= TENFOLD:
        return "more than tenfold"
    first = change(low).removesuffix(" %")
    return (
        f"{first}{unit} to more than tenfold"
        if high >= TENFOLD
        else f"{first} to {change(high).removesuffix(' %')}{unit}"
    )


def span(low: str, high: str, join: str = " to ") -> str:
    """Two formatted quantities as a range, the unit said once if they share it: `812 to 840 us`."""
    number, _, unit = low.rpartition(" ")
    if number and high.endswith(f" {unit}") and not unit[:1].isdigit():
        return f"{number}{join}{high}"
    return f"{low}{join}{high}"
