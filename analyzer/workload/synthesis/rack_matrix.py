"""Reads how much racks send to each other: a square of weights, as CSV or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.disk.bounded import read_bounded_text
from segcast.traces.errors import InputError

_MOST_RACKS: Final = 4096


def read_matrix(file: Path) -> NDArray[np.float64]:
    """Weights float64[racks, racks], from row to column. Raises InputError.

    CSV: a line a row, no header. JSON: a list of rows, or {"matrix": rows}, in which rows may be in an "inner", too.
    """
    try:
        text = read_bounded_text(file)
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not text; a matrix of racks is CSV or JSON") from None
    except OSError as error:
        raise InputError(f"{file}: cannot read the matrix of racks: {error.strerror}") from None
    rows = _of_json(file, text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text)
    if not rows or len(rows) > _MOST_RACKS:
        raise InputError(f"{file}: has {len(rows):,} rows; a matrix of racks has 1 to {_MOST_RACKS:,}")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(rows):
            found = len(row) if isinstance(row, list) else 1
            raise InputError(f"{file}: row {number + 1} has {found} weights, and there are {len(rows)} rows")
        for place, value in enumerate(row):
            weight = _weight(value)
            if weight is None:
                raise InputError(
                    f"{file}: row {number + 1}: weight {place + 1} is {str(value)[:40]!r}, no number from 0 on"
                )
            row[place] = weight
    matrix = np.array(rows, np.float64)
    if not 0 < matrix.sum() < 1e300:
        raise InputError(f"{file}: its weights add up to {matrix.sum():g}")
    return matrix


def _weight(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        weight = float(value)
    except (ValueError, OverflowError):
        return None
    return weight if 0 <= weight < 1e300 else None


def _of_csv(text: str) -> list[Any]:
    return [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.strip()]


def _of_json(file: Path, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON: {str(error).partition(chr(10))[0]}") from None
    for key in ("matrix", "inner"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    if not isinstance(found, list):
        raise InputError(f'{file}: is no list of rows, nor {{"matrix": rows}}')
    return found
