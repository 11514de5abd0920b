"""Flowlet timeouts that follow the traffic, one rule after the other (docs/model.md, Flowlet timeouts)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from segcast.analyzer.detectors.registry import Detector, Gap, find_detector
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.packets import RECEIVED, Fates, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.traffic.recorded_acks import TcpSegments, recorded
from segcast.traces.errors import InputError
from tests.support.policies import GBPS, MS, US, network, run, sent, setting, told, words_of
from tests.support.simulating import DETECTORS, POLICY_OF, network_of, traffic_of
from tests.support.strategies import Seeded, make_scenario, scenarios
from tests.twins.scenarios import Scenario


def made(name: str, slots: int = 2, flows: int = 2, **parameters: Any) -> tuple[Detector, Any]:
    """A detector and its state, of one host and one group."""
    detector = find_detector(name)
    given = vars(setting("random", slots, flows)) | {"parameters": detector.parameters(**parameters)}
    return detector, detector.make_state(type(setting("random", slots))(**given))


def timeout_of(detector: Detector, state: Any, flow: int = 0, slots: int = 2) -> int:
    """The timeout in force: the longest gap that starts no flowlet, which must not move the state."""
    low, high = -1, 10**12
    while high - low > 1:
        middle = (low + high) // 2
        if detector.starts(state, Gap(0, middle, flow, 0, slots, 0, True, True)):
            high = middle
        else:
            low = middle
    return low


def reordered(packets: Packets, fates: Fates) -> int:
    """Packets received after a later-sent packet of their flow (RFC 4737, section 3)."""
    count = 0
    for flow in set(packets.flow.tolist()):
        mine = (packets.flow == flow) & (fates.state & RECEIVED > 0)
        times = fates.receive_ns[mine]
        earliest_after = np.minimum.accumulate(times[::-1])[::-1]
        count += int((earliest_after[1:] < times[:-1]).sum())
    return count


def fates_of(scenario: Scenario, policy: str, detector: str, timeout_ns: int | None = None) -> tuple[Packets, Fates]:
    built = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows)
    cell = Cell(
        built,
        find_policy(policy),
        plan,
        Steering(scenario.loss_timeout_ns),
        timeout_ns=timeout_ns,
        seed=scenario.seed,
        detector=find_detector(detector),
    )
    return packets, simulate(cell, packets)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_safe_never_reorders(scenario: Scenario) -> None:
    assert reordered(*fates_of(scenario, POLICY_OF["safe"], "safe")) == 0


def test_a_timeout_that_is_too_short_reorders_where_safe_does_not() -> None:
    short, safe = 0, 0
    for seed in range(40):
        scenario = make_scenario(Seeded(seed), 600)
        short += reordered(*fates_of(scenario, "random", "fixed", 0))
        safe += reordered(*fates_of(scenario, POLICY_OF["safe"], "safe"))
    assert safe == 0
    assert short > 1000


def test_safe_starts_a_flowlet_as_soon_as_the_network_is_empty() -> None:
    """Over 1 Gbit/s and 5 us a frame of 1250 bytes takes 15 us: sent 15 us later, the next starts a flowlet."""
    packets = sent([0, 15 * US, 30 * US - 1, 46 * US])
    of = network(GBPS, GBPS)
    fates = run(POLICY_OF["safe"], of, packets, detector=find_detector("safe"), timeout_ns=None)
    assert fates.flowlet.tolist() == [0, 1, 1, 2]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_drained_never_reorders(scenario: Scenario) -> None:
    assert reordered(*fates_of(scenario, POLICY_OF["drained"], "drained")) == 0


def test_drained_starts_a_flowlet_as_soon_as_all_is_acknowledged() -> None:
    """A frame of 1250 bytes takes 15 us, its acknowledgement 5 us more: until then nothing else starts a flowlet."""
    packets = sent([0, 20 * US, 40 * US - 1, 45 * US, 70 * US - 2, 90 * US])
    of = network(GBPS, GBPS)
    fates = run(POLICY_OF["drained"], of, packets, detector=find_detector("drained"), timeout_ns=None)
    assert fates.flowlet.tolist() == [0, 1, 1, 1, 1, 2]  # the fourth waits for the third, and comes back at 70 us - 1


def test_drained_goes_by_what_a_capture_acknowledges_or_gives_up() -> None:
    """1000 bytes each; a packet back at 50 us acknowledges the first three. The rest is given up after 1 ms."""
    times_ns = [0, 10 * US, 40 * US, 50 * US, 60 * US, 70 * US, 1070 * US - 1, 2070 * US - 1]
    packets, plan = sent(times_ns, [0, 0, 0, 1, 0, 0, 0, 0]), FlowPlan(words_of(2)[:, 0], *np.zeros((2, 2), int))
    seq = np.array([0, 1000, 500, 0, 2000, 3000, 4000, 5000], np.uint32)
    flags, ack = np.full(8, 0x10, np.uint8), np.array([0, 0, 0, 2000, 0, 0, 0, 0], np.uint32)
    said = TcpSegments(seq, ack, flags, np.full(8, 1000, np.uint32), np.ones(8, np.bool_))
    steering = Steering(MS, ack="recorded")
    releases = recorded(packets, said, np.array([1, 0]), steering.loss_timeout_ns)
    detector = find_detector("drained")
    cell = Cell(network(GBPS, GBPS), find_policy("random"), plan, steering, timeout_ns=None, seed=1, detector=detector)
    fates = simulate(cell, packets, releases=releases)
    assert fates.flowlet[packets.flow == 0].tolist() == [0, 0, 0, 2, 2, 2, 3]


def test_drained_starts_one_after_a_long_gap_as_well() -> None:
    packets = sent([0, 10 * US, 21 * US])
    of = network(GBPS, GBPS)
    detector, state = made("drained", gap_ns=10 * US)
    assert [bool(detector.starts(state, Gap(0, gap_ns, 0, 0, 2, 0, True, True))) for gap_ns in (10_000, 10_001)] == [
        False,
        True,
    ]
    cell = Cell(
        of,
        find_policy("random"),
        FlowPlan(words_of(1)[:, 0], *np.zeros((2, 1), int)),
        Steering(MS),
        timeout_ns=None,
        seed=1,
        detector=detector,
        detector_parameters=detector.parameters(gap_ns=10 * US),
    )
    assert simulate(cell, packets).flowlet.tolist() == [0, 0, 1]


def test_drained_is_refused_where_nobody_sees_an_acknowledgement() -> None:
    with pytest.raises(InputError, match="timeout 'drained' awaits acknowledgements"):
        steering = Steering(MS, ack="timeout")
        run("random", network(GBPS), sent([0]), steering=steering, detector=find_detector("drained"), timeout_ns=None)


def test_rtt_is_half_the_smoothed_round_trip_within_bounds() -> None:
    detector, state = made("rtt")
    assert timeout_of(detector, state) == 10 * MS
    assert detector.observe is not None
    detector.observe(state, told(lost=True, round_trip_ns=7))
    assert timeout_of(detector, state) == 10 * MS
    detector.observe(state, told(round_trip_ns=100 * US))
    assert timeout_of(detector, state) == 50 * US
    detector.observe(state, told(round_trip_ns=200 * US))
    assert timeout_of(detector, state) == 112_500 // 2
    assert timeout_of(detector, state, flow=1) == 112_500 // 2  # a flow without feedback has its host's
    for round_trip_ns, timeout_ns in ((1, 10 * US), (10**11, 10 * MS)):
        for _ in range(100):
            detector.observe(state, told(round_trip_ns=round_trip_ns))
        assert timeout_of(detector, state) == timeout_ns


def test_spread_is_the_difference_of_the_paths_delays() -> None:
    detector, state = made("spread", slots=3)
    assert detector.observe is not None
    detector.observe(state, told(0, delay_ns=30 * US))
    detector.observe(state, told(1, delay_ns=-1, lost=True))
    assert timeout_of(detector, state, slots=3) == MS
    detector.observe(state, told(2, delay_ns=50 * US))
    assert timeout_of(detector, state, slots=3) == 21 * US
    assert timeout_of(detector, state, slots=2) == MS
    detector.observe(state, told(2, delay_ns=42 * US))
    assert timeout_of(detector, state, slots=3) == 20 * US
    detector.observe(state, told(1, delay_ns=10**10))
    assert timeout_of(detector, state, slots=3) == MS
    detector, state = made("spread", margin_ns=0)
    assert detector.observe is not None
    for slot in range(2):
        detector.observe(state, told(slot, delay_ns=30 * US))
    assert timeout_of(detector, state) == US


@pytest.mark.parametrize("share_permille", [500, 900])
def test_quantile_finds_the_quantile_of_the_gaps(share_permille: int) -> None:
    """Of exponential gaps with mean 20 us, from a start of 100 us."""
    detector, state = made("quantile", share_permille=share_permille)
    gaps = np.random.default_rng(5).exponential(20 * US, 200_000).astype(int)
    starts = [detector.starts(state, Gap(0, gap, 0, 0, 2, 0, True, True)) for gap in gaps.tolist()]
    assert np.mean(starts[-100_000:]) == pytest.approx(1 - share_permille / 1000, abs=0.01)
    expected_ns = -20 * US * np.log(1 - share_permille / 1000)
    assert int(state.quantile_ns[0]) == pytest.approx(expected_ns, rel=0.2)


def test_quantile_steps_and_bounds() -> None:
    detector, state = made("quantile", low_ns=99_900, high_ns=100_500)
    places = []
    for gap_ns in (100 * US, 100 * US, *[10**9] * 3):
        places.append(int(state.quantile_ns[0]))
        assert detector.starts(state, Gap(0, gap_ns, 0, 0, 2, 0, True, True)) == (gap_ns > places[-1])
    assert places == [100_000, 100_000 - 38, 99_962 + 343, 100_500, 100_500]
    for _ in range(100):
        detector.starts(state, Gap(0, 0, 0, 0, 2, 0, True, True))
    assert int(state.quantile_ns[0]) == 99_900


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_runs_in_the_engine(name: str) -> None:
    packets = sent(np.arange(2000) * 50 * US, np.arange(2000) % 3)
    of = network(GBPS, 5 * GBPS)
    fates = run(POLICY_OF[name], of, packets, detector=find_detector(name), timeout_ns=100 * US)
    flowlets = int(fates.flowlet.max()) + 1
    if name in ("drained", "rtt", "spread", "safe"):  # a gap of 150 us exceeds what they soon ask for
        assert flowlets > 1900
    elif name == "fixed":
        assert flowlets == 2000
    else:
        assert 3 < flowlets < 2000


@pytest.mark.parametrize("name", ["rtt", "spread", "quantile"])
def test_bounds_in_the_wrong_order_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="low_ns 10 is above high_ns 9"):
        find_detector(name).parameters(low_ns=10, high_ns=9)


def test_an_unknown_timeout_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown flowlet timeout 'wish'; known: drained, fixed, "):
        find_detector("wish")


def test_what_learns_needs_modelled_acknowledgements() -> None:
    with pytest.raises(InputError, match='learns from acknowledgements; that needs ack = "modelled"'):
        run("conga", network(GBPS), sent([0]), steering=Steering(MS, ack="timeout"))
