"""The kernel's program beside the engine: the same flowlets, slots and counters, packet by packet, without sending."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.replay.steer.layout import Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, clear, install
from tests.support.steering import (
    ACK,
    RST,
    TCP,
    UDP,
    Ends,
    Fabric,
    Sent,
    engine,
    engine_steps,
    feed,
    frame,
    needs_bpf,
    planned,
)

pytestmark = needs_bpf

HOSTS = ["10.0.0.1", "10.1.0.1", "fd00::1", "fd00:1::1", "10.0.0.2", "10.1.0.2"]
POLICIES: dict[str, tuple[PolicyCode, Granularity, str, dict[str, Any]]] = {
    "host-ecmp": (PolicyCode.HOST_ECMP, Granularity.FLOW, "host-ecmp", {}),
    "random": (PolicyCode.RANDOM, Granularity.FLOWLET, "random", {}),
    "inflight": (PolicyCode.INFLIGHT, Granularity.FLOWLET, "inflight", {}),
    "round-robin": (PolicyCode.ROUND_ROBIN, Granularity.FLOWLET, "round-robin", {}),
    "two-choices": (PolicyCode.TWO_CHOICES, Granularity.FLOWLET, "two-choices", {}),
    "spray": (PolicyCode.RANDOM, Granularity.PACKET, "spray", {}),
    "spray in turn": (PolicyCode.ROUND_ROBIN, Granularity.PACKET, "spray", {"order": "round-robin"}),
}
MOST_SLOTS = 64


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    room = tables_of(Fabric([40] * MOST_SLOTS), {}).room(flows=256, outstanding=1024, records=64)
    with Program(room._replace(counters=2 * len(HOSTS) * MOST_SLOTS)) as loaded:
        yield loaded


def header(size: int, slot: int) -> bytes:
    """An outer header of that size."""
    return bytes((0x60, 0, 0, 0, 0, 0, 41, 64)) + bytes(31) + bytes([slot]) + bytes(size - 40)


def tables_of(fabric: Fabric, first_counters: dict[tuple[int, int], int]) -> Tables:
    """All hosts as sources and as targets, by their side; the counters are the engine's where it has them."""
    ways = tuple(Way(header(size, slot), header(size, slot)) for slot, size in enumerate(fabric.header_bytes))
    prefixes = [(f"{address}/{128 if ':' in address else 32}", number) for number, address in enumerate(HOSTS)]
    pairs = tuple(
        SteeredPair(host, 1 - host % 2, first_counters.get((host, host % 2), 0), host % 2 * len(ways), ways)
        for host in range(len(HOSTS))
    )
    targets = tuple((prefix, number % 2) for prefix, number in prefixes)
    return Tables(tuple(prefixes), targets, pairs, len(ways))


class Case(NamedTuple):
    """Traffic, and how it is steered."""

    fabric: Fabric
    flows: list[Ends]
    packets: list[Sent]
    policy: str
    timeout_ns: int
    drained: bool
    scope: str
    loss_timeout_ns: int
    seed: int


