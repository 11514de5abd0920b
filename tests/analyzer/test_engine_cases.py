"""The engine against theory, its memory, what it refuses, and policies that come from outside."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as File
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from segcast.analyzer.engine.calendar import Calendar
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Link, Network, Path, parallel_network
from segcast.analyzer.packets import DROPPED, RECEIVED, FlowPlan, Packets, empty_fates
from segcast.analyzer.policies.registry import Decision, NetworkState, Policy, Setting, find_policy, register
from segcast.traces.errors import InputError, PolicyError
from tests.support.compiled import begin_with_kernels
from tests.support.simulating import assert_same_fates, network_of, run_engine, traffic_of
from tests.support.strategies import Seeded, make_scenario
from tests.twins import engine as twin
from tests.twins.policies import Choice
from tests.twins.policies import Policy as TwinPolicy


def sources(calendar: Calendar) -> list[int]:
    """Where the pending events come from."""
    row = calendar.row[0]
    pending = calendar.order["event"][row["begin"] : row["end"]].tolist()
    for head in (*calendar.heads.tolist(), int(row["later"])):
        while head != -1:
            pending.append(head)
            head = int(calendar.events[head]["next"])
    assert len(pending) == row["pending"]
    return calendar.events["source"][pending].tolist()


def test_every_packet_is_delivered_queued_or_dropped_at_any_moment() -> None:
    scenario = make_scenario(Seeded(3), 600)
    network = network_of(scenario)
    packets, plan = traffic_of(scenario.packets, scenario.flows)
    for policy in ("ecmp", "random", "inflight"):
        cell = Cell(network, find_policy(policy), plan, Steering(1000), timeout_ns=1000, seed=1)
        fates = empty_fates(len(packets.send_ns))
        for stop in range(100, len(packets.send_ns), 100):
            cell.run(packets, fates, stop)
            settled = int(((fates.state[:stop] & (RECEIVED | DROPPED)) > 0).sum())
            under_way = [source for source in sources(cell.state.calendar) if source < len(network.links)]
            assert settled + len(under_way) == stop
        cell.drain(packets, fates)
        assert (((fates.state & RECEIVED) > 0) ^ ((fates.state & DROPPED) > 0)).all()


def poisson(load: float, count: int, seed: int) -> tuple[Packets, FlowPlan]:
    """Constant-size packets at Poisson times for a 1 Gbit/s link: 1250 bytes with overhead, 10 us each."""
    gaps = np.random.default_rng(seed).exponential(10_000 / load, count)
    packets = Packets(
        np.cumsum(gaps).astype(np.int64), np.zeros(count, np.uint32), np.full(count, 1250 - 38, np.uint32)
    )
    return packets, FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_mean_wait_of_an_md1_queue(load: float) -> None:
    """Pollaczek-Khinchine for deterministic service: W = s * rho / (2 (1 - rho))."""
    packets, plan = poisson(load, 4_000_000, seed=7)
    network = Network((Link("l", 10**9, 0),), (Path(0, (0,), 0, 0),))
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)
    fates = simulate(cell, packets)
    expected_ns = 10_000 * load / (2 * (1 - load))
    assert float(fates.queue_ns.mean()) == pytest.approx(expected_ns, rel=0.01)


def test_a_saturated_link_keeps_its_exact_rate() -> None:
    """7 Gbit/s: a frame of 1250 bytes takes 1428 4/7 ns; ten million bits must take exactly their time."""
    count = 7000
    packets = Packets(np.zeros(count, np.int64), np.zeros(count, np.uint32), np.full(count, 1250 - 14, np.uint32))
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    network = Network((Link("l", 7 * 10**9, 0, overhead_bytes=0),), (Path(0, (0,), 0, 0),))
    fates = simulate(Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1), packets)
    assert int(fates.receive_ns[-1]) == count * 10_000 // 7
    assert fates.receive_ns.tolist() == [math.ceil((n + 1) * 10_000 / 7) for n in range(count)]


class RoundRobinState(NamedTuple):
    """The next slot, int64[1]."""

    following: NDArray[np.int64]


def choose_next(state: RoundRobinState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    slot = state.following[0] % decision.path_count
    state.following[0] += 1
    return slot


def make_round_robin(setting: Setting) -> RoundRobinState:
    return RoundRobinState(np.array([setting.seed % 1000], np.int64))


def test_a_policy_registered_from_outside_runs() -> None:
    policy = register(
        name="test-round-robin",
        summary="each packet to the next path",
        source="this test",
        granularity="packet",
        steered=True,
        counts_inflight=False,
        make_state=make_round_robin,
        state=RoundRobinState,
        choose=choose_next,
    )
    assert find_policy("test-round-robin") is policy
    for seed in range(10):
        scenario = make_scenario(Seeded(seed), 200)
        turn = iter(range(scenario.seed % 1000, 10**9))

        def next_slot(choice: Choice, turn: object = turn) -> int:
            return next(turn) % choice.slots  # type: ignore[call-overload, no-any-return]

        options = scenario.options() | {"policy": TwinPolicy("packet", True, next_slot)}
        ref = twin.simulate(*scenario.network(), **options)
        comp, _ = run_engine(scenario, policy)
        assert_same_fates(comp, ref)


OUTSIDE = """
from typing import NamedTuple
import numpy as np
from segcast.analyzer.engine.calendar import Calendar
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.packets import Packets
from segcast.analyzer.network.model import Link, parallel_network
from segcast.analyzer.policies.registry import Fabric, register  # as policies outside were written

