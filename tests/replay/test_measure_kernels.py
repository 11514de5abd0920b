"""The kernels of measurement against slow twins that share no code with them."""

from __future__ import annotations

import random
from ipaddress import IPv6Network, ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.link_by_link import LinkModel, as_sent, through_link
from segcast.analyzer.packets import LOST
from segcast.replay.measure import identity as mi
from segcast.replay.measure.clocks import fit_clock, lower_hull
from segcast.replay.measure.equal_packets import align, classify, pair
from segcast.replay.measure.match import seen_on_links
from segcast.replay.srv6.templates import outer_headers
from segcast.traces.errors import InputError
from tests.support.rewriting import EXTENSIONS, PROTOCOLS, make
from tests.twins import matching as twin

PREFIX = IPv6Network("fd00:0:100::/64")
STATES = {mi.NO_IP: "none", mi.BARE: "bare", mi.STEERED: "steered", mi.CUT: "cut"}


def marks(insert: bool) -> mi.Marks:
    words = [int(PREFIX.network_address), int(PREFIX.netmask)]
    prefix, mask = (np.array([word >> 64, word & (2**64 - 1)], np.uint64) for word in words)
    return mi.Marks(prefix, mask, insert)


def identities(packets: list[bytes], insert: bool, limit: int) -> mi.Identity:
    data = np.frombuffer(b"".join(b"\xee" * 14 + packet for packet in packets) + bytes(8), np.uint8).copy()
    sizes = np.array([14 + len(packet) for packet in packets])
    start = np.cumsum(sizes) - sizes
    out = mi.no_identities(len(packets))
    version = np.array([packet[0] >> 4 for packet in packets], np.uint8)
    place = np.full(len(packets), 14, np.int32)
    mi.identify(data, start, sizes.astype(np.uint32), place, version, marks(insert), limit, out)
    return out


def steered(packet: bytes, rng: random.Random, mode: str) -> bytes:
    """The packet as a sender of that mode writes it."""
    sids = [ip_address(f"fd00:0:{rng.randrange(5):x}::1").packed for _ in range(rng.randint(1, 4))]
    version = packet[0] >> 4
    if mode in ("insert", "insert-reduced"):
        reduced = mode == "insert-reduced"
        listed = [packet[24:40], *reversed(sids[1:] if reduced else sids)]
        srh = bytes((packet[6], 2 * len(listed), 4, len(sids), len(listed) - 1, 0, 0, 0)) + b"".join(listed)
        size = int.from_bytes(packet[4:6], "big") + len(srh)
        return packet[:4] + size.to_bytes(2, "big") + b"\x2b" + packet[7:24] + sids[0] + srh + packet[40:]
    kind, inside = {4: 4, 6: 41}[version], packet
    if mode == "l2":
        kind, inside = 143, bytes(12) + (b"\x08\x00" if version == 4 else b"\x86\xdd") + packet
    head = bytearray(outer_headers(sids, kind, 64, reduced=mode == "reduced"))
    head[8:24] = (PREFIX[rng.randrange(1, 9)]).packed
    head[4:6] = (len(head) - 40 + len(inside)).to_bytes(2, "big")
    return bytes(head) + inside


