"""Messages as the kernel tells them, against the slow twin: of connections that make sense, and of such that do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.workload.recorded.listing import streams_apart
from segcast.analyzer.workload.recorded.messages import find_messages
from segcast.analyzer.workload.recorded.state import MESSAGE, NO_ROW, Batch, new_book
from tests.support.talking import ACK, FIN, MS, PSH, SYN, Turn, Way, talk
from tests.twins.exchanges import Packet, exchange


def compare(packets: Sequence[Packet], path_ns: tuple[int, int], room: int = 4) -> None:
    """The kernel and the twin tell the same of one connection, also if room runs out time and again."""
    whole = np.array([None not in (p.seq, p.ack, p.flags) for p in packets], np.bool_)
    columns = [
        np.array([getattr(p, name) or 0 for p in packets], kind)
        for name, kind in (
            ("time_ns", np.int64), ("side", np.uint32), ("seq", np.uint32), ("ack", np.uint32),
            ("payload", np.uint32), ("ip_id", np.uint32), ("window", np.uint16), ("flags", np.uint8),
        )
    ]  # fmt: skip
    batch = Batch(*columns, whole)  # type: ignore[arg-type]
    book = new_book(np.array([0, 1]), np.array(path_ns))
    messages, reached = np.zeros(room, MESSAGE), 0
    while (reached := find_messages(book, batch, messages, reached)) < len(packets):
        messages = np.append(messages, np.zeros(len(messages), MESSAGE))
    twin = exchange(packets, path_ns)
    assert (twin is None) == bool(book.connection["fault"][0])
    if twin is None:
        return
    found = streams_apart(messages[: int(book.tally["messages"][0])], book.connection["crossing"])
    shift = int(book.connection["shift_ns"][0])
    rows = [[int(value) for value in row] for row in found[["side", "bytes", "after", "think_ns", "seen_ns"]].tolist()]
    for side in (0, 1):
        mine = [row for row in rows if row[0] == side]
        assert [(row[1], row[3], row[4] - shift) for row in mine] == [
            (m.size, m.think_ns, m.start_ns) for m in twin[side]
        ]
        for row, message in zip(mine, twin[side], strict=True):
            assert (row[2] == NO_ROW) == (message.after is None)
            if message.after is not None:
                other = [place for place, each in enumerate(rows) if each[0] == message.after.side]
                assert row[2] == other[[m is message.after for m in twin[message.after.side]].index(True)]


@st.composite
def odd_packets(draw: st.DrawFn) -> list[Packet]:
    """Packets of a connection that need make no sense, about where sequence numbers wrap."""
    origin = [draw(st.sampled_from([0, 2**32 - 3_000, 2**31 - 50])) for _ in (0, 1)]
    packets, now, ids = [], 0, [65_530, 7]
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0, 1, MS, 5 * MS, 30 * MS, 99 * MS, 100 * MS, 250 * MS, -MS]))
        side = draw(st.integers(0, 1))
        steps = st.sampled_from([0, 1, 2, 100, 101, 200, 1_000, 1_448, 2_896, 4_344])
        seq, ack = origin[side] + draw(steps), origin[1 - side] + draw(steps)
        odd = draw(st.integers(0, 60))
        if odd == 60:
            seq += draw(st.sampled_from([2**30, 2**31]))
        flags = draw(st.sampled_from([ACK, ACK, ACK | PSH, ACK | PSH, SYN, SYN | ACK, ACK | FIN, 4, 0]))
        payload = draw(st.sampled_from([0, 0, 1, 100, 1_000, 1_448]))
        window = draw(st.sampled_from([500, 500, 500, 0]))
        ids[side] += draw(st.sampled_from([1, 1, 1, 1, 1, 2, 3, 0, 5]))
        numbers = seq % 2**32, ack % 2**32, None if odd == 59 else flags
        packets.append(Packet(now, side, *numbers, payload, window, ids[side] % 2**16))
    return packets


@given(odd_packets(), st.tuples(*[st.sampled_from([0, MS, 8 * MS, 30 * MS])] * 2))
@settings(max_examples=400, deadline=None)
def test_odd_packets_are_told_as_by_the_twin(packets: list[Packet], path_ns: tuple[int, int]) -> None:
    compare(packets, path_ns)


@st.composite
def talks(draw: st.DrawFn) -> tuple[list[Turn], Way]:
    sizes, thinks = st.sampled_from([1, 200, 1_448, 3_000, 30_000]), st.sampled_from([0, MS, 30 * MS, 150 * MS])
    turns = draw(st.lists(st.builds(Turn, st.integers(0, 1), sizes, thinks), min_size=1, max_size=8))
    way = Way(
        draw(st.sampled_from([0, MS, 20 * MS])),
        draw(st.sampled_from([0.0, 0.05, 0.2])),
        draw(st.sampled_from([0.0, 0.5, 1.0])),
        draw(st.integers(0, 1 << 30)),
        pushes=draw(st.booleans()),
    )
    return turns, way


@given(talks())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_talks_are_told_as_by_the_twin(case: tuple[list[Turn], Way]) -> None:
    turns, way = case
    seen = talk([turns], way)
    packets = [Packet(p.time_ns, p.side, p.seq, p.ack, p.flags, p.payload, p.window, p.ip_id) for p in seen]
    compare(packets, (way.rtt_ns // 2, way.rtt_ns // 2))


@given(talks())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_byte_is_lost_or_made(case: tuple[list[Turn], Way]) -> None:
    """The bytes of each side are those that its application wrote, whatever was lost."""
    turns, way = case
    seen = talk([turns], way)
    sides = exchange(
        [Packet(p.time_ns, p.side, p.seq, p.ack, p.flags, p.payload, p.window, p.ip_id) for p in seen], (0, 0)
    )
    assert sides is not None
    assert [sum(m.size for m in side) for side in sides] == [sum(t.size for t in turns if t.side == s) for s in (0, 1)]