class State(NamedTuple):
    unused: np.ndarray

def make_state(setting):
    return State(np.zeros(1, np.int64))

def choose(state, decision, inflight, fabric: Fabric):
    return SLOT

policy = register(name="outside", summary="", source="", granularity="flow", steered=True, counts_inflight=False,
                  make_state=make_state, state=State, choose=choose)
network = parallel_network([[Link("a", 10**9, 0)], [Link("b", 10**9, 0)]], [(), ()])
plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
packets = Packets(np.zeros(1, np.int64), np.zeros(1, np.uint32), np.full(1, 100, np.uint32))
print(simulate(Cell(network, policy, plan, Steering(0), timeout_ns=None, seed=1), packets).path[0])
"""


def test_an_edited_policy_file_is_compiled_anew_and_an_unchanged_one_is_not(tmp_path: File) -> None:
    """The kernel cache on disk must tell the two apart, wherever the policy's file lies."""
    script = tmp_path / "outside.py"
    cache = tmp_path / "cache"
    begin_with_kernels(cache, without=("loop",))
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPATH": f"{File(__file__).parents[2]}:{tmp_path}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", "import outside"]

    def run(slot: int) -> tuple[str, int]:
        script.write_text(OUTSIDE.replace("SLOT", str(slot)))
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ran.stdout.strip(), len(list(cache.rglob("*loop*run*.nbc")))

    assert run(0) == ("0", 1)
    assert run(0) == ("0", 1)
    assert run(1) == ("1", 2)
    assert run(0) == ("0", 2)


def test_one_long_flowlet_does_not_fill_memory() -> None:
    count = 300_000
    packets = Packets(
        np.arange(count, dtype=np.int64) * 10_000, np.zeros(count, np.uint32), np.full(count, 1000, np.uint32)
    )
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    chain = [[Link(f"p{n}", 10**10, 1000, 100_000)] for n in range(4)]
    network = parallel_network(chain, [()] * 4)
    cell = Cell(network, find_policy("inflight"), plan, Steering(1), timeout_ns=10_000, seed=1)
    room = (len(cell.state.calendar.events), len(cell.state.rings.entries))
    simulate(cell, packets)
    held = cell.state.rings
    assert (len(cell.state.calendar.events), len(held.entries)) == room
    waiting = 0
    for ring in held.rings[len(network.links) :]:
        numbers = np.arange(ring["first"], ring["next"])
        waiting += int(held.entries["bytes"][ring["begin"] + (numbers & ring["mask"])].sum())
    assert int(cell.state.inflight.sum()) == waiting > 0


