"""Releases made from the trace against their slow twin, and against examples computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.packets import Packets
from segcast.analyzer.traffic.recorded_acks import TcpSegments, recorded
from segcast.traces.errors import InputError
from tests.support.simulating import releases_of, segments_of, traffic_of
from tests.support.strategies import Scenario, Seeded, fabrics, make_fabric
from tests.twins.acknowledgements import release_times
from tests.twins.network import Flow, Packet, Segment
from tests.twins.scenarios import PLAIN_CELLS

PAIR = [Flow(0, 0, 0, reverse=1), Flow(0, 0, 0, reverse=0)]


def assert_same_releases(scenario: Scenario) -> None:
    times = release_times(scenario.flows, scenario.packets, scenario.loss_timeout_ns, recorded=True)
    releases = releases_of(scenario)
    assert releases is not None
    assert list(zip(*[column.tolist() for column in releases], strict=True)) == sorted(
        (time_ns, index) for index, time_ns in enumerate(times)
    )


@settings(max_examples=300, deadline=None)
@given(fabrics(60, PLAIN_CELLS, ("recorded",)))
def test_same_releases_as_the_twin(scenario: Scenario) -> None:
    assert_same_releases(scenario)


@pytest.mark.parametrize("seed", range(8))
def test_same_releases_as_the_twin_on_longer_traces(seed: int) -> None:
    assert_same_releases(make_fabric(Seeded(seed), 600, PLAIN_CELLS, ("recorded",)))


def times(sent: list[Packet], loss_timeout_ns: int = 10**6) -> list[int]:
    """When each packet's bytes are released, by the product; the twin must agree."""
    packets, _ = traffic_of(sent, PAIR)
    releases = recorded(packets, segments_of(sent), np.array([1, 0], np.int64), loss_timeout_ns)
    order = np.argsort(releases.packet)
    assert releases.time_ns[order].tolist() == release_times(PAIR, sent, loss_timeout_ns, True)
    return [int(time_ns) for time_ns in releases.time_ns[order]]


def data(send_ns: int, seq: int, payload_bytes: int = 100) -> Packet:
    return Packet(send_ns, 0, 40 + payload_bytes, Segment(seq % 2**32, payload_bytes, 0, False))


def ack(send_ns: int, number: int) -> Packet:
    return Packet(send_ns, 1, 40, Segment(0, 0, number % 2**32, True))


def test_a_cumulative_acknowledgement_frees_all_before_it() -> None:
    assert times([data(0, 0), data(1, 100), data(2, 200), ack(50, 200), ack(60, 300)])[:3] == [50, 50, 60]


def test_a_partial_acknowledgement_frees_nothing() -> None:
    assert times([data(0, 0), ack(50, 99), ack(60, 100)])[0] == 60


def test_numbers_wrap() -> None:
    assert times([data(0, -150), data(1, -50), data(2, 50), ack(9, -50), ack(10, 50)])[:3] == [9, 10, 1_000_002]


def test_retransmissions_count_for_themselves() -> None:
    sent = [data(0, 0), data(1, 100), data(2, 0), ack(5, 100), data(6, 0), ack(7, 100), ack(8, 200)]
    assert [times(sent)[n] for n in (0, 1, 2, 4)] == [5, 8, 5, 7]


def test_a_segment_of_no_length_is_acknowledged_as_one_byte() -> None:
    assert times([data(0, 7, 0), ack(5, 7), ack(6, 8)])[0] == 6


def test_what_is_acknowledged_too_late_has_timed_out() -> None:
    assert times([data(0, 0), data(90, 100), ack(101, 200)], 100)[:2] == [100, 101]


def test_packets_without_numbers_time_out_and_acknowledge_nothing() -> None:
    assert times([Packet(0, 0, 60), data(1, 0), Packet(5, 1, 40), ack(9, 500)])[:2] == [10**6, 9]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(0, 1),
            st.integers(0, 7),
            st.integers(0, 7),
            st.sampled_from((0, 1, 2**30, 2**31 - 1)),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_numbers_all_over_the_circle(steps: list[tuple[int, int, int, int, int, bool]]) -> None:
    """Ends that are half a circle apart: the order among them is no order."""
    now_ns, sent = 0, []
    for gap_ns, flow, seq, number, payload_bytes, ack_set in steps:
        now_ns += gap_ns
        segment = Segment(seq << 29, payload_bytes, number << 29, ack_set)
        sent.append(Packet(now_ns, flow, 40, segment))
    times(sent, 100)


def test_many_outstanding_segments_take_no_long_search() -> None:
    """A million segments in flight and as many acknowledgements: a search through all for each would never end."""
    count = 1_000_000
    send_ns = np.arange(2 * count, dtype=np.int64)
    flow = np.repeat(np.array([0, 1], np.uint32), count)
    packets = Packets(send_ns, flow, np.full(2 * count, 140, np.uint32))
    seq = np.arange(count, dtype=np.uint32) * 100
    segments = TcpSegments(
        np.concatenate([seq, np.zeros(count, np.uint32)]),
        np.concatenate([np.zeros(count, np.uint32), seq + 100]),
        np.repeat(np.array([0, 0x10], np.uint8), count),
        np.repeat(np.array([100, 0], np.uint32), count),
        np.ones(2 * count, np.bool_),
    )
    releases = recorded(packets, segments, np.array([1, 0], np.int64), 10**12)
    assert np.array_equal(releases.packet[:count], np.arange(count))
    assert np.array_equal(releases.time_ns[:count], send_ns[count:])


def test_what_does_not_fit_together_is_refused() -> None:
    sent = [data(0, 0)]
    packets, _ = traffic_of(sent, PAIR)
    with pytest.raises(InputError, match="1 packets, but TCP numbers of 2"):
        recorded(packets, segments_of(sent * 2), np.array([1, 0], np.int64), 0)
    for reverse in ([2, 0], [-2, 0]):
        with pytest.raises(InputError, match="a flow's reverse flow does not exist"):
            recorded(packets, segments_of(sent), np.array(reverse, np.int64), 0)
    with pytest.raises(InputError, match="a packet's flow does not exist"):
        recorded(packets, segments_of(sent), np.array([], np.int64), 0)
