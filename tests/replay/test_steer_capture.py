"""The bundled capture through the kernel's program: every flowlet and slot is the engine's, with recorded answers."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.traffic.prepare import Traffic, prepare
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS, schedule
from segcast.replay.steer.layout import NO_FLAGS, Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, clear, install
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.support.steering import feed, needs_bpf

pytestmark = needs_bpf

US, MS = 10**3, 10**6
LOSS_TIMEOUT_NS = 3 * MS
ICMPV6 = 58
CASES: dict[str, tuple[str, PolicyCode, Granularity, int, bool]] = {
    "inflight 100us": ("inflight", PolicyCode.INFLIGHT, Granularity.FLOWLET, 100 * US, False),
    "two-choices 50us": ("two-choices", PolicyCode.TWO_CHOICES, Granularity.FLOWLET, 50 * US, False),
    "inflight drained": ("inflight", PolicyCode.INFLIGHT, Granularity.FLOWLET, 10**12, True),
    "inflight 1ms and drained": ("inflight", PolicyCode.INFLIGHT, Granularity.FLOWLET, MS, True),
    "spray": ("spray", PolicyCode.RANDOM, Granularity.PACKET, 0, False),
}


def captured() -> list[bytes]:
    """The frames of the capture, as they were kept, by frame number from 1 on."""
    raw = gzip.decompress(CLUSTER.read_bytes())
    frames, at = [], 24
    while at < len(raw):
        (kept,) = struct.unpack_from("<I", raw, at + 8)
        frames.append(raw[at + 16 : at + 16 + kept])
        at += 16 + kept
    return frames


def tables_of(traffic: Traffic, flows: Any, cell: Cell) -> Tables:
    """Its hosts as sources, and as targets by the group of who sends to them; counters and paths of the cell."""
    slots = traffic.network.group_slots()
    plan, first = traffic.plan, cell.state.flows["first_counter"]
    ends = list(zip(flows["src"].to_pylist(), flows["dst"].to_pylist(), strict=True))
    used = np.unique(traffic.packets.flow).tolist()
    bits = {address: 128 if ":" in address else 32 for pair in ends for address in pair}
    sources = {f"{ends[flow][0]}/{bits[ends[flow][0]]}": int(plan.host[flow]) for flow in used}
    targets = {f"{ends[flow][1]}/{bits[ends[flow][1]]}": int(plan.group[flow]) for flow in used}
    pairs = {}
    for flow in used:
        host, group = int(plan.host[flow]), int(plan.group[flow])
        headers = [
            bytes((0x60, 0, 0, 0, 0, 0, 43, 64)) + bytes(range(1, traffic.network.paths[path].srv6_bytes - 7))
            for path in slots[group]
        ]
        ways = tuple(Way(header, header) for header in headers)
        pairs[host, group] = SteeredPair(host, group, int(first[flow]), slots[group].start, ways)
    return Tables(tuple(sources.items()), tuple(targets.items()), tuple(pairs.values()), len(cell.state.inflight))


@pytest.mark.parametrize("name", CASES)
def test_the_bundled_capture_is_steered_as_it_is_forecast(cluster: Trace, name: str) -> None:
    policy_name, code, granularity, timeout_ns, drained = CASES[name]
    packets, flows = cluster.packet_table(RELEASE_COLUMNS), cluster.flow_table()
    # Neighbour discovery is no host's to steer, and the capture has no other ICMPv6.
    discovery = flows.filter(pc.equal(flows["protocol"], ICMPV6))["flow_id"]
    packets = packets.filter(pc.invert(pc.is_in(packets["flow_id"], discovery.combine_chunks())))
    steering = {"ack": "recorded", "loss_timeout": f"{LOSS_TIMEOUT_NS}ns"}
    scenario = short_scenario(paths="4x1Gbps", steering=steering)
    traffic = prepare(packets, flows, scenario)
    policy = find_policy(policy_name)
    detector = find_detector("drained") if drained else None
    cell = Cell(
        traffic.network,
        policy,
        traffic.plan,
        Steering(LOSS_TIMEOUT_NS, "recorded"),
        timeout_ns=timeout_ns,
        seed=7,
        detector=detector,
        detector_parameters=detector.parameters(gap_ns=timeout_ns) if detector else None,
    )
    releases = schedule(packets, flows, traffic)(traffic.packets, scenario.steering, 7)
    tables = tables_of(traffic, flows, cell)
    fates = simulate(cell, traffic.packets, releases=releases)
    whole = captured()
    frames = [whole[number - 1] for number in traffic.frame_number.tolist()]
    times_ns = traffic.packets.send_ns.tolist()
    flags = Flag.PACKET_CLOCK | Flag.COUNTS_BARE | (Flag.DRAINED if drained else NO_FLAGS)
    with Program(tables.room(flows=1 << 12, outstanding=1 << 14, records=64)) as program:
        rules = Rules(code, granularity, timeout_ns, flags, loss_timeout_ns=LOSS_TIMEOUT_NS, seed=7)
        install(program, tables, rules)
        clear(program)
        first = np.array([slots.start for slots in traffic.network.group_slots()])[traffic.plan.group]
        slots = fates.path - first[traffic.packets.flow]
        expected = zip(slots.tolist(), fates.flowlet.tolist(), strict=True)
        for number, (fed, wanted) in enumerate(zip(feed(program, frames, times_ns), expected, strict=True)):
            assert (fed.slot, fed.flowlet) == wanted, number
        assert len(frames) > 38_000
        tally = program.state["tally"]
        assert int(tally["flowlets"]) == int(fates.flowlet.max()) + 1
        lacking = ("behind", "uncounted", "evicted", "contended", "not_targeted", "not_touched", "too_long")
        assert not any(int(tally[name]) for name in lacking)
        program.runner("sweep")(bytes(64), times_ns[-1] + LOSS_TIMEOUT_NS)
        while int(program.state["first_outstanding"]) < int(program.state["next_outstanding"]):
            program.runner("sweep")(bytes(64), times_ns[-1] + LOSS_TIMEOUT_NS)
        assert not program.tables["counters"]["inflight_bytes"].any()