class OutsideState(NamedTuple):
    """Nothing, int64[1]."""

    unused: NDArray[np.int64]


def choose_outside(state: OutsideState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    return decision.path_count


def register_outside(choose: Callable[[OutsideState, Decision, NDArray[np.int64], NetworkState], int]) -> Policy:
    return register(
        name="test-outside",
        summary="a slot that is not there",
        source="this test",
        granularity="flow",
        steered=True,
        counts_inflight=False,
        make_state=lambda setting: OutsideState(np.zeros(1, np.int64)),
        state=OutsideState,
        choose=choose,
    )


def test_a_slot_outside_the_group_is_refused() -> None:
    scenario = next(s for s in (make_scenario(Seeded(seed), 20) for seed in range(9)) if s.packets)
    with pytest.raises(PolicyError, match="'test-outside' chose a slot that its flow's group does not have") as caught:
        run_engine(scenario, register_outside(choose_outside))
    assert "a fault of the policy: its choose must return 0 to decision.path_count - 1" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not isinstance(caught.value, InputError)


def test_a_state_class_is_bound_to_one_function() -> None:
    register_outside(choose_outside)
    with pytest.raises(InputError, match="OutsideState already belongs to 'test-outside'; define a new class"):
        register_outside(lambda state, decision, inflight, fabric: 0)


@pytest.mark.parametrize(
    ("send_ns", "ip_bytes", "rate_bps", "words"),
    [
        ([0, 5 * 10**18], 100, 10**9, "check the capture's clock"),
        ([-(2**63), 0], 100, 10**9, "check the capture's clock"),
        ([0, 0], 2**31, 10**9, "at most 16777216 are modelled"),
        ([0] * 40_000, 1 << 24, 1000, "over a link of 1000 bit/s"),
    ],
)
def test_what_would_leave_64_bits_is_refused(send_ns: list[int], ip_bytes: int, rate_bps: int, words: str) -> None:
    count = len(send_ns)
    packets = Packets(np.array(send_ns, np.int64), np.zeros(count, np.uint32), np.full(count, ip_bytes, np.uint32))
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    network = Network((Link("l", rate_bps, 0),), (Path(0, (0,), 0, 0),))
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)
    with pytest.raises(InputError, match=words):
        simulate(cell, packets)


def test_packets_out_of_order_are_refused() -> None:
    packets = Packets(np.array([1, 0], np.int64), np.zeros(2, np.uint32), np.full(2, 100, np.uint32))
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    network = Network((Link("l", 10**9, 0),), (Path(0, (0,), 0, 0),))
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)
    with pytest.raises(InputError, match="not in send order"):
        simulate(cell, packets)


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown policy 'wishful'; known: .*ecmp.*inflight.*random"):
        find_policy("wishful")


@pytest.mark.parametrize("timeout_ns", [None, -1])
def test_a_flowlet_policy_needs_a_timeout(timeout_ns: int | None) -> None:
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    network = Network((Link("l", 10**9, 0),), (Path(0, (0,), 0, 0),))
    with pytest.raises(InputError, match="'random' needs a flowlet timeout"):
        Cell(network, find_policy("random"), plan, Steering(0), timeout_ns=timeout_ns, seed=1)


def test_a_token_bucket_lets_a_burst_through_at_once_and_then_keeps_its_rate() -> None:
    """8 Mbit/s, a byte a microsecond, and a burst of 3000 bytes: there are tokens for three frames of 1000."""
    network = Network((Link("l", 8 * 10**6, 0, 2500, None, 0, 3000),), (Path(0, (0,), 0, 0),), 0)
    sent = np.array([0, 0, 0, 0, 0, 0, 10_000_000], np.int64)
    packets = Packets(sent, np.zeros(len(sent), np.uint32), np.full(len(sent), 986, np.uint32))
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    fates = simulate(Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1), packets)
    assert fates.receive_ns.tolist() == [0, 0, 0, 1_000_000, 2_000_000, -1, 10_000_000]
    assert fates.queue_ns[:5].tolist() == [0, 0, 0, 1_000_000, 2_000_000]
