"""How the own sender keeps time, on a clock that the tests move; and what captures say of a schedule that was kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segcast.replay.inject import absolute
from segcast.replay.inject.absolute import MOST_OVERDUE_NS, Punctuality, frames, send
from segcast.replay.inject.departed import compared, kept
from segcast.replay.inject.files import busiest_pps
from tests.support.beds import rewritten
from tests.twins import injecting

MS = 1_000_000
START = 10**18
COST_NS = 2_000
gaps = st.lists(st.one_of(st.just(0), st.integers(0, 50_000), st.integers(0, 30 * MS)), min_size=1, max_size=40)


class Machine:
    """A clock that goes on as it is read, and a wire that notes what is sent; `stalls`: at which packet, how long."""

    def __init__(self, stalls: dict[int, int]) -> None:
        self.now_ns = START - 5 * MS
        self.stalls = dict(stalls)
        self.left: list[int] = []
        self.naps: list[tuple[int, float]] = []

    def time_ns(self) -> int:
        self.now_ns += 100
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.naps.append((self.now_ns, seconds))
        self.now_ns += round(seconds * 1e9) + 15_000

    def send(self, frame: memoryview) -> None:
        self.left.append(self.now_ns)
        self.now_ns += COST_NS + self.stalls.pop(len(self.left) - 1, 0)


def sent(schedule: Sequence[int], stalls: dict[int, int], *, real_time: bool = True) -> tuple[Machine, Punctuality]:
    machine, kept_ = Machine(stalls), Punctuality()
    wire: Any = machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absolute, "time", SimpleNamespace(time_ns=machine.time_ns, sleep=machine.sleep))
        rows = [(7 * 10**17 + time_ns, 0, 0, 64) for time_ns in schedule]
        counts = [0], [0]
        view = memoryview(bytes(64))
        send(rows, START, [view], [wire], real_time=real_time, sent=counts[0], failed=counts[1], kept=kept_)
    assert counts == ([len(schedule)], [0])
    return machine, kept_


@settings(deadline=None)
@given(gaps, st.dictionaries(st.integers(0, 39), st.integers(0, 60 * MS), max_size=4), st.booleans())
@example([20_000] * 39, {3: 8 * MS}, True)
@example([20_000] * 39, {3: 12 * MS, 20: 12 * MS}, True)
def test_what_is_overdue_is_never_sent_at_once(wanted: list[int], stalls: dict[int, int], real_time: bool) -> None:
    schedule = [0, *itertools.accumulate(wanted)]
    machine, kept_ = sent(schedule, stalls, real_time=real_time)
    assert machine.left[0] - START >= 0
    for gap, (before, after) in zip(wanted, itertools.pairwise(machine.left), strict=True):
        assert after - before >= gap // 2
    for planned, left in zip(schedule, machine.left, strict=True):
        assert left - START >= planned
        assert left - START - planned <= kept_.shifted_ns + kept_.latest_ns + 2 * MS
    if not stalls and min(wanted) > 4 * COST_NS:
        assert (kept_.late, kept_.shifts) == (0, 0)


def test_a_short_stall_is_caught_up_with_and_a_long_one_moves_the_rest() -> None:
    schedule = [n * 100_000 for n in range(1000)]
    late = [
        left - START - planned for planned, left in zip(schedule, sent(schedule, {100: 5 * MS})[0].left, strict=True)
    ]
    assert max(late[:101]) < 120_000  # with a pause
    assert late[101] > 4 * MS
    assert max(late[300:]) < 120_000
    machine, kept_ = sent(schedule, {100: 30 * MS})
    late = [left - START - planned for planned, left in zip(schedule, machine.left, strict=True)]
    assert kept_.shifts == 1
    assert MOST_OVERDUE_NS < kept_.shifted_ns < 30 * MS
    assert all(abs(each - kept_.shifted_ns) < 120_000 for each in late[102:])
    assert (kept_.late, kept_.latest_ns) == (1, kept_.shifted_ns)


def test_real_time_pauses_before_the_kernel_makes_it() -> None:
    """Of a second a tenth is left to others; who needs no favour never pauses."""
    schedule = [n * 20_000 for n in range(20_000)]
    machine, kept_ = sent(schedule, {})
    pauses = [at for at, seconds in machine.naps if seconds == absolute._PAUSE_S]
    assert max(after - before for before, after in itertools.pairwise(pauses)) < 1.2 * MS
    assert sum(seconds for _, seconds in machine.naps[1:]) > 0.07 * 0.4
    assert kept_.late == 0
    assert len(sent(schedule, {}, real_time=False)[0].naps) == 1


def test_gaps_that_have_room_are_slept_in_before_a_pause_is_due() -> None:
    """Gaps of 110 us, in which packets are waited for: a nap in some costs nothing, so no pause makes one late."""
    schedule = [n * 110_000 for n in range(5_000)]
    machine, kept_ = sent(schedule, {})
    assert not any(seconds == absolute._PAUSE_S for _, seconds in machine.naps)
    assert len(machine.naps) > 5_000 * 110_000 // absolute._STINT_NS
    late = [left - START - planned for planned, left in zip(schedule, machine.left, strict=True)]
    assert (max(late), kept_.late) < (5_000, 1)


def test_frames_are_those_of_the_capture(tmp_path: Path) -> None:
    rows = [(START + n * 17, bytes([n]) * (60 + n)) for n in range(5)]
    file = rewritten(tmp_path / "r", {"10.0.0.1": rows}) / "10.0.0.1.pcap"
    content: Any = file.read_bytes()
    assert [(time, content[first:last]) for time, _, first, last in frames(content, 3)] == rows
    with pytest.raises(SystemExit, match="file 1 is no nanosecond pcap"):
        list(frames(b"\xd4" + content[1:], 0))


@given(st.lists(st.integers(0, 400 * MS), min_size=1, max_size=50).map(sorted))
def test_the_busiest_windows_begin_anywhere(times: list[int]) -> None:
    fullest = [
        max(sum(1 for time in times if begin <= time < begin + width) for begin in times) * (10**9 // width)
        for width in (MS, 10 * MS, 100 * MS)
    ]
    assert list(busiest_pps(np.array(times, np.int64))) == fullest


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * MS), st.integers(0, 3)), min_size=1, max_size=30), st.data())
def test_departures_are_compared_with_the_plan(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Equal frames are told apart by their order; frames of others do not count, nor do lost ones."""
    folder = tmp_path_factory.mktemp("kept")
    plan = sorted((START + at, bytes([kind]) * (60 + kind % 2)) for at, kind in rows)
    delays = data.draw(st.lists(st.integers(0, MS), min_size=len(plan), max_size=len(plan)).map(sorted))
    seen = [(at + 30 * MS + delay, frame) for (at, frame), delay in zip(plan, delays, strict=True)]
    lost = data.draw(st.integers(0, len(plan) - 1)) if len({frame for _, frame in plan}) == len(plan) > 1 else None
    arrived = [row for number, row in enumerate(seen) if number != lost]
    others = [(START, b"\xff" * 70), (START + 31 * MS, b"\xee" * 60)]
    rewritten(folder / "r", {"10.0.0.1": plan, "10.0.0.2": sorted([*arrived, *others], key=lambda row: row[0])})
    found = kept(folder / "r" / "10.0.0.1.pcap", folder / "r" / "10.0.0.2.pcap", 0)
    pairs = [pair for number, pair in enumerate(zip(plan, seen, strict=True)) if number != lost]
    assert found == injecting.kept([(before[0], after[0]) for before, after in pairs])


def test_a_capture_that_shows_nothing_says_nothing(tmp_path: Path) -> None:
    folder = rewritten(tmp_path / "r", {"10.0.0.1": [(START, bytes(60))], "10.0.0.2": [(START, bytes(61))]})
    assert set(kept(folder / "10.0.0.1.pcap", folder / "10.0.0.2.pcap", 0)) == {None}
    assert set(kept(folder / "10.0.0.1.pcap", folder / "none.pcap", 0)) == {None}
    one = np.array([5], np.int64)
    assert compared(one, one + 7) == (7, None, 0, 0)