def forwarded(packet: bytes, rng: random.Random) -> bytes:
    """The packet as a network may leave it."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4:
        changed[1] = changed[1] & 0xFC | rng.randrange(4)
        changed[8], changed[10], changed[11] = rng.randrange(256), rng.randrange(256), rng.randrange(256)
    else:
        changed[1] = changed[1] & 0xCF | rng.randrange(4) << 4
        changed[7] = rng.randrange(256)
    return bytes(changed)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from(("encaps", "reduced", "l2", "insert", "insert-reduced")),
    st.integers(60, 300),
)
def test_a_packet_is_the_same_however_it_travels(seed: int, mode: str, limit: int) -> None:
    rng = random.Random(seed)
    insert = mode.startswith("insert")
    packets: list[bytes] = []
    for _ in range(12):
        version = 6 if insert else rng.choice((4, 6))
        kinds = [kind for kind in EXTENSIONS if kind not in (43, 0)] if insert else EXTENSIONS
        chain = rng.sample(kinds, rng.randint(0, 2))
        packet = make(rng, version, rng.choice(PROTOCOLS[version]), rng.randint(0, 300), chain).packet
        packets += [packet, forwarded(packet, rng), steered(packet, rng, mode), steered(packet, rng, mode)]
    cut = [packet[: rng.randint(44, len(packet))] for packet in packets if len(packet) > 44]
    for group in (packets, packets + cut):
        found = identities(group, insert, limit)
        wanted = [twin.identity(packet, (int(PREFIX.network_address), 64), insert, limit) for packet in group]
        assert [STATES[state] for state in found.state] == [state for state, _, _ in wanted]
        keys = {}
        for row, (state, segments, covered) in enumerate(wanted):
            assert int(found.segments[row]) == (mi.list_key(tuple(segments)) if segments else 0)
            if state not in ("none", "cut"):
                keys.setdefault((int(found.high[row]), int(found.low[row])), set()).add(covered)
        assert all(len(same) == 1 for same in keys.values())
        assert len(keys) == len({c for state, _, c in wanted if state not in ("none", "cut")})
    first = identities(packets, insert, limit)
    for row in range(0, len(packets), 4):
        assert len({(int(first.high[k]), int(first.low[k])) for k in range(row, row + 4)}) == 1


def test_classes_are_equal_digests() -> None:
    one = (np.array([5, 5, 7], np.uint64), np.array([1, 2, 1], np.uint64))
    other = (np.array([7, 5, 9], np.uint64), np.array([1, 2, 9], np.uint64))
    (a, b), count = classify([one, other])
    assert count == 4
    assert a.tolist()[1:] == b.tolist()[1::-1]
    assert len(set(a.tolist())) == 3


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 5), max_size=30), st.data())
def test_align_against_its_twin(planned: list[int], data: st.DataObject) -> None:
    sent = data.draw(st.lists(st.integers(0, 6), max_size=30))
    ours = align(np.array(planned, np.int64), np.array(sent, np.int64), 7)
    assert ours.tolist() == twin.align(planned, sent)


def test_align_follows_a_sender_that_skips() -> None:
    rng = random.Random(1)
    planned = [rng.randrange(400) for _ in range(2000)]
    kept = sorted(rng.sample(range(2000), 1700))
    found = align(np.array(planned), np.array([planned[row] for row in kept]), 400)
    assert np.mean(found == kept) > 0.99
    assert len(set(found.tolist())) == len(kept)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=25),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=25),
    st.integers(0, 3),
)
def test_pair_against_its_twin(sent: list[tuple[int, int]], came: list[tuple[int, int]], slack: int) -> None:
    columns = [np.array(values, np.int64).reshape(-1, 2).T for values in (sent, came)]
    (a, a_ns), (b, b_ns) = (np.ascontiguousarray(column) for column in columns)
    found = pair(a, a_ns, b, b_ns, 5, slack)
    assert found.tolist() == twin.pair(a.tolist(), a_ns.tolist(), b.tolist(), b_ns.tolist(), slack)
    good = found >= 0
    assert (a_ns[found[good]] <= b_ns[good] + slack).all()


def test_equal_packets_are_paired_in_order_and_duplicates_are_none() -> None:
    sent_ns, came_ns = np.array([0, 100, 200]), np.array([50, 51, 250])
    same, came = np.zeros(3, np.int64), np.zeros(3, np.int64)
    assert pair(same, sent_ns, came, came_ns, 1).tolist() == [0, -1, 2]  # the second was lost, the first came twice
    assert pair(same, np.array([0, 1, 2]), came, np.array([30, 31, 32]), 1).tolist() == [0, 1, 2]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), max_size=40),
    st.integers(10**6, 10**10),
    st.one_of(st.none(), st.integers(0, 6000)),
    st.integers(0, 30),
    st.sampled_from((0, 1, 1600, 10_000)),
)
def test_links_against_their_twin(
    steps: list[tuple[int, int]], rate: int, buffer: int | None, overhead: int, burst: int
) -> None:
    times = np.cumsum([step for step, _ in steps]).astype(np.int64)
    sizes = np.array([size for _, size in steps], np.int64)
    model = LinkModel(rate, 70, 2**63 - 1 if buffer is None else buffer, overhead, burst)
    depart, waited = np.empty(len(times), np.int64), np.zeros(len(times), np.int64)
    through_link(times, sizes, model, depart, waited)
    wanted = twin.link(list(zip(times.tolist(), sizes.tolist(), strict=True)), rate, 70, buffer, overhead, burst)
    found = zip(depart.tolist(), waited.tolist(), strict=True)
    assert [None if departs == LOST else (departs + 70, queued) for departs, queued in found] == wanted


def test_as_sent_runs_links_in_order_and_serves_links_before_senders() -> None:
    slow = LinkModel(8_000_000_000, 10, 10_000, 0, 0)  # a byte per ns
    ways = [(0, 2), (1, 2), (2,)]
    path, send_ns = np.array([2, 1, 0]), np.array([110, 0, 0])
    found = as_sent([slow] * 3, ways, path, send_ns, np.array([100, 100, 100]))
    assert found.receive_ns.tolist() == [110 + 300 + 10, 110 + 200 + 10, 110 + 100 + 10]
    assert found.queue_ns.tolist() == [200, 100, 0]
    with pytest.raises(InputError, match="opposite orders"):
        as_sent([slow] * 2, [(0, 1), (1, 0)], path[:0], send_ns[:0], path[:0])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-40, 40)), min_size=1, max_size=25))
def test_hulls_against_their_twin(points: list[tuple[int, int]]) -> None:
    points.sort()
    x, y = np.array(points, np.float64).T
    hull = np.empty(len(x), np.int64)
    size = lower_hull(np.ascontiguousarray(x), np.ascontiguousarray(y), hull)
    assert [(int(x[k]), int(y[k])) for k in hull[:size]] == twin.lower_line(points)


def shown(time_ns: np.ndarray, offset: int, drift: float) -> np.ndarray:
    return time_ns + offset + np.rint(drift * (time_ns - time_ns[0])).astype(np.int64)


@pytest.mark.parametrize("drift", [0.0, 35e-6, -80e-6])
def test_clocks_are_fitted_from_both_directions(drift: float) -> None:
    rng = np.random.default_rng(3)
    start, offset, least = 1_700_000_000_000_000_000, 3_600_000_000_123, 40_000
    way = []
    for _ in range(2):
        send = start + np.sort(rng.integers(0, 20_000_000_000, 5000))
        send[0] = start
        way.append((send, send + least + rng.exponential(200_000, 5000).astype(np.int64)))
    there = way[0][0], start + (shown(np.concatenate(([start], way[0][1])), offset, drift)[1:] - start)
    back = shown(np.concatenate(([start], way[1][0])), offset, drift)[1:], way[1][1]
    fit = fit_clock("b", "a", there, back)
    assert fit.symmetric
    assert abs(fit.drift - drift) < 1e-7
    true = way[0][1]
    assert np.abs(fit.to_reference(there[1]) - true).max() < 2_000
    assert abs(fit.round_trip_ns - 2 * least) < 4_000
    assert fit.residual_ns is not None
    assert 0 <= fit.residual_ns < 5_000


def test_one_direction_takes_the_least_delay_for_none_and_none_at_all_is_refused() -> None:
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    send = np.arange(10) * 1000
    fit = fit_clock("b", "a", (send, send + 500 + np.arange(10) % 3), nothing)
    assert (fit.offset_ns, fit.drift, fit.symmetric, fit.residual_ns) == (500, 0.0, False, None)
    assert fit.to_reference(send + 500).tolist() == send.tolist()
    fit = fit_clock("b", "a", nothing, (send, send + 500))
    assert fit.offset_ns == -500
    with pytest.raises(InputError, match="clocks 'a' and 'b': no packet was seen by both"):
        fit_clock("b", "a", nothing, nothing)
    exact = fit.model_copy(update={"at_ns": 1000, "offset_ns": 7, "drift": 0.5})
    assert exact.to_reference(np.array([1007, 1022])).tolist() == [1000, 1010]


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.lists(st.integers(0, 6), max_size=12), max_size=3))
def test_packets_seen_on_the_way(planned: list[int], transit: list[list[int]]) -> None:
    comp = seen_on_links([np.array(own, np.int64) for own in transit], np.array(planned, np.int64), 7)
    assert comp.tolist() == [[own.count(kind) >= planned.count(kind) for kind in planned] for own in transit]
