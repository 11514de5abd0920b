"""The calendar of events to come: buckets of time, of which the present one is sorted and worked off.

A calendar queue (Brown, CACM 1988): an event lies in the bucket of its time, a bucket is sorted once when its time
comes, and what comes later than all buckets waits beside them. Events are in order of time, then of the rank of their
source (a link, or an acknowledgement queue), then as they were put, whatever the width of a bucket; the width decides
on speed alone.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.keys import KEY, insert_by_key, sort_by_key
from segcast.analyzer.engine.ties import rank_of
from segcast.traces.jit import allocating, at, inlined, int64, kernel

NEVER_NS: Final = np.iinfo(np.int64).max
END: Final = -1
MOST_IN_BUCKET: Final = 512  # with more at once a narrower bucket pays, since what is put into the present one is moved
WIDEST: Final = 30  # log2 of ns
NUMBERS: Final = 0xFFFFFFFF  # of packets, as events have them

ALONE: Final = (1.02, 1.15)  # events in a bucket: with fewer buckets get wider, with more narrower
A_FEW: Final = (2.5, 6.0)  # where what a bucket's events need is fetched when it is opened
_MANY: Final = 1 << 14  # events: then room grows by an eighth
_LEAST_BUCKETS: Final = 1 << 10
_MOST_BUCKETS: Final = 1 << 18

EVENT: Final = np.dtype(
    [
        ("time_ns", np.int64),
        ("packet", np.uint32),
        ("next", np.int32),
        ("source", np.int32),
        ("bytes", np.int32),
        ("spare", np.int32),
        ("path", np.uint16),
        ("hop", np.uint16),
    ],
    align=True,
)
"""An event: the frame of a packet (its number modulo 2**32) on a path, at link number `hop` of its way.