@st.composite
def cases(draw: Any) -> Case:
    slots = draw(st.sampled_from([1, 2, 3, 4, 5, 8, MOST_SLOTS]))
    fabric = Fabric(draw(st.lists(st.sampled_from([40, 56, 64, 80, 240]), min_size=slots, max_size=slots)))
    flows: list[Ends] = []
    for pair in range(draw(st.integers(1, 4))):
        family = draw(st.sampled_from([(0, 1), (2, 3), (4, 5), (0, 5), (3, 2), (1, 4)]))
        protocol = draw(st.sampled_from([TCP, TCP, TCP, UDP]))
        ends = Ends(HOSTS[family[0]], HOSTS[family[1]], 1000 + pair, draw(st.integers(0, 65535)), protocol)
        flows += [ends, ends.reversed()]
    number = st.one_of(
        st.integers(0, 6).map(lambda n: n * 100), st.integers(0, 2**32 - 1), st.integers(0, 7).map(lambda n: n << 29)
    )
    packets, time_ns = [], draw(st.integers(0, 2**40))
    for gap_ns, flow, payload, seq, ack, flags in draw(
        st.lists(
            st.tuples(
                st.one_of(st.integers(0, 3), st.integers(0, 2000), st.sampled_from([1000, 1001, 10**7])),
                st.integers(0, len(flows) - 1),
                st.sampled_from([0, 0, 1, 100, 100, 1460, 9000]),
                number,
                number,
                st.sampled_from([ACK, ACK, ACK, ACK, 0, ACK | RST]),
            ),
            min_size=1,
            max_size=40,
        )
    ):
        time_ns += gap_ns
        packets.append(Sent(time_ns, flow, payload, seq, ack, flags))
    return Case(
        fabric,
        flows,
        packets,
        draw(st.sampled_from(sorted(POLICIES))),
        draw(st.sampled_from([0, 1, 100, 1000, 10**6])),
        draw(st.booleans()),
        draw(st.sampled_from(["pair", "host", "fabric"])),
        draw(st.sampled_from([0, 1, 500, 5000, 10**6, 10**12])),
        draw(st.integers(0, 2**64 - 1)),
    )


def compare(program: Program, case: Case) -> None:
    """Raise unless the program and the engine agree on every packet."""
    code, granularity, name, parameters = POLICIES[case.policy]
    plan = planned(case.flows, HOSTS)
    cell = engine(
        case.fabric,
        plan,
        policy=name,
        parameters=parameters,
        timeout_ns=case.timeout_ns,
        drained_gap_ns=case.timeout_ns if case.drained else None,
        scope=case.scope,  # type: ignore[arg-type]
        loss_timeout_ns=case.loss_timeout_ns,
        seed=case.seed,
    )
    first = {
        (int(host), int(group)): int(counter)
        for host, group, counter in zip(plan.host, plan.group, cell.state.flows["first_counter"], strict=True)
    }
    flags = Flag.PACKET_CLOCK | Flag.COUNTS_BARE | (Flag.DRAINED if case.drained else Flag(0))
    rules = Rules(code, granularity, case.timeout_ns, flags, loss_timeout_ns=case.loss_timeout_ns, seed=case.seed)
    install(program, tables_of(case.fabric, first), rules)
    clear(program)
    counts = cell.schedules_releases
    slots = len(case.fabric.header_bytes)
    steps = engine_steps(cell, case.flows, case.packets, case.loss_timeout_ns)
    frames = [frame(case.flows[packet.flow], packet) for packet in case.packets]
    fed = feed(program, frames, [packet.time_ns for packet in case.packets])
    for packet, ours, theirs in zip(case.packets, fed, steps, strict=True):
        path, flowlet, inflight = theirs
        assert (ours.slot, ours.flowlet) == (path % slots, flowlet), packet
        if counts:
            assert ours.inflight_bytes[: len(inflight)].tolist() == inflight, packet
            assert not ours.inflight_bytes[len(inflight) :].any()
    tally = program.state["tally"]
    kept = ("behind", "uncounted", "evicted", "contended", "not_targeted")
    assert {name: int(tally[name]) for name in kept} == dict.fromkeys(kept, 0)


def test_a_place_used_at_time_0_is_not_an_unused_one(program: Program) -> None:
    """Two flows of one set of places, in which the first was last seen at 0."""
    there, back = Ends("fd00:1::1", "fd00::1", 1000, 26785, TCP), Ends("fd00::1", "fd00:1::1", 26785, 1000, TCP)
    packets = [Sent(0, 0, 0, 0, 0, ACK), Sent(0, 1, 0, 0, 0, ACK)]
    compare(program, Case(Fabric([40]), [there, back], packets, "host-ecmp", 0, False, "pair", 0, 0))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_the_same_decisions_as_the_engine(program: Program, case: Case) -> None:
    compare(program, case)
