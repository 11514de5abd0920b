"""Scenarios of the twin in the product's types, and runs of the engine compared with those of the twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from segcast.analyzer.detectors.registry import Detector, detectors, find_detector
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering, Ties
from segcast.analyzer.network.model import Change, Link, Network, Path
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED, Fates, FlowPlan, Packets, Releases
from segcast.analyzer.policies.registry import Parameters, Policy, find_policy, policies
from segcast.analyzer.traffic.recorded_acks import TcpSegments, recorded
from tests.twins import engine as twin
from tests.twins import network as given
from tests.twins.scenarios import Scenario

# What the product registers; a test may register more.
POLICIES = [name for name, policy in policies().items() if policy.state.__module__.startswith("segcast.")]
DETECTORS = [name for name, detector in detectors().items() if detector.state.__module__.startswith("segcast.")]

# The policy that each timeout is tried with: in turn one that learns nothing and one that does. Each pair of policy
# and timeout is a loop of its own, which takes seconds to compile, so there is one pair for each.
POLICY_OF = {
    detector: ("random", "clove-ecn")[number % 2]
    for number, detector in enumerate(sorted(name for name in DETECTORS if name not in ("drained", "fixed")))
} | {"drained": "inflight", "fixed": "random"}

# Policy and timeout: every policy and every timeout.
CELLS = [(policy, "fixed") for policy in POLICIES] + [
    (POLICY_OF[detector], detector) for detector in DETECTORS if detector != "fixed"
]


def links_of(links: Sequence[given.Link]) -> list[Link]:
    """Links of the product."""
    return [
        Link(
            f"l{n}",
            x.rate_bps,
            x.delay_ns,
            x.buffer_bytes,
            x.ecn_bytes,
            x.overhead_bytes,
            x.burst_bytes,
            x.buffer_packets,
            x.ecn_packets,
        )
        for n, x in enumerate(links)
    ]


def network_of(scenario: Scenario) -> Network:
    """The scenario's network."""
    links = links_of(scenario.links)
    return Network(
        tuple(links),
        tuple(Path(p.group, p.links, p.srv6_bytes, p.ack_delay_ns) for p in scenario.paths),
        scenario.minimum_frame_bytes,
        scenario.tiers or (),
        tuple(Change(c.time_ns, c.link, c.rate_bps) for c in scenario.changes),
        scenario.detection_ns,
        bool(scenario.hosts),
    )


def traffic_of(
    sent: Sequence[given.Packet], flows: Sequence[given.Flow], hosts: Sequence[given.HostLinks] = ()
) -> tuple[Packets, FlowPlan]:
    """Packets and flows."""
    packets = Packets(
        np.array([p.send_ns for p in sent], np.int64),
        np.array([p.flow for p in sent], np.uint32),
        np.array([p.ip_bytes for p in sent], np.uint32),
    )
    plan = FlowPlan(
        np.array([f.key for f in flows], np.uint64),
        np.array([f.host for f in flows], np.int64),
        np.array([f.group for f in flows], np.int64),
        np.array([f.words for f in flows], np.uint64),
        np.array([f.attachment for f in flows], np.int64),
        np.array([hosts[f.host].uplink for f in flows], np.int64) if hosts else None,
        np.array([hosts[f.destination].downlink for f in flows], np.int64) if hosts else None,
    )
    return packets, plan


def segments_of(sent: Sequence[given.Packet]) -> TcpSegments:
    """What TCP says in the packets; noise where it says nothing."""
    noise = given.Segment(2**32 - 1, 1, 2**32 - 1, True)
    segments = [packet.segment or noise for packet in sent]
    return TcpSegments(
        np.array([s.seq for s in segments], np.uint32),
        np.array([s.ack for s in segments], np.uint32),
        np.array([0x18 if s.ack_set else 0x02 for s in segments], np.uint8),
        np.array([s.payload_bytes for s in segments], np.uint32),
        np.array([packet.segment is not None for packet in sent], np.bool_),
    )