`next` chains those of a bucket, the last first, and those that are free.
"""


class Frame(NamedTuple):
    """What an event is about."""

    packet: int
    bytes: int
    path: int
    hop: int


CALENDAR: Final = np.dtype(
    [
        ("next_ns", np.int64),
        ("shift", np.int64),
        ("present", np.int64),
        ("begin", np.int64),
        ("end", np.int64),
        ("free", np.int64),
        ("pending", np.int64),
        ("following", np.int64),
        ("later", np.int64),
        ("later_bucket", np.int64),
        ("buckets_opened", np.int64),
        ("events_opened", np.int64),
        ("put_later", np.int64),
        ("bare", np.int64),
        ("hashes", np.int64),
        ("tie_key", np.uint64),
        ("tie_from_ns", np.int64),
        ("links", np.int64),
    ],
    align=True,
)
"""One row: no event is before `next_ns`; buckets are 2**`shift` ns wide, and number `present` is being worked off: the
sorted events from `begin` to `end`. `free` heads the chain of free events, `pending` are in use. `following` is the
next bucket with events if the present one is done. Events after all buckets chain from `later`, the first of them in
bucket `later_bucket`. `buckets_opened`, `events_opened` and `put_later` count since the width was chosen. An event
that is alone in its bucket is `bare`: its key has no rank. If ties between links are broken by `hashes`, these are of
`tie_key` and of times from `tie_from_ns` on, before which nothing happens."""


class Calendar(NamedTuple):
    """`events` EVENT[capacity], `heads` int32[buckets], `filled` uint64[buckets / 64]: a bit for each with events.

    `order` KEY[capacity] is the present bucket, sorted, `row` CALENDAR[1].
    """

    events: NDArray[np.void]
    heads: NDArray[np.int32]
    filled: NDArray[np.uint64]
    order: NDArray[np.void]
    row: NDArray[np.void]


def empty_calendar(capacity: int) -> Calendar:
    """A calendar without events, that has room for `capacity`."""
    events = np.zeros(capacity, EVENT)
    events["next"] = np.arange(1, capacity + 1, dtype=np.int32)
    events["next"][-1] = END
    row = np.zeros(1, CALENDAR)
    row["next_ns"] = NEVER_NS
    row["shift"] = 10
    row["later"] = END
    row["later_bucket"] = NEVER_NS
    buckets = _LEAST_BUCKETS
    return Calendar(
        events, np.full(buckets, END, np.int32), np.zeros(buckets // 64, np.uint64), np.zeros(capacity, KEY), row
    )


def grown(calendar: Calendar) -> Calendar:
    """The calendar, which is used up, with room for twice as many events, or an eighth more if they are many.

    Of the order only what the present bucket holds is touched, so the rest of it takes no memory.
    """
    old = len(calendar.events)
    size = old + (old // 8 if old >= _MANY else old)
    events = _longer(calendar.events, size)
    order = np.zeros(size, KEY).view(type(calendar.order))
    present = slice(int(calendar.row["begin"][0]), int(calendar.row["end"][0]))
    order[present] = calendar.order[present]
    events["next"][old:] = np.arange(old + 1, size + 1, dtype=np.int32)
    events["next"][-1] = calendar.row["free"][0]
    calendar.row["free"] = old
    return calendar._replace(events=events, order=order)


def _longer(rows: NDArray[np.void], size: int) -> NDArray[np.void]:
    """The same rows and more; if they own their memory they stay where they are, or leave nothing behind."""
    if rows.flags.owndata:
        rows.resize(size, refcheck=False)  # who gave them has no other use for them
        return rows
    longer = np.zeros(size, rows.dtype)
    longer[: len(rows)] = rows
    return longer if type(rows) is np.ndarray else longer.view(type(rows))


def retuned(calendar: Calendar, shift: int, buckets: int) -> Calendar:
    """The calendar with so many buckets 2**`shift` ns wide, each event where its time belongs now.

    Those of a source that are pending stay in order; those without a source are given back.
    """
    row = calendar.row[0]
    pending = np.empty(int(row["pending"]), np.int64)
    _gather(calendar, pending)
    now_ns = int(row["present"]) << int(row["shift"])
    row["shift"] = min(max(shift, 0), WIDEST)
    row["present"] = (now_ns >> int(row["shift"])) - 1
    row["begin"] = row["end"] = row["buckets_opened"] = row["events_opened"] = row["put_later"] = 0
    row["later"], row["later_bucket"], row["next_ns"] = END, NEVER_NS, NEVER_NS
    calendar = calendar._replace(heads=np.full(buckets, END, np.int32), filled=np.zeros(buckets // 64, np.uint64))
    _put_all(calendar, pending)
    return calendar


def narrower(calendar: Calendar) -> Calendar:
    """The calendar with buckets an eighth as wide, or 1 ns."""
    return retuned(calendar, max(int(calendar.row["shift"][0]) - 3, 0), len(calendar.heads))


def with_times_of_now(calendar: Calendar) -> Calendar:
    """The calendar once times of events have changed, or events have lost their source."""
    return retuned(calendar, int(calendar.row["shift"][0]), len(calendar.heads))


def tuned(calendar: Calendar, events_wanted: tuple[float, float] = ALONE) -> Calendar:
    """The calendar with buckets so wide that most hold so many events, and so many that few come after them all.

    It goes by what was opened since the last choice. Empty buckets cost little: a bit each.
    """
    row, buckets = calendar.row[0], len(calendar.heads)
    opened, events = max(int(row["buckets_opened"]), 1), int(row["events_opened"])
    if events < 64:
        return calendar
    shift = int(row["shift"])
    least, most = events_wanted
    if events > most * opened:
        shift -= max(round(math.log2(events / opened / least) + 1), 1)
    elif events < least * opened:
        shift += 1
    if 64 * int(row["put_later"]) > events:
        buckets *= 4
    shift, buckets = min(max(shift, 0), WIDEST), min(buckets, _MOST_BUCKETS)
    same = shift == row["shift"] and buckets == len(calendar.heads)
    return calendar if same else retuned(calendar, shift, buckets)


@kernel
def _chain(
    calendar: Calendar,
    head: int,
    into: NDArray[np.int64],
    count: int,
) -> int:
    """Write the events of a chain from `into[count]` on, in the order in which they were put; the new count."""
    events = calendar.events
    first = count
    while head != END:
        into[count] = head
        count += 1
        head = int64(events[at(head)].next)
    low, high = first, count - 1
    while low < high:
        into[low], into[high] = into[high], into[low]
        low += 1
        high -= 1
    return count


@kernel
def _gather(
    calendar: Calendar,
    into: NDArray[np.int64],
) -> None:
    """Write all pending events so that those of each source are in order."""
    heads, order, row = calendar.heads, calendar.order, calendar.row
    count = int64(0)
    for place in range(row[0].begin, row[0].end):
        into[count] = order[at(place)].event
        count += 1
    buckets = heads.size
    for step in range(1, buckets + 1):
        count = _chain(calendar, int64(heads[(row[0].present + step) & (buckets - 1)]), into, count)
    _chain(calendar, int64(row[0].later), into, count)


@kernel
def _put_all(
    calendar: Calendar,
    pending: NDArray[np.int64],
) -> None:
    events, row = calendar.events, calendar.row
    for k in range(pending.size):
        event = pending[k]
        if events[at(event)].source >= 0:
            _place(calendar, event)
        else:
            events[at(event)].next = row[0].free
            row[0].free = event
            row[0].pending -= 1


@inlined
def _place(
    calendar: Calendar,
    event: int,
) -> None:
    """Put an event, which is not in the present bucket or before it, where its time belongs."""
    events, heads, filled, row = calendar.events, calendar.heads, calendar.filled, calendar.row
    bucket = int64(events[at(event)].time_ns) >> int64(row[0].shift)
    if bucket - row[0].present < heads.size and bucket < row[0].later_bucket:
        slot = bucket & (heads.size - 1)
        events[at(event)].next = heads[at(slot)]
        heads[at(slot)] = event
        filled[at(slot >> 6)] |= np.uint64(1) << np.uint64(slot & 63)
    else:
        events[at(event)].next = row[0].later
        row[0].later = event
        row[0].put_later += 1
        row[0].later_bucket = min(int64(row[0].later_bucket), bucket)
    if row[0].begin == row[0].end:
        begins_ns = bucket << int64(row[0].shift)
        if begins_ns < row[0].next_ns:
            row[0].next_ns = begins_ns
            row[0].following = bucket


@inlined
def _key_of(calendar: Calendar, event: int, begins_ns: int) -> int:
    """The key of an event of the bucket that begins then; see KEY."""
    time_ns = int64(calendar.events[at(event)].time_ns)
    return ((time_ns - begins_ns) << 32) + rank_of(calendar.row, time_ns, int64(calendar.events[at(event)].source))


@inlined
def put(calendar: Calendar, time_ns: int, source: int, frame: Frame, now_ns: int) -> int:
    """Put an event at `time_ns`, which is `now_ns` or later; there is room. Returns its place."""
    events, row = calendar.events, calendar.row
    event = int64(row[0].free)
    row[0].free = events[at(event)].next
    events[at(event)].time_ns = time_ns
    events[at(event)].packet = np.uint32(frame.packet)
    events[at(event)].source = source
    events[at(event)].bytes = frame.bytes
    events[at(event)].path = frame.path
    events[at(event)].hop = frame.hop
    shift = int64(row[0].shift)
    if row[0].pending == 0:
        row[0].present = (now_ns >> shift) - 1
    row[0].pending += 1
    if time_ns >> shift > row[0].present:
        _place(calendar, event)
    else:
        _insert(calendar, event)
    return event


@kernel
def _insert(
    calendar: Calendar,
    event: int,
) -> None:
    """Put an event into the present bucket, behind all that are not after it."""
    order, row = calendar.order, calendar.row
    begins_ns = int64(row[0].present) << int64(row[0].shift)
    key = _key_of(calendar, event, begins_ns)
    begin, end = int64(row[0].begin), int64(row[0].end)
    if row[0].bare:
        row[0].bare = 0
        if begin < end:
            order[at(begin)].key = _key_of(calendar, int64(order[at(begin)].event), begins_ns)
    if end == order.size:  # there is room in front
        for place in range(begin, end):
            order[at(place - begin)].key = order[at(place)].key
            order[at(place - begin)].event = order[at(place)].event
        begin, end = int64(0), end - begin
        row[0].begin = begin
    insert_by_key(order, begin, end, key, event)
    row[0].end = end + 1
    row[0].events_opened += 1
    row[0].next_ns = begins_ns + (int64(order[at(begin)].key) >> 32)


@inlined
def take(calendar: Calendar) -> int:
    """The next event of the present bucket, which is given back but keeps what it holds until another is put."""
    events, order, row = calendar.events, calendar.order, calendar.row
    place = int64(row[0].begin)
    event = int64(order[at(place)].event)
    events[at(event)].next = row[0].free
    row[0].free = event
    row[0].pending -= 1
    row[0].begin = place + 1
    if place + 1 < row[0].end:
        row[0].next_ns = (int64(row[0].present) << int64(row[0].shift)) + (int64(order[at(place + 1)].key) >> 32)
    else:
        row[0].begin = row[0].end = 0
        _seek(calendar)
    return event


@inlined
def _seek(calendar: Calendar) -> None:
    """Find the next bucket with events, the present one being done."""
    heads, filled, row = calendar.heads, calendar.filled, calendar.row
    if row[0].pending == 0:
        row[0].next_ns = NEVER_NS
        return
    first = int64(row[0].present) + 1
    buckets = heads.size
    slot = first & (buckets - 1)
    word = slot >> 6
    bits = filled[at(word)] >> np.uint64(slot & 63) << np.uint64(slot & 63)
    following = int64(NEVER_NS)
    for _ in range(filled.size + 1):
        if bits != 0:
            found = (word << 6) + _lowest_bit(bits)
            following = first + ((found - slot) & (buckets - 1))
            break
        word = (word + 1) & (filled.size - 1)
        bits = filled[at(word)]
    following = min(following, int64(row[0].later_bucket))
    row[0].following = following
    row[0].next_ns = following << int64(row[0].shift)


_DE_BRUIJN: Final = np.uint64(0x03F79D71B4CB0A89)
_PLACES: Final = np.zeros(64, np.int64)
_PLACES[[((int(_DE_BRUIJN) << bit) & (1 << 64) - 1) >> 58 for bit in range(64)]] = np.arange(64)


@kernel
def _lowest_bit(bits: np.uint64) -> int:
    """The place of the lowest bit that is set, by a multiplication (de Bruijn)."""
    low = bits & (~bits + np.uint64(1))
    return int64(_PLACES[(low * _DE_BRUIJN) >> np.uint64(58)])


@inlined
def open_bucket(calendar: Calendar) -> bool:
    """Sort the next bucket with events; the present one is done, and there is another. Whether it is not too full."""
    events, heads, filled, order, row = calendar.events, calendar.heads, calendar.filled, calendar.order, calendar.row
    row[0].present = row[0].following
    if row[0].later_bucket <= row[0].present:
        _draw_near(calendar)
    slot = int64(row[0].present) & (heads.size - 1)
    begins_ns = int64(row[0].present) << int64(row[0].shift)
    event = int64(heads[at(slot)])
    heads[at(slot)] = END
    filled[at(slot >> 6)] &= ~(np.uint64(1) << np.uint64(slot & 63))
    row[0].buckets_opened += 1
    row[0].begin = 0
    if events[at(event)].next == END:  # alone, as most are
        order[0].key = (int64(events[at(event)].time_ns) - begins_ns) << 32
        order[0].event = event
        row[0].bare = 1
        row[0].end = 1
        row[0].next_ns = events[at(event)].time_ns
        row[0].events_opened += 1
        return True
    row[0].bare = 0
    return _sort_bucket(calendar, event, begins_ns)


@kernel
def _sort_bucket(calendar: Calendar, event: int, begins_ns: int) -> bool:
    """Sort the bucket of a chain of events; whether it is not too full."""
    events, order, row = calendar.events, calendar.order, calendar.row
    count = int64(0)
    while event != END:
        order[at(count)].key = _key_of(calendar, event, begins_ns)
        order[at(count)].event = event
        count += 1
        event = int64(events[at(event)].next)
    low, high = int64(0), count - 1
    while low < high:  # as they were put
        order[at(low)].key, order[at(high)].key = order[at(high)].key, order[at(low)].key
        order[at(low)].event, order[at(high)].event = order[at(high)].event, order[at(low)].event
        low += 1
        high -= 1
    sort_by_key(order, count)
    row[0].end = count
    row[0].next_ns = begins_ns + (int64(order[0].key) >> 32)
    row[0].events_opened += count
    return bool(count <= MOST_IN_BUCKET or row[0].shift == 0)


@allocating
def _draw_near(calendar: Calendar) -> None:
    """Put those of the later events into buckets that have one now."""
    row = calendar.row
    kept = np.empty(row[0].pending, np.int64)
    count = _chain(calendar, int64(row[0].later), kept, int64(0))
    row[0].later = END
    row[0].later_bucket = NEVER_NS
    row[0].present -= 1  # so that its own bucket is one to come
    for k in range(count):
        _place(calendar, kept[k])
    row[0].present += 1
