"""Captures as files, and what our reader makes of them in the words of the twin."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.support.decoding import read_all
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.writing import Captured

# Real captures that are not part of the repository; tests that want them are skipped without.
FOLDER = Path(os.environ.get("SEGCAST_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(path: Path | str, **sizes: int) -> tuple[list[Record], int | None]:
    rows, damage = read_all(path, **sizes)
    return [record for record, _ in rows], damage


def some_capture(frames: int = 500) -> bytes:
    return writing.pcap([Captured(10**15 + i, 1500, bytes([i % 251]) * (i % 70)) for i in range(frames)], 101)
