"""What of a scenario is swept: a field, and the values that it takes, as a list or as a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns, rate_bps, size_bytes, write_duration, write_rate, write_size

MOST_VALUES: Final = 1000
Scalar = str | int | float | bool
_QUANTITIES: Final[tuple[tuple[Callable[[str], int], Callable[[int], str]], ...]] = (
    (rate_bps, write_rate),
    (size_bytes, write_size),
    (duration_ns, write_duration),
)
_KEYS: Final = ("from", "to", "steps", "scale")
_SCALES: Final = ("linear", "log")
_DIGITS: Final = 6
_MOST_NUMBER: Final = 1e15
"""More than any field takes, and little enough that sums and ratios of numbers are exact enough, and finite."""


def values_of(value: object) -> tuple[Scalar, ...]:
    """The values of a list, or of a range `{from, to, steps, scale}`, each once. Raises ValueError."""
    if isinstance(value, dict):
        return _range(value)
    found = value if isinstance(value, list | tuple) else [value]
    if not found:
        raise ValueError("an empty list; give at least one value")
    single = [each for each in found if isinstance(each, str | int | float | bool)]
    if len(single) < len(found):
        (wrong, *_) = [each for each in found if not isinstance(each, str | int | float | bool)]
        raise ValueError(f"{wrong!r} is no single value; a sweep takes texts, numbers, true and false")
    if len(found) > MOST_VALUES:
        raise ValueError(f"{len(found)} values; at most {MOST_VALUES} are supported")
    return tuple({(type(each), each): each for each in single}.values())


def _range(value: dict[str, Any]) -> tuple[Scalar, ...]:
    """Values from one to another: quantities with a unit at equal ratios, numbers at equal distances, unless said."""
    if unknown := [key for key in value if key not in _KEYS]:
        raise ValueError(f"unknown key {unknown[0]!r}; a range has {', '.join(_KEYS)}")
    if missing := [key for key in _KEYS[:3] if key not in value]:
        raise ValueError(f"a range needs {missing[0]}, such as {{ from = 1, to = 4, steps = 4 }}")
    first, last, steps = (value[key] for key in _KEYS[:3])
    if not isinstance(steps, int) or isinstance(steps, bool) or not 2 <= steps <= MOST_VALUES:
        raise ValueError(f"steps must be a whole number from 2 to {MOST_VALUES}")
    scale = value.get("scale", "log" if isinstance(first, str) and not first.endswith("%") else "linear")
    if scale not in _SCALES:
        raise ValueError(f"scale {scale!r}; there are {', '.join(_SCALES)}")
    begin, end, write = _ends(first, last)
    if scale == "log" and not (begin > 0 and end > 0):
        raise ValueError('a range of scale "log" must lie above 0; give scale = "linear"')
    found = []
    for number in range(steps):
        part = number / (steps - 1)
        found.append(begin * (end / begin) ** part if scale == "log" else begin + (end - begin) * part)
    return tuple(dict.fromkeys(write(each) for each in found))


def _ends(first: object, last: object) -> tuple[float, float, Callable[[float], Scalar]]:
    """The bounds as numbers, and how a value between them is written."""
    if isinstance(first, str) and isinstance(last, str):
        if first.endswith("%") and last.endswith("%"):
            try:
                shares = float(first[:-1]), float(last[:-1])
            except ValueError:
                shares = math.nan, math.nan
            if all(abs(each) <= _MOST_NUMBER for each in shares):
                return *shares, lambda each: f"{each:.{_DIGITS}g}%"
        for read, write in _QUANTITIES:
            try:
                begin, end = read(first), read(last)
            except InputError:
                continue
            return float(begin), float(end), lambda each, write=write: write(round(each))
    numbers = [each for each in (first, last) if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) == 2 and not all(abs(each) <= _MOST_NUMBER for each in numbers):
        raise ValueError(f"a range of numbers must lie within -{_MOST_NUMBER:g} and {_MOST_NUMBER:g}")
    if len(numbers) < 2:
        raise ValueError(f"from {first!r} to {last!r} is no range; give two numbers, or two quantities of one kind")
    if all(isinstance(each, int) for each in numbers):
        return float(numbers[0]), float(numbers[1]), round
    return float(numbers[0]), float(numbers[1]), lambda each: float(f"{each:.{_DIGITS}g}")


_SCALAR: Final = {"type": ["string", "number", "boolean"]}
Values = Annotated[
    tuple[Any, ...],
    BeforeValidator(values_of),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MOST_VALUES},
                {
                    "type": "object",
                    "properties": {
                        "from": {"type": ["string", "number"], "description": "first value"},
                        "to": {"type": ["string", "number"], "description": "last value"},
                        "steps": {"type": "integer", "description": "how many values, both ends included"},
                        "scale": {"enum": list(_SCALES), "description": "equal distances, or equal ratios"},
                    },
                    "required": ["from", "to", "steps"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
