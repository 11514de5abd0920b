"""Connections of the engine beside the slow ones, packet for packet, and what must hold whatever they do."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.transport import cell as transport_cell
from segcast.analyzer.engine.transport.cell import Messages, Transport, TransportCell
from segcast.analyzer.engine.transport.state import RECORDED
from segcast.analyzer.network.model import Link, Network
from segcast.analyzer.network.model import Path as Way
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.transport import TransportSpec
from tests.support.connecting import connected, network_of, run_cell, steering_of
from tests.support.simulating import traffic_of
from tests.support.transport import Case, Seeded, cases, make_case, run_twin

CONTROLS = [(control, rules) for rules in ("rfc", "ns-3") for control in ("newreno", "cubic", "dctcp")]
ROUNDS = 12


@pytest.mark.parametrize("policy", ["ecmp", "inflight"])
@pytest.mark.parametrize(("control", "rules"), CONTROLS)
def test_every_packet_is_that_of_the_slow_twin(control: str, rules: str, policy: str) -> None:
    for seed in range(ROUNDS):
        case = make_case(Seeded(seed), ((policy, "fixed"),), ((control, rules),))
        assert run_cell(case) == run_twin(case), f"seed {seed}"


def test_where_slow_start_ends_early_is_that_of_the_slow_twin() -> None:
    found = 0
    for seed in range(40):
        case = make_case(Seeded(seed), (("ecmp", "fixed"),), (("cubic", "rfc"),), most_segments=300)
        case = dataclasses.replace(case, settings=dataclasses.replace(case.settings, slow_start="hystart"))
        assert run_cell(case) == run_twin(case), f"seed {seed}"
        cell = connected(case)
        list(cell.pieces())
        found += int((cell.halves["found"] > 0).sum())
    assert found > 2


@settings(max_examples=25, deadline=None)
@given(cases((("inflight", "fixed"),), most_segments=20))
def test_any_small_case_is_that_of_the_slow_twin(case: Case) -> None:
    assert run_cell(case) == run_twin(case)


def test_a_scenario_that_says_nothing_of_its_senders_has_those_of_the_engine() -> None:
    assert TransportSpec().transport() == Transport()


def test_where_all_is_acknowledged_flowlets_start_as_in_the_slow_twin() -> None:
    started = 0
    for seed in range(40):
        case = make_case(Seeded(seed), (("inflight", "drained"),), most_segments=40)
        ran = run_cell(case)
        assert ran == run_twin(case), f"seed {seed}"
        started += len({sent.flowlet for sent in ran[0] if sent.kind == "data"})
    assert started > 300


def test_a_new_flowlet_finds_all_of_its_flow_acknowledged() -> None:
    """Of data segments: the one before it had arrived, and was sent no more than once unless it was acknowledged."""
    begun = 0
    for seed in range(40, 80):
        case = make_case(Seeded(seed), (("inflight", "drained"),), most_segments=40)
        case = dataclasses.replace(case, options=case.options | {"detector_parameters": {"gap": 10**12}})
        last: dict[int, tuple[int, int]] = {}
        arrived: dict[int, dict[int, int]] = {}
        for sent in run_cell(case)[0]:
            if sent.kind != "data":
                continue
            before = last.get(sent.flow)
            if before is not None and before[0] != sent.flowlet and before[1] >= 0:
                seen = arrived[sent.flow]
                assert all(seen.get(n, sent.send_ns + 1) <= sent.send_ns for n in range(sent.number)), f"seed {seed}"
                begun += 1
            last[sent.flow] = sent.flowlet, sent.number
            if sent.receive_ns is not None:
                of = arrived.setdefault(sent.flow, {})
                of[sent.number] = min(of.get(sent.number, sent.receive_ns), sent.receive_ns)
    assert begun > 100


def test_where_rows_are_handed_out_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(Seeded(7), (("inflight", "fixed"),), (("cubic", "rfc"),))
    whole = run_cell(case)
    monkeypatch.setattr(transport_cell, "_FIRST_ROWS", 16)
    monkeypatch.setattr(transport_cell, "_ROWS", 16)
    monkeypatch.setattr(transport_cell, "_FIRST_PLACES", 64)
    assert len(list(connected(case).pieces())) > 3
    assert run_cell(case) == whole


@pytest.mark.parametrize("policy", ["ecmp", "random", "host-ecmp"])
def test_packets_as_captured_alone_fare_as_in_the_engine_of_recorded_packets(policy: str) -> None:
    tried = 0
    for seed in range(40):
        case = make_case(Seeded(seed), ((policy, "fixed"),))
        if not case.recorded:
            continue
        tried += 1
        case = dataclasses.replace(case, messages=(), settings=dataclasses.replace(case.settings, ties="number"))
        (piece,) = connected(case).pieces()
        packets, plan = traffic_of(case.recorded, case.flows, case.options["hosts"])
        options = case.options | {"ack": "timeout", "suspect_after": 0}
        alone = Cell(
            network_of(case),
            find_policy(policy),
            plan,
            steering_of(options),
            timeout_ns=options["timeout_ns"],
            seed=options["seed"],
        )
        fates = simulate(alone, packets)
        for mine, theirs in zip(piece.packets, packets, strict=True):
            assert (mine == theirs).all()
        assert (piece.headers["kind"] == RECORDED).all()
        outcome = MARKED | DROPPED | RECEIVED
        assert (piece.fates.state & outcome == fates.state & outcome).all()
        for name in ("path", "flowlet", "receive_ns", "queue_ns"):
            assert (getattr(piece.fates, name) == getattr(fates, name)).all(), (name, seed)
    assert tried > 10


def test_packets_as_captured_end_once_and_count_for_nothing() -> None:
    """Beside connections every one is sent, received or dropped, and nothing stays in flight."""
    mixed = 0
    for seed in range(40):
        case = make_case(Seeded(seed), (("inflight", "fixed"),))
        cell = connected(case)
        sent = [piece for piece in cell.pieces() if len(piece.packets.flow)]
        kind = np.concatenate([piece.headers["kind"] for piece in sent])
        state = np.concatenate([piece.fates.state for piece in sent])
        flow = np.concatenate([piece.packets.flow for piece in sent])
        recorded = kind == RECORDED
        mixed += bool(recorded.any())
        assert recorded.sum() == len(case.recorded)
        assert (recorded == (flow >= 2 * len(case.connections))).all()
        assert (((state & DROPPED) > 0) != ((state & RECEIVED) > 0)).all()
        assert not cell.state.inflight.any()
    assert mixed > 8


OFF = """
import numpy as np
np.seterr(over="ignore")  # hashes wrap around
from tests.support.connecting import run_cell
from tests.support.transport import Seeded, make_case, run_twin
for seed, control in enumerate((("cubic", "rfc"), ("dctcp", "ns-3"))):
    case = make_case(Seeded(seed), (("inflight", "fixed"),), (control,), most_segments=12)
    assert run_cell(case, compiled=False) == run_twin(case)
