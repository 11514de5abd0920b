"""TCP marks follow the bytes that were seen: examples by hand, and made streams whose every byte is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.traces.flows import connections
from segcast.traces.flows.holes import MOST_HOLES
from tests.support.strategies import Seeded
from tests.support.tcp import A, B, S, compare, names, run, seg
from tests.twins.tcp import ACK, FIN, RST, SYN, Segment

SECOND, HOUR = 10**6, 3600 * 10**6  # in microseconds


def check(steps: Sequence[tuple[Segment, str]]) -> None:
    """The marks are those written, and those of the twin."""
    _, _, marks = run([step for step, _ in steps])
    assert [names(mark) for mark in marks] == [set(words.split()) for _, words in steps]
    compare([step for step, _ in steps], 3)


def test_acknowledgements_of_a_hole_are_told_once() -> None:
    check(
        [
            (seg(0, True, 1000, 1, payload=1448), ""),
            (seg(10, True, 3896, 1, payload=1448), "after_gap"),
            (seg(20, True, 5344, 1, payload=600), ""),
            (seg(30, False, 1, 2448), ""),  # all of it was captured
            (seg(40, False, 1, 3000), "ack_of_unseen"),  # a part of the hole
            (seg(50, False, 1, 3000), "duplicate_ack"),
            (seg(60, False, 1, 3896), "ack_of_unseen"),  # the rest
            (seg(70, False, 1, 5944), ""),
            (seg(80, False, 1, 2448), ""),  # an old one
            (seg(90, False, 1, 6000), "ack_of_unseen"),  # above next
            (seg(99, True, 6200, 1, payload=10), "after_gap"),  # its first bytes were acknowledged before
            (seg(100, False, 1, 6000), "duplicate_ack"),
            (seg(110, False, 1, 6210), "ack_of_unseen"),
        ]
    )


def test_what_was_seen_is_never_out_of_order() -> None:
    check(
        [
            (seg(0, True, 0, 1, payload=100), ""),
            (seg(10, True, 100, 1, payload=100), ""),
            (seg(20, True, 0, 1, payload=100), "retransmission"),  # within 3 ms, but it was seen
            (seg(30, True, 50, 1, payload=100), "retransmission"),
            (seg(40, True, 150, 1, payload=100), "retransmission"),  # half of it new
            (seg(50, True, 350, 1, payload=100), "after_gap"),
            (seg(60, True, 240, 1, payload=20), "retransmission"),  # half of it was missing
            (seg(70, True, 280, 1, payload=20), "out_of_order"),  # amid the hole
            (seg(80, True, 280, 1, payload=20), "retransmission"),
            (seg(90, True, 300, 1, payload=50), "out_of_order"),
            (seg(95, True, 255, 1, payload=50), "retransmission"),  # what is left of the hole, and more
            (seg(99, True, 250, 1, payload=200), "retransmission"),
            (seg(4000, True, 550, 1, payload=100), "after_gap"),
            (seg(6999, True, 450, 1, payload=50), "out_of_order"),
            (seg(7001, True, 500, 1, payload=50), "retransmission"),  # 3 ms after the hole opened
        ]
    )


def test_lateness_counts_from_the_hole_and_not_from_what_came_meanwhile() -> None:
    steps = [(seg(0, True, 0, 1, payload=100), ""), (seg(10, True, 200, 1, payload=100), "after_gap")]
    steps += [(seg(1000 * n, True, 200 + 100 * n, 1, payload=100), "") for n in range(1, 6)]
    steps += [(seg(5001, True, 100, 1, payload=100), "retransmission")]
    check(steps)


def test_bytes_before_the_first_packet_captured() -> None:
    check(
        [
            (seg(0, True, 1000, 1, payload=100), ""),
            (seg(10, False, 1, 700), ""),
            (seg(20, True, 600, 1, payload=100), "retransmission"),  # acknowledged already
            (seg(30, True, 800, 1, payload=100), "out_of_order"),
            (seg(40, True, 800, 1, payload=100), "retransmission"),
            (seg(50, True, 950, 1, payload=50), "out_of_order"),
            (seg(60, False, 1, 900), "ack_of_unseen"),
            (seg(70, False, 1, 1100), "ack_of_unseen"),
        ]
    )


def test_keep_alives_as_rare_as_two_hours() -> None:
    steps = [(seg(0, True, 1, 1, payload=96), ""), (seg(26, False, 1, 97, payload=16), "")]
    steps += [(seg(81, True, 97, 17), "")]
    for n, pause in enumerate((187 * SECOND, HOUR, 2 * HOUR + 75 * SECOND)):
        at = 20 * HOUR * n + pause
        steps += [(seg(20 * HOUR * n + 90, True, 97, 17), "duplicate_ack" if n == 0 else "")]
        steps += [(seg(at, True, 96, 17, payload=n & 1), "keep_alive"), (seg(at + 26, False, 17, 97), "")]
    check(steps)


def test_a_byte_that_was_missing_is_no_keep_alive() -> None:
    check(
        [
            (seg(0, True, 1, 1, payload=5), ""),
            (seg(10, True, 7, 1), "after_gap"),
            (seg(15, True, 6, 1), "keep_alive"),
            (seg(20, True, 6, 1, payload=1), "out_of_order"),
            (seg(30, True, 6, 1, payload=1), "keep_alive"),
            (seg(40, True, 6, 1, payload=30), ""),  # the byte of the probe, and new ones
        ]
    )


@pytest.mark.parametrize("pause", [13, 24, 100, 239])
def test_a_fin_sent_again_is_a_retransmission(pause: int) -> None:
    check(
        [
            (seg(0, True, 1, 1, payload=10), ""),
            (seg(10, True, 11, 1, FIN | ACK), ""),
            (seg(20, False, 1, 12, FIN | ACK), ""),
            (seg(30, True, 12, 2), ""),
            (seg(pause * SECOND, True, 11, 1, FIN | ACK), "retransmission"),
            (seg(2 * pause * SECOND, False, 1, 12, FIN | ACK), "retransmission"),
            (seg((2 * pause + 241) * SECOND, True, 11, 1, FIN | ACK), ""),  # the connection has retired
        ]
    )


def test_gaps_after_silence() -> None:
    check(
        [
            (seg(0, True, 1, 1, payload=10), ""),
            (seg(10, False, 1, 11), ""),
            (seg(600 * SECOND, True, 111, 1, payload=10), "after_gap"),
            (seg(600 * SECOND + 10, False, 1, 121), "ack_of_unseen"),
            (seg(2 * HOUR, True, 111, 1, payload=10), "retransmission"),
            (seg(5 * HOUR, True, 111, 1, payload=10), ""),
        ]
    )


def opening(at: int, isn: int, other: int) -> list[tuple[Segment, str]]:
    """A handshake and some data each way."""
    return [
        (seg(at, True, isn, 0, SYN), ""),
        (seg(at + 10, False, other, isn + 1, SYN | ACK), ""),
        (seg(at + 20, True, isn + 1, other + 1), ""),
        (seg(at + 30, True, isn + 1, other + 1, payload=100), ""),
        (seg(at + 40, False, other + 1, isn + 101, payload=200), ""),
    ]


@pytest.mark.parametrize("isn", [10**6 + 50, 10**6 + 2**31, 999])
@pytest.mark.parametrize("end", [0, FIN | ACK, RST])
@pytest.mark.parametrize("lost", [(), (0,), (1,), (0, 1)])
def test_a_tuple_used_again_is_another_connection(isn: int, end: int, lost: tuple[int, ...]) -> None:
    """Also if the SYN/ACK was not captured; without the SYN, marks are those of the twin."""
    steps = opening(0, 10**6, 5 * 10**6)
    if end:
        steps += [(seg(50, True, 10**6 + 101, 5 * 10**6 + 201, end), "")]
    if end & FIN:
        steps += [(seg(60, False, 5 * 10**6 + 201, 10**6 + 102, FIN | ACK), "")]
    second = opening(30 * SECOND, isn, isn + 10**5)
    steps += [step for n, step in enumerate(second) if n not in lost]
    if 0 in lost:
        compare([step for step, _ in steps])
    else:
        check(steps)


def test_the_same_numbers_after_both_fins_are_another_connection() -> None:
    steps = opening(0, 1000, 2000)
    steps += [(seg(50, True, 1101, 2201, FIN | ACK), ""), (seg(60, False, 2201, 1102, FIN | ACK), "")]
    steps += opening(SECOND, 1000, 2000)
    steps += [(seg(2 * SECOND, True, 1000, 0, SYN), "retransmission")]
    check(steps)


def test_both_sides_open_at_once_and_answers_captured_first() -> None:
    check(
        [
            (seg(0, True, 1000, 0, SYN), ""),
            (seg(5, False, 2000, 0, SYN), ""),
            (seg(10, True, 1000, 2001, SYN | ACK), "retransmission"),
            (seg(15, False, 2000, 1001, SYN | ACK), "retransmission"),
            (seg(20, True, 1001, 2001, payload=10), ""),
            (seg(10 * SECOND, False, 7000, 8001, SYN | ACK), ""),
            (seg(10 * SECOND + 1, True, 8000, 0, SYN), ""),
            (seg(10 * SECOND + 3, True, 8001, 7001, payload=10), ""),
            (seg(10 * SECOND + 4, False, 7001, 8011), ""),
        ]
    )


def test_a_scan_leaves_soon() -> None:
    check(
        [
            (seg(0, True, 1000, 0, SYN), ""),
            (seg(200 * SECOND, True, 1000, 0, SYN), "retransmission"),
            (seg(441 * SECOND, True, 1000, 0, SYN), ""),
        ]
    )


def test_jumps_start_afresh_and_numbers_wrap() -> None:
    far = 2**30
    check(
        [
            (seg(0, True, 2**32 - 100, 1, payload=150), ""),
            (seg(10, True, 50, 1, payload=50), ""),
            (seg(20, True, 2**32 - 10, 1, payload=20), "retransmission"),
            (seg(30, True, 200, 1, payload=50), "after_gap"),
            (seg(40, False, 1, 250), "ack_of_unseen"),
            (seg(50, True, 250 + far - 1, 1, payload=10), "after_gap"),
            (seg(60, True, 260, 1, payload=10), "out_of_order"),
            (seg(70, True, 250 + 2 * far + 9, 1, payload=10), "after_gap"),  # as far as no window reaches
            (seg(80, True, 260, 1, payload=10), "after_gap"),
            (seg(90, True, 270, 1, payload=10), ""),
            (seg(99, False, 1, 280), ""),
            (seg(100, False, 1, 280 + far), "ack_of_unseen"),
            (seg(110, False, 1, 280 + far), "duplicate_ack"),
            (seg(120, False, 1, 280 + 3 * far), ""),
            (seg(130, True, 280, 1, payload=10), ""),
            (seg(140, True, 270, 1, payload=10), "retransmission"),
            (seg(150, False, 1, 290), ""),
        ]
    )


@pytest.mark.parametrize("more", [0, 1, 40])
def test_holes_are_bounded_and_those_forgotten_counted(more: int, tmp_path: Path) -> None:
    count = MOST_HOLES + more
    segments = [seg(n, True, 200 * n, 1, payload=100) for n in range(count + 1)]
    late = [seg(1000 + n, True, 200 * n + 110, 1, payload=20) for n in range(count)]
    flows, _, marks = run([*segments, *late])
    assert flows.pool.tally["holes_forgotten"][0] == more + count - more  # splitting one forgets the lowest
    kept = compare([*segments, *late], 7, MOST_HOLES)
    assert kept.pool.tally["holes_forgotten"][0] == flows.pool.tally["holes_forgotten"][0]
    assert {names_ for n in range(more) for names_ in names(marks[count + 1 + n])} <= {"retransmission"}
    _, _, again = run([*segments, *late], 11, tmp_path / "state.npz")
    assert again == marks
    whole = [seg(1000 + n, True, 200 * n + 100, 1, payload=100) for n in range(count)]
    flows, _, marks = run([*segments, *whole])
    assert flows.pool.tally["holes_forgotten"][0] == more
    assert [names(mark) for mark in marks[count + 1 :]] == [{"retransmission"}] * more + [{"out_of_order"}] * MOST_HOLES
    assert (flows.pool.state["holes"] == 0).all()


@dataclass(frozen=True)
class Sent:
    """A segment of a made stream, with its places in the stream in place of sequence numbers."""

    time_ns: int
    out: bool
    begin: int
    end: int
    ack: int


def make_stream(c: Seeded, count: int) -> list[Sent]:
    """One side sends, the other acknowledges, as captured between them.

    Packets are lost before the capture or behind it, missed by it, doubled, late; parts are sent again, some with new
    bytes behind them.
    """
    time, next_ = 0, 1
    captured, received = [Sent(0, True, 0, 1, 0)], [(1000, 0, 1)]
    for _ in range(count):
        time += c.pick((10_000, 100_000, 3_000_000))
        begin = next_
        if c.integer(0, 3) == 0:
            begin = max(0, next_ - c.integer(1, 600))
        end = begin + c.pick((0, 1, 2, 100, 100, 100, 250))
        next_ = max(next_, end)
        for _ in range(c.pick((1, 1, 1, 1, 2))):
            at = time + c.pick((0, 0, 0, 0, 150_000, 4_000_000))
            fate = c.pick(("seen", "seen", "seen", "seen", "seen", "lost", "lost later", "missed"))
            if fate in ("seen", "lost later"):
                captured.append(Sent(at, True, begin, end, 0))
            if fate in ("seen", "missed"):
                received.append((at + c.pick((1000, 200_000)), begin, end))
    have: set[int] = set()
    upto = 0
    for at, begin, end in sorted(received):
        have |= set(range(begin, end))
        while upto in have:
            upto += 1
        if c.integer(0, 3) > 0:
            captured.append(Sent(at + c.pick((1000, 1000, 300_000)), False, 0, 0, upto))
    return sorted(captured, key=lambda sent: sent.time_ns)


def check_stream(sent: list[Sent], isn: int, batch: int, keep: Path | None = None) -> None:
    segments = []
    for s in sent:
        flow, to = (A, B) if s.out else (B, A)
        payload = s.end - s.begin - (s.out and s.begin == 0 and s.end > 0)
        flags = (SYN if s.out and s.begin == 0 and s.end > 0 else 0) | (0 if s.out else ACK)
        seq, ack = (isn + s.begin) % 2**32, (isn + s.ack) % 2**32
        segments.append(Segment(s.time_ns, flow, to, seq if s.out else 77, ack, flags, 9, payload, payload + 40))
    compare(segments, batch, MOST_HOLES)
    _, _, marks = run(segments, max(batch, 50), keep)
    seen: set[int] = set()
    covered, high = 0, 0
    for s, mark in zip(sent, marks, strict=True):
        found, own = names(mark), set(range(s.begin, s.end))
        if s.out:
            below = {byte for byte in own if byte < high}
            if "out_of_order" in found:
                assert below
                assert not below & seen
            if below and below <= seen and s.begin != high - 1:
                assert "retransmission" in found
            assert ("after_gap" in found) == (s.begin > high > 0)
            seen |= own
            high = max(high, s.begin, s.end)
        elif high:
            unseen = s.ack > covered and not set(range(covered, s.ack)) <= seen
            assert ("ack_of_unseen" in found) == unseen
            covered = max(covered, s.ack)


ISNS = (0, 5000, 2**31 - 900, 2**31 + 10, 2**32 - 1, 2**32 - 700)


@pytest.mark.parametrize("seed", range(20))
def test_marks_of_streams_are_what_their_bytes_say(seed: int, tmp_path: Path) -> None:
    c = Seeded(seed)
    check_stream(make_stream(c, 300), c.pick(ISNS), c.pick((10**9, 1, 50)), tmp_path / "state.npz")


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_marks_of_streams_anywhere(random: object, count: int) -> None:
    c = Seeded(random.randrange(2**32))  # type: ignore[attr-defined]
    check_stream(make_stream(c, count), c.pick(ISNS), 9)


def test_the_pool_of_holes_is_used_again() -> None:
    """Holes of connections that jumped or were acknowledged serve others."""
    segments, at = [], 0
    for n in range(3000):
        here, there = (n % 700, 5, 7, 80), (7, 80, n % 700, 5)
        for begin in range(0, 2000, 200):
            segments.append(Segment(at, here, there, begin, 1, ACK, 9, 100, 140))
            at += S // 200
        if n % 2:
            segments.append(Segment(at, there, here, 1, 2000, ACK, 9, 0, 40))
        else:
            segments.append(Segment(at, here, there, 2**31, 1, ACK, 9, 0, 40))
    flows = compare(segments, 1000, MOST_HOLES)
    held = int(np.sum(flows.pool.state["holes"]))
    free, at1 = 0, int(flows.pool.tally["free_hole1"][0])
    while at1:
        free, at1 = free + 1, int(flows.pool.holes["later1"][at1 - 1])
    assert free + held == flows.pool.tally["holes_used"][0] <= len(flows.pool.holes)
    assert held < 1000
    assert connections.with_room(flows.pool).holes is flows.pool.holes
