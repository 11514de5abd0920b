"""Merges captures by time the obvious way: the next record with the smallest time, of equal ones the first file's."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from tests.twins.captures import Record


def merge(captures: Sequence[Sequence[Record]]) -> list[tuple[int, Record]]:
    """(file, record) in order; a record without time is at 0. `heapq.merge` looks at the next of each only, too."""
    numbered = [[(file, record) for record in records] for file, records in enumerate(captures)]
    return list(heapq.merge(*numbered, key=lambda entry: entry[1].time_ns or 0))