"""


def test_without_the_compiler_it_is_the_same() -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, "-W", "error", "-c", OFF], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


def one_way(links: tuple[Link, ...], ways: list[tuple[int, ...]]) -> Network:
    """A network whose paths are given: one for each direction of each connection."""
    return Network(links, tuple(Way(group, way, 0, 0) for group, way in enumerate(ways)), 0)


def ten_gigabit(name: str, packets: int | None = None) -> Link:
    """A link as that of ns-3's reference runs: PPP's 2 bytes of header instead of Ethernet's 14."""
    return Link(name, 10**10, 10_000, overhead_bytes=-12, buffer_packets=packets)


NS3 = {"rules": "ns-3", "receiver": "dupack", "min_rto_ns": 10**7, "initial_rto_ns": 10**7, "ack_every": 1}


@pytest.mark.parametrize(
    ("control", "published_ns"), [("newreno", 1_117_942), ("cubic", 1_936_552), ("dctcp", 1_117_920)]
)
def test_an_idle_megabyte_takes_as_long_as_in_ns3(control: str, published_ns: int) -> None:
    links = tuple(ten_gigabit(f"l{n}") for n in range(8))
    network = one_way(links, [(0, 1, 2, 3), (4, 5, 6, 7)])
    plan = FlowPlan(np.array([1, 2], np.uint64), np.array([0, 1]), np.array([0, 1]))
    none = np.zeros(1, np.int64)
    messages = Messages(none, np.array([1_000_000]), none, none, np.zeros(2, np.int64), np.zeros(0, np.int64))
    transport = Transport(control=control, **NS3)  # type: ignore[arg-type]
    cell = TransportCell(
        network, find_policy("ecmp"), plan, Steering(10**7), transport, messages, timeout_ns=None, seed=1
    )
    for _ in cell.pieces():
        pass
    fct_ns = int(cell.messages["complete_ns"][0])
    assert abs(fct_ns - published_ns) < 0.001 * published_ns


def test_what_arrives_at_one_instant_is_served_without_favour() -> None:
    """Two hosts send equal packets at equal instants over equal links to one receiver that takes half of them."""
    links = (ten_gigabit("a"), ten_gigabit("b"), ten_gigabit("down", 20), *(ten_gigabit(f"back{n}") for n in range(3)))
    network = one_way(links, [(0, 2), (3, 4), (1, 2), (3, 5)])
    plan = FlowPlan(np.arange(1, 5, dtype=np.uint64), np.arange(4), np.arange(4))
    none = np.zeros(0, np.int64)
    messages = Messages(none, none, none, none, np.zeros(1, np.int64), none)
    count = 20_000
    packets = Packets(
        np.repeat(np.arange(count, dtype=np.int64) * 1202, 2),
        np.tile(np.array([0, 2], np.uint32), count),
        np.full(2 * count, 1500, np.uint32),
    )
    lost = {}
    for ties in ("hash", "number"):
        cell = TransportCell(
            network,
            find_policy("ecmp"),
            plan,
            Steering(10**7),
            Transport(ties=ties),  # type: ignore[arg-type]
            messages,
            recorded=packets,
            timeout_ns=None,
            seed=1,
        )
        fates = [(piece.packets.flow, piece.fates.state) for piece in cell.pieces()]
        flow, state = (np.concatenate([each[column] for each in fates]) for column in (0, 1))
        lost[ties] = [int(((state & DROPPED) > 0)[flow == number].sum()) for number in (0, 2)]
    assert sum(lost["hash"]) > 0.9 * count
    assert abs(lost["hash"][0] - lost["hash"][1]) < 0.03 * count
    assert lost["number"][0] < 0.01 * count < 0.9 * count < lost["number"][1]
