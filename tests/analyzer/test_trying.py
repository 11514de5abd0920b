"""Timeouts worth trying: what they would let move against the twin, and traffic of known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.flowlets.trying import LADDER_US, Trial, say_trying, trials, worth_trying
from tests.twins import flowlets as twin

US = 1000


def tried(flow: list[int], time_ns: list[int], ip_bytes: list[int]) -> list[Trial]:
    columns = np.array(flow, np.uint32), np.array(time_ns, np.int64), np.array(ip_bytes, np.uint32)
    return trials(*columns, max(flow) + 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from((0, 5 * US, 10 * US, 60 * US, 3000 * US)), st.integers(1, 1500)),
        min_size=1,
        max_size=60,
    )
)
def test_trials_are_those_of_the_twin(rows: list[tuple[int, int, int]]) -> None:
    time_ns, packets = 0, []
    for flow, after_ns, ip_bytes in rows:
        time_ns += after_ns
        packets.append(twin.Sighting(time_ns, flow, ip_bytes))
    found = tried([p.flow for p in packets], [p.time_ns for p in packets], [p.ip_bytes for p in packets])
    assert [one.timeout_ns for one in found] == [US * timeout for timeout in LADDER_US]
    total = sum(p.ip_bytes for p in packets)
    for one in found:
        flowlets = twin.profile(packets, one.timeout_ns).flowlets
        begun: set[int] = set()
        later = 0
        for each in flowlets:
            later += each.bytes if each.flow in begun else 0
            begun.add(each.flow)
        assert one.movable == pytest.approx(later / total)
        assert one.packets == pytest.approx(len(packets) / len(flowlets))


def bursts(gap_us: int, *, packets: int, count: int) -> list[Trial]:
    """One flow: bursts of packets 1 us apart, with gaps between the bursts."""
    times, now = [], 0
    for _ in range(count):
        for _ in range(packets):
            times.append(now)
            now += US
        now += gap_us * US
    return tried([0] * len(times), times, [1000] * len(times))


def test_bursts_are_to_be_split_at_what_lies_below_their_gaps() -> None:
    found = bursts(300, packets=10, count=50)
    assert [one.timeout_ns // US for one in worth_trying(found)] == [10, 50, 200]
    assert say_trying(found) == (
        "timeouts worth trying: 10us, 50us, 200us (of the bytes 98 % follow a gap longer than 10us, 98 % follow a gap "
        "longer than 200us: so much could take another path)"
    )


def test_a_steady_flow_has_nothing_to_move() -> None:
    found = bursts(0, packets=500, count=1)
    assert worth_trying(found) == []
    assert say_trying(found) == (
        "no timeout is worth trying: 0 % of the bytes follow a gap longer than 10us, so flowlets could move next to "
        "nothing"
    )


def test_packets_far_apart_would_be_sprayed() -> None:
    found = bursts(50_000, packets=1, count=100)
    assert worth_trying(found) == []
    assert say_trying(found) == (
        "no timeout is worth trying: flowlets at 10ms are 1 packets on average, so to move them would be to spray "
        "packets"
    )


def test_where_gaps_are_of_all_lengths_a_quarter_of_the_bytes_bounds_the_longest() -> None:
    found = [Trial(US * timeout, 0.9 / (1 + timeout / 100), 2 + timeout) for timeout in LADDER_US]
    assert [one.timeout_ns // US for one in worth_trying(found)] == [10, 50, 200]
    assert all(one.movable >= 0.25 for one in worth_trying(found))


def test_nothing_sent_has_nothing_to_move() -> None:
    found = trials(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.uint32), 0)
    assert worth_trying(found) == []
    assert say_trying(found).startswith("no timeout is worth trying: 0 % of the bytes")
