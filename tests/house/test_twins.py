"""The slow twins against examples computed by hand, and their own books on random scenarios."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.strategies import Scenario, Seeded, fabrics, make_scenario, scenarios
from tests.twins import metrics
from tests.twins.accounts import assert_conserved
from tests.twins.detectors import DETECTORS
from tests.twins.engine import Fate, Flow, Link, Packet, Path, simulate, simulate_and_note
from tests.twins.flowlets import Sighting, gaps_ns, profile, profiles
from tests.twins.hashing import Draws, flow_key, mix
from tests.twins.policies import POLICIES, Choice, Policy

GIGABIT = Link(rate_bps=10**9, delay_ns=1000, buffer_bytes=None, ecn_bytes=None, overhead_bytes=24)
BYTE_A_NS = Link(rate_bps=8 * 10**9, delay_ns=0, buffer_bytes=None, ecn_bytes=None, overhead_bytes=0)
ONE_PATH = (Path(group=0, links=(0,), srv6_bytes=0, ack_delay_ns=0),)
ONE_FLOW = (Flow(key=0, host=0, group=0),)
DEFAULTS = {"policy": "ecmp", "timeout_ns": 1000, "seed": 1, "loss_timeout_ns": 10**6}


def through(link: Link, *packets: tuple[int, int]) -> list[Fate]:
    """Fates of (send_ns, ip_bytes) over one link."""
    sent = [Packet(send_ns, 0, ip_bytes) for send_ns, ip_bytes in packets]
    return simulate([link], ONE_PATH, ONE_FLOW, sent, **DEFAULTS)  # type: ignore[arg-type]


# Hashing.


def test_mix_gives_the_published_splitmix64_sequence() -> None:
    gamma = 0x9E3779B97F4A7C15
    assert mix(1234567) == 6457827717110365317
    assert mix(1234567 + gamma) == 3203168211198807973


def test_draws_are_the_upper_half_of_the_next_splitmix64_numbers() -> None:
    draws = Draws(7)
    state = mix(7)
    for k in (1, 2, 3, 5, 1000):
        assert draws.draw(k) == (mix(state) >> 32) * k >> 32
        state = (state + 0x9E3779B97F4A7C15) % 2**64


def test_flow_key_folds_the_five_words_and_takes_absent_ports_as_0() -> None:
    words = [0, 0x0A000001, 0, 0x0A000002, 6 << 32 | 1024 << 16 | 80]
    h = 0
    for word in words:
        h = mix(h ^ word)
    assert flow_key("10.0.0.1", "10.0.0.2", 6, 1024, 80) == h
    assert flow_key("::1", "fe80::", 58, None, None) == flow_key("::1", "fe80::", 58, 0, 0)


# Links.


def test_a_packet_waits_for_the_one_before() -> None:
    first, second = through(GIGABIT, (0, 986), (100, 986))  # frames of 1000 + 24 bytes: 8192 ns each
    assert (first.receive_ns, first.queue_ns) == (8192 + 1000, 0)
    assert (second.receive_ns, second.queue_ns) == (16384 + 1000, 8192 - 100)


def test_a_packet_sent_at_a_departure_does_not_wait() -> None:
    assert through(GIGABIT, (0, 986), (8192, 986))[1] == Fate(0, 0, 17384, 0, False, False)


def test_fractions_of_a_nanosecond_are_carried() -> None:
    link = replace(BYTE_A_NS, rate_bps=700_000_000)  # a frame of 60 bytes takes 685.71... ns
    fates = through(link, *[(0, 20)] * 7)
    assert [fate.receive_ns for fate in fates] == [686, 1372, 2058, 2743, 3429, 4115, 4800]
    assert [fate.queue_ns for fate in fates] == [0, 686, 1372, 2058, 2743, 3429, 4115]


def test_a_frame_that_does_not_fit_is_dropped_and_a_departed_one_makes_room() -> None:
    link = replace(BYTE_A_NS, buffer_bytes=120)  # two frames of 60 bytes, 60 ns each
    fates = through(link, (0, 20), (0, 20), (0, 20), (59, 20), (60, 20))
    assert [fate.dropped for fate in fates] == [False, False, True, True, False]
    assert fates[2] == Fate(0, 0, None, 0, False, True)
    assert fates[4].receive_ns == 180


def test_a_frame_is_marked_from_the_threshold_on() -> None:
    sent = [(0, 20)] * 4
    assert [f.ecn_marked for f in through(replace(BYTE_A_NS, ecn_bytes=0), *sent)] == [True] * 4
    assert [f.ecn_marked for f in through(replace(BYTE_A_NS, ecn_bytes=60), *sent)] == [False, True, True, True]
    assert [f.ecn_marked for f in through(replace(BYTE_A_NS, ecn_bytes=61), *sent)] == [False, False, True, True]


def test_small_packets_are_padded_and_only_steered_ones_pay_for_srv6() -> None:
    path = [replace(ONE_PATH[0], srv6_bytes=80)]
    sent = [Packet(0, 0, 20), Packet(10**6, 0, 100)]
    for policy, times in (("ecmp", [60, 10**6 + 114]), ("random", [114, 10**6 + 194])):
        fates = simulate([BYTE_A_NS], path, ONE_FLOW, sent, **{**DEFAULTS, "policy": policy})  # type: ignore[arg-type]
        assert [fate.receive_ns for fate in fates] == times
    bare = simulate([BYTE_A_NS], path, ONE_FLOW, sent, minimum_frame_bytes=0, **DEFAULTS)  # type: ignore[arg-type]
    assert bare[0].receive_ns == 34


def test_at_one_instant_lower_links_come_first_and_new_packets_last() -> None:
    links = [BYTE_A_NS] * 3
    paths = [Path(group, hops, 0, 0) for group, hops in enumerate([(1, 2), (0, 2), (2,)])]
    flows = [Flow(0, 0, group) for group in range(3)]
    sent = [Packet(0, 0, 20), Packet(0, 1, 20), Packet(60, 2, 20)]  # all three meet at link 2 at 60 ns
    fates = simulate(links, paths, flows, sent, **{**DEFAULTS, "ties": "number"})  # type: ignore[arg-type]
    assert [fate.queue_ns for fate in fates] == [60, 0, 120]
    assert [fate.receive_ns for fate in fates] == [180, 120, 240]


def test_a_drop_keeps_the_waiting_and_the_mark_from_earlier_links() -> None:
    links = [replace(BYTE_A_NS, ecn_bytes=60), replace(BYTE_A_NS, buffer_bytes=0)]
    sent = [Packet(0, 0, 20), Packet(0, 0, 20)]
    fates = simulate(links, [Path(0, (0, 1), 0, 0)], ONE_FLOW, sent, **DEFAULTS)  # type: ignore[arg-type]
    assert fates == [Fate(0, 0, None, 0, False, True), Fate(0, 0, None, 60, True, True)]


@pytest.mark.parametrize("seed", range(5))
def test_a_single_link_is_a_lindley_queue(seed: int) -> None:
    choose = Seeded(seed)
    now_ns, sent = 0, []
    for _ in range(200):
        now_ns += choose.integer(0, 900)
        sent.append((now_ns, 500))
    fates = through(replace(BYTE_A_NS, rate_bps=9 * 10**9), *sent)  # 514 bytes: 456.88... ns
    service_ns = Fraction(514 * 8, 9)
    free_ns = Fraction(0)
    for (send_ns, _), fate in zip(sent, fates, strict=True):
        assert fate.queue_ns == max(0, math.ceil(free_ns) - send_ns)
        free_ns = max(free_ns, Fraction(send_ns)) + service_ns
        assert fate.receive_ns == math.ceil(free_ns)


# Flowlets, policies, in-flight bytes.


def test_a_gap_equal_to_the_timeout_does_not_split() -> None:
    sent = [Packet(0, 0, 20), Packet(1000, 0, 20), Packet(2001, 0, 20), Packet(2001, 0, 20)]
    for policy, flowlets in (("ecmp", [0, 0, 0, 0]), ("random", [0, 0, 1, 1])):
        fates = simulate([GIGABIT], ONE_PATH, ONE_FLOW, sent, **{**DEFAULTS, "policy": policy})  # type: ignore[arg-type]
        assert [fate.flowlet_id for fate in fates] == flowlets


def test_inflight_alternates_until_a_loss_times_out_at_the_very_instant() -> None:
    links = [replace(BYTE_A_NS, buffer_bytes=0)] * 2  # every packet is dropped where it is sent
    paths = [Path(0, (0,), 40, 0), Path(0, (1,), 40, 0)]
    sent = [Packet(0, 0, 20), Packet(999, 0, 20), Packet(1000, 0, 20), Packet(1999, 0, 20)]
    fates = simulate(links, paths, ONE_FLOW, sent, policy="inflight", timeout_ns=0, seed=3, loss_timeout_ns=1000)
    first, second, third, fourth = (fate.path_id for fate in fates)
    assert first != second
    assert third == first
    assert fourth == second  # released at 1999, the third only at 2000


def test_inflight_frees_acknowledged_bytes_before_a_choice_at_that_instant() -> None:
    paths = [Path(0, (0,), 0, 40), Path(0, (1,), 0, 10**6)]
    seen: list[tuple[int, ...]] = []

    def watch(choice: Choice) -> int:
        seen.append(choice.in_flight_bytes)
        return 0

    watcher = Policy("packet", True, watch)
    sent = [Packet(0, 0, 46), Packet(99, 0, 46), Packet(100, 0, 46)]  # received at 60 and acknowledged at 100
    simulate([BYTE_A_NS] * 2, paths, ONE_FLOW, sent, policy=watcher, timeout_ns=0, seed=0, loss_timeout_ns=0)
    assert seen == [(0, 0), (60, 0), (60, 0)]


def test_each_host_counts_for_itself() -> None:
    flows = [Flow(0, 0, 0), Flow(0, 1, 0)]
    seen: list[tuple[int, int]] = []

    def watch(choice: Choice) -> int:
        seen.append((choice.host, sum(choice.in_flight_bytes)))
        return 0

    sent = [Packet(0, 0, 46), Packet(1, 1, 46), Packet(2, 0, 46)]
    watcher = Policy("packet", True, watch)
    simulate([GIGABIT], ONE_PATH, flows, sent, policy=watcher, timeout_ns=0, seed=0, loss_timeout_ns=0)
    assert seen == [(0, 0), (1, 0), (0, 60)]


def test_ecmp_and_random_follow_their_formulas() -> None:
    paths = [Path(0, (0,), 0, 0)] * 3
    flows = [Flow(key, 0, 0) for key in range(5)]
    sent = [Packet(n, n, 20) for n in range(5)]
    draws = Draws(9)
    expected = {
        "ecmp": [(mix(key ^ mix(9)) >> 32) * 3 >> 32 for key in range(5)],
        "random": [draws.draw(3) for _ in range(5)],
    }
    for policy, slots in expected.items():
        fates = simulate([GIGABIT], paths, flows, sent, policy=policy, timeout_ns=0, seed=9, loss_timeout_ns=0)
        assert [fate.path_id for fate in fates] == slots


def test_flowlets_of_a_trace_out_of_order() -> None:
    seen = [Sighting(50, 1, 10), Sighting(0, 0, 100), Sighting(10, 0, 100), Sighting(31, 0, 100)]
    assert gaps_ns(seen) == [None, None, 10, 21]
    split, whole = profiles(seen, (20, 21))
    assert [(f.flow, f.start_ns, f.packets, f.bytes) for f in split.flowlets] == [
        (0, 0, 2, 200),
        (0, 31, 1, 100),
        (1, 50, 1, 10),
    ]
    assert (split.flowlet_of_packet, split.flows, split.never_split) == ([2, 0, 0, 1], 2, 1)
    assert (len(whole.flowlets), whole.never_split) == (2, 2)
    assert profile([], 0).flowlets == []


@settings(max_examples=60, deadline=None)
@given(scenarios())
def test_random_scenarios_balance_their_books(scenario: Scenario) -> None:
    check_books(scenario)


@pytest.mark.parametrize("seed", range(40))
def test_seeded_scenarios_balance_their_books(seed: int) -> None:
    check_books(make_scenario(Seeded(seed)))


ALL_CELLS = [(policy, "fixed") for policy in POLICIES] + [("inflight", detector) for detector in DETECTORS]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fabrics(40, ALL_CELLS))
def test_random_fabrics_balance_their_books(scenario: Scenario) -> None:
    fates, ledger = simulate_and_note(*scenario.network(), **scenario.options())
    assert_conserved(scenario.links, scenario.packets, fates, ledger, scenario.changes)


def check_books(scenario: Scenario) -> None:
    fates, ledger = simulate_and_note(*scenario.network(), **scenario.options())
    assert_conserved(scenario.links, scenario.packets, fates, ledger, scenario.changes)
    assert fates == simulate(*scenario.network(), **scenario.options())
    if scenario.policy != "ecmp":
        seen = [Sighting(p.send_ns, p.flow, p.ip_bytes) for p in scenario.packets]
        assert [f.flowlet_id for f in fates] == profile(seen, scenario.timeout_ns).flowlet_of_packet


# Metrics.


def test_nearest_rank() -> None:
    assert metrics.nearest_rank([], Fraction(1, 2)) is None
    assert metrics.nearest_rank([3, 1, 2, 4], Fraction(1, 2)) == 2
    assert metrics.nearest_rank(range(1, 101), Fraction(99, 100)) == 99
    assert metrics.nearest_rank(range(1, 102), Fraction(99, 100)) == 100
    assert metrics.nearest_rank([5, 7], Fraction(1)) == 7


def test_reordering_in_the_manner_of_rfc_4737() -> None:
    arrivals = [1, 4, 2, 5, 3, 6]  # packet 2 has an extent of 1, packet 3 one of 3
    receive_ns: list[int | None] = [arrivals.index(packet) for packet in range(1, 7)]
    assert metrics.reorder_extents([0] * 6, receive_ns) == [None, 1, 3, None, None, None]


def test_reordering_heeds_neither_other_flows_nor_drops_nor_ties() -> None:
    assert metrics.reorder_extents([0, 1], [9, 1]) == [None, None]
    assert metrics.reorder_extents([0, 0], [5, 5]) == [None, None]
    assert metrics.reorder_extents([0, 0, 0], [None, 5, 4]) == [None, 1, None]


def test_flow_rows_and_slowdown() -> None:
    links = [BYTE_A_NS, replace(BYTE_A_NS, delay_ns=100), replace(BYTE_A_NS, buffer_bytes=0)]
    paths = [Path(0, (0,), 40, 0), Path(0, (1,), 40, 0), Path(0, (2,), 40, 0)]
    order = iter([1, 0, 2])
    in_turn = Policy("packet", True, lambda choice: next(order))
    sent = [Packet(0, 0, 46), Packet(10, 0, 46), Packet(20, 0, 46)]
    options = {"timeout_ns": 0, "seed": 0, "loss_timeout_ns": 0}
    fates, ledger = simulate_and_note(links, paths, ONE_FLOW, sent, policy=in_turn, **options)
    assert [fate.receive_ns for fate in fates] == [200, 110, None]
    (row,) = metrics.flow_rows(links, paths, ONE_FLOW, sent, fates, 60)
    # Alone on path 0 and without SRv6, the two received packets of 60 ns end at 120.
    assert (row.fct_ns, row.slowdown) == (200, Fraction(200, 120))
    assert (row.bytes, row.packets, row.delivered) == (138, 3, 2)
    assert (row.reordered, row.flowlets, row.path_changes) == (1, 3, 2)
    assert metrics.utilisations(links, sent, fates, ledger) == [Fraction(1, 2), Fraction(1, 2), 0]
    assert metrics.delays_ns(sent, fates) == [200, 100]
    assert metrics.completion_ns(0, [], []) is None


def test_balance_weighs_intervals_by_their_bytes() -> None:
    paths = [Path(0, (0,), 0, 0), Path(0, (1,), 0, 0), Path(1, (0,), 0, 0)]
    sent = [Packet(100, 0, 0), Packet(199, 0, 0), Packet(200, 0, 0), Packet(200, 1, 0)]
    fates = [Fate(path_id, 0, 0, 0, False, False) for path_id in (0, 1, 1, 2)]
    loads = metrics.interval_bytes(paths, sent, fates, [300, 100, 200, 50], 100)
    assert loads == {(0, 0): [300, 100], (0, 1): [0, 200], (1, 1): [50]}
    assert metrics.balance(loads) == (
        (400 * Fraction(1) + 200 * Fraction(2) + 50 * Fraction(0)) / 650,
        (400 * Fraction(4, 5) + 200 * Fraction(1, 2) + 50 * Fraction(1)) / 650,
    )
    assert metrics.balance({}) is None