def releases_of(scenario: Scenario) -> Releases | None:
    """What the trace says of bytes in flight; None if acknowledgements are modelled."""
    packets, _ = traffic_of(scenario.packets, scenario.flows)
    if scenario.ack == "recorded":
        reverse = np.array([-1 if f.reverse is None else f.reverse for f in scenario.flows], np.int64)
        return recorded(packets, segments_of(scenario.packets), reverse, scenario.loss_timeout_ns)
    return None


def parameters_of(kind: type[Parameters], values: dict[str, Any]) -> Parameters:
    """The product's parameters from the twin's; the product's names carry units."""
    named = {}
    for name, value in values.items():
        (field,) = [each for each in kind.model_fields if each == name or each.startswith(f"{name}_")][:1]
        named[field] = value
    return kind.model_construct(**named)


def cell_of(scenario: Scenario, policy: Policy | None = None) -> Cell:
    """The engine's cell for a scenario."""
    policy = policy or find_policy(scenario.policy)
    detector: Detector = find_detector(scenario.detector)
    _, plan = traffic_of(scenario.packets, scenario.flows, scenario.hosts)
    return Cell(
        network_of(scenario),
        policy,
        plan,
        Steering(
            scenario.loss_timeout_ns,
            cast(Literal["modelled"], scenario.ack),
            cast(Literal["pair"], scenario.scope),
            scenario.suspect_after,
            scenario.suspect_for_ns,
            scenario.ack_loss_millionths,
            scenario.ack_late_ns,
        ),
        timeout_ns=scenario.timeout_ns,
        seed=scenario.seed,
        parameters=parameters_of(policy.parameters, scenario.parameters),
        detector=detector,
        detector_parameters=parameters_of(detector.parameters, scenario.detector_parameters or {}),
        ties=cast(Ties, scenario.ties),
    )


def run_engine(scenario: Scenario, policy: Policy | None = None, batch_packets: int = 1 << 20) -> tuple[Fates, Cell]:
    """Fates, and the cell when all is over."""
    packets, _ = traffic_of(scenario.packets, scenario.flows)
    cell = cell_of(scenario, policy)
    releases = releases_of(scenario) if cell.schedules_releases else None
    return simulate(cell, packets, batch_packets, releases), cell


def with_records(columns: Any) -> Any:
    """Columns, also those within columns, whose records are reachable by attribute."""
    if isinstance(columns, tuple):
        return columns._make(with_records(column) for column in columns)  # type: ignore[attr-defined]
    return columns.view(np.recarray) if isinstance(columns, np.ndarray) and columns.dtype.names else columns


def uncompiled_fates(scenario: Scenario) -> Fates:
    """Fates under NUMBA_DISABLE_JIT: records must then be reachable by attribute, as they are in compiled code."""
    packets, _ = traffic_of(scenario.packets, scenario.flows)
    cell = cell_of(scenario)
    for state in ("state", "policy_state", "detector_state"):
        setattr(cell, state, with_records(getattr(cell, state)))
    return simulate(cell, packets, 50, releases_of(scenario) if cell.schedules_releases else None)


def assert_same_fates(comp: Fates, ref: Sequence[twin.Fate]) -> None:
    """Packet for packet."""
    got = [
        twin.Fate(
            path_id=int(comp.path[row]),
            flowlet_id=int(comp.flowlet[row]),
            receive_ns=int(comp.receive_ns[row]) if comp.state[row] & RECEIVED else None,
            queue_ns=int(comp.queue_ns[row]),
            ecn_marked=bool(comp.state[row] & MARKED),
            dropped=bool(comp.state[row] & DROPPED),
        )
        for row in range(len(comp.path))
    ]
    for index, (mine, theirs) in enumerate(zip(got, ref, strict=True)):
        assert mine == theirs, f"packet {index}"
    assert len(got) == len(ref)


def pieces(packets: Packets, size: int) -> list[Packets]:
    return [Packets._make(c[i : i + size] for c in packets) for i in range(0, len(packets.flow), size)]
