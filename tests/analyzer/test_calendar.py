"""The engine's calendar against a sorted list, and rings against a list: order, far events, widths, growth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine import calendar as days
from segcast.analyzer.engine import rings as rounds
from segcast.analyzer.engine.calendar import Calendar, Frame
from segcast.traces.jit import int64, kernel
from tests.support.strategies import Drawn, Seeded
from tests.twins.choosing import Chooser


@kernel
def put(calendar: Calendar, time_ns: int, source: int, packet: int, now_ns: int) -> int:
    return days.put(calendar, time_ns, source, Frame(packet, 60, 1, 2), now_ns)


@kernel
def take(calendar: Calendar) -> int:
    return days.take(calendar)


@kernel
def open_bucket(calendar: Calendar) -> bool:
    return days.open_bucket(calendar)


@kernel
def chain_events(calendar: Calendar, count: int, lead_ns: int) -> int:
    """Take an event and put another, so many times; the last time."""
    now_ns = int64(0)
    for number in range(count):
        if calendar.row[0].begin == calendar.row[0].end:
            days.open_bucket(calendar)
        now_ns = int64(calendar.row[0].next_ns)
        days.take(calendar)
        days.put(calendar, now_ns + lead_ns, int64(0), Frame(number, 60, 1, 2), now_ns)
    return now_ns


@dataclass
class Both:
    """A calendar and a list of (time, source, number of the put)."""

    calendar: Calendar
    listed: list[tuple[int, int, int]] = field(default_factory=list)
    now_ns: int = 10**18
    puts: int = 0

    def put(self, lead_ns: int, source: int) -> None:
        if self.calendar.row["free"][0] == days.END:
            self.calendar = days.grown(self.calendar)
        put(self.calendar, self.now_ns + lead_ns, source, self.puts, self.now_ns)
        self.listed.append((self.now_ns + lead_ns, source, self.puts))
        self.puts += 1

    def take(self) -> None:
        """The next event of both; time goes on to it."""
        row = self.calendar.row[0]
        assert row["pending"] == len(self.listed)
        if not self.listed:
            return
        wanted = min(self.listed)
        self.listed.remove(wanted)
        assert row["next_ns"] <= wanted[0]
        if row["begin"] == row["end"] and not open_bucket(self.calendar):
            self.calendar = days.narrower(self.calendar)
            if self.calendar.row["begin"][0] == self.calendar.row["end"][0]:
                open_bucket(self.calendar)
        assert self.calendar.row["next_ns"][0] == wanted[0]
        event = self.calendar.events[take(self.calendar)]
        assert (int(event["time_ns"]), int(event["source"]), int(event["packet"])) == wanted
        assert (event["bytes"], event["path"], event["hop"]) == (60, 1, 2)
        self.now_ns = wanted[0]

    def let_pass(self, time_ns: int) -> None:
        """Time goes on without an event, at most to the next."""
        self.now_ns = min([self.now_ns + time_ns, *(listed[0] for listed in self.listed)])


def some_days(c: Chooser, steps: int, capacity: int = 4) -> None:
    both = Both(days.empty_calendar(capacity))
    leads = c.pick(((0, 1, 3), (0, 700, 5000), (10**6, 10**9, 3), (0, 1, 10**12), (5, 5, 5)))
    last: dict[int, int] = {}
    for _ in range(steps):
        what = c.pick(("put", "put", "put", "take", "take", "pass", "tune"))
        if what == "put":
            source = c.integer(0, 3)  # whose events are put in order of time
            at_ns = max(last.get(source, 0), both.now_ns + c.pick(leads) + c.integer(0, 2))
            last[source] = at_ns
            both.put(at_ns - both.now_ns, source)
        elif what == "take":
            both.take()
        elif what == "pass":
            both.let_pass(c.pick((1, 1000, 10**7)))
        else:
            shift, buckets = c.pick((0, 3, 10, 30)), c.pick((1 << 10, 1 << 11))
            both.calendar = days.retuned(both.calendar, shift, buckets)
    while both.listed:
        both.take()
    assert both.calendar.row["next_ns"][0] == days.NEVER_NS


@pytest.mark.parametrize("seed", range(60))
def test_events_come_in_order(seed: int) -> None:
    some_days(Seeded(seed), 800)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_drawn_events_come_in_order(data: st.DataObject) -> None:
    some_days(Drawn(data.draw), data.draw(st.integers(1, 60)))


@pytest.mark.parametrize("count", [10, 30, 511, 3000])
def test_a_bucket_of_many_is_sorted(count: int) -> None:
    """By insertion, by merging, and in narrower buckets; equals stay in order."""
    both, c = Both(days.retuned(days.empty_calendar(4096), 20, 1 << 10)), Seeded(count)
    for _ in range(count):
        both.put(c.integer(0, 200), 7)
    both.listed = sorted(both.listed)
    while both.listed:
        both.take()
    assert both.calendar.row["shift"][0] < 20 or count <= days.MOST_IN_BUCKET


def test_events_without_a_source_are_given_back() -> None:
    both = Both(days.empty_calendar(8))
    for source in range(4):
        both.put(100, source)
    both.calendar.events["source"][both.calendar.events["source"] == 2] = -1
    both.calendar.events["time_ns"][both.calendar.events["source"] == 3] = both.now_ns + 50
    both.listed = [(both.now_ns + 100, 0, 0), (both.now_ns + 100, 1, 1), (both.now_ns + 50, 3, 3)]
    both.calendar = days.with_times_of_now(both.calendar)
    while both.listed:
        both.take()


@pytest.mark.parametrize(("wanted", "shifts", "most"), [(days.ALONE, (5, 6), 2), (days.A_FEW, (7, 8), 6)])
def test_widths_follow_what_is_seen(wanted: tuple[float, float], shifts: tuple[int, int], most: int) -> None:
    """From buckets much too wide and much too narrow to ones that hold as many as wanted; far ones get more buckets."""
    for shift, lead_ns in ((30, 1000), (0, 1000), (4, 10**6)):
        calendar = days.retuned(days.empty_calendar(64), shift, 1 << 10)
        for k in range(20):
            put(calendar, k * 50, 0, k, 0)
        for _ in range(40):
            chain_events(calendar, 2000, lead_ns)
            calendar = days.tuned(calendar, wanted)
        chain_events(calendar, 2000, lead_ns)
        row = calendar.row[0]
        assert shifts[0] <= row["shift"] <= shifts[1]  # events come 50 ns apart
        assert row["events_opened"] < most * row["buckets_opened"]
        assert row["put_later"] * 64 <= row["events_opened"]
    assert days.tuned(days.empty_calendar(4)).row["shift"][0] == 10


@pytest.mark.parametrize("seed", range(30))
def test_rings_hold_what_has_not_left(seed: int) -> None:
    c = Seeded(seed)
    held = rounds.empty_rings(3)
    lists: list[list[tuple[int, int, int]]] = [[], [], []]
    inflight, owed = np.full(4, 10**6), [10**6] * 4
    now = [0, 0, 0]
    for _ in range(4000):
        ring = c.integer(0, 2)
        if c.integer(0, 30) or ring == 2:
            now[ring] += c.integer(0, 3)
            entry = (now[ring] + 40, c.integer(40, 1500), c.integer(0, 3))
            lists[ring].append(entry)
            if rounds.append(held, ring, *entry):
                kind = int(ring == 1)
                if ring == 1:
                    rounds.release(held, ring, now[ring], inflight)
                else:
                    rounds.leave(held, ring, now[ring])
                gone = [e for e in lists[ring] if e[0] <= now[ring]]
                lists[ring] = lists[ring][len(gone) :]
                if ring == 1:
                    for _, size, counter in gone:
                        owed[counter] -= size
                rounds.make_room(held, ring, kind)
                if held.wanted.max() >= 0:
                    held = rounds.grown(held)
        else:
            gone = [e for e in lists[ring] if e[0] <= now[ring]]
            lists[ring] = lists[ring][len(gone) :]
            if ring == 1:
                rounds.release(held, ring, now[ring], inflight)
                for _, size, counter in gone:
                    owed[counter] -= size
            else:
                assert rounds.leave(held, ring, now[ring]) == sum(size for _, size, _ in gone)
        assert inflight.tolist() == owed
        row = held.rings[ring]
        numbers = np.arange(row["first"], row["next"])
        entries = held.entries[row["begin"] + (numbers & row["mask"])]
        assert [tuple(entry.tolist()) for entry in entries] == lists[ring]
    assert len(lists[2]) > 0 and held.rings[2]["mask"] < 4096
