"""The network model of `docs/model.md` run slowly and obviously: a heap entry per event, exact fractions."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.twins.hashing import Draws
from tests.twins.policies import POLICIES, Choice, Policy

# What happens first at one instant: frames arrive, in-flight bytes are released, packets are sent.
ARRIVE, RELEASE, SEND = 0, 1, 2


@dataclass(frozen=True)
class Link:
    """A FIFO queue and its transmitter; a `buffer_bytes` or `ecn_bytes` of None is no limit."""

    rate_bps: int
    delay_ns: int
    buffer_bytes: int | None
    ecn_bytes: int | None
    overhead_bytes: int


@dataclass(frozen=True)
class Path:
    """Links in order of travel; a group's paths have their slots in the order of the list of paths."""

    group: int
    links: tuple[int, ...]
    srv6_bytes: int
    ack_delay_ns: int


@dataclass(frozen=True)
class Flow:
    """A flow as the engine knows it: its 64-bit key, its steering host and its group."""

    key: int
    host: int
    group: int


@dataclass(frozen=True)
class Packet:
    """A packet of the trace; `flow` is an index into the flows."""

    send_ns: int
    flow: int
    ip_bytes: int


@dataclass(frozen=True)
class Fate:
    """What became of a packet; `path_id` is an index into the paths."""

    path_id: int
    flowlet_id: int
    receive_ns: int | None
    queue_ns: int
    ecn_marked: bool
    dropped: bool


@dataclass(frozen=True)
class Passage:
    """A frame that a link accepted: when it came, and the exact time at which its last bit leaves."""

    packet: int
    enter_ns: int
    frame_bytes: int
    departs_ns: Fraction


@dataclass
class Ledger:
    """What a run noted: per link the accepted frames in order, per packet its frame and where it fell.

    `in_flight_bytes` is by host and path.
    """

    passages: list[list[Passage]]
    frame_bytes: dict[int, int] = field(default_factory=dict)
    dropped_at_hop: dict[int, int] = field(default_factory=dict)
    in_flight_bytes: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))

    def accepted_bytes(self, link: int) -> int:
        """Frame bytes that a link accepted, overhead not included."""
        return sum(passage.frame_bytes for passage in self.passages[link])

    def backlog_bytes(self, link: int, now_ns: int) -> int:
        """Bytes of the frames accepted so far whose last bit has not left; what departs now is gone."""
        return sum(p.frame_bytes for p in self.passages[link] if p.departs_ns > now_ns)


def frame_bytes(packet: Packet, path: Path, *, steered: bool, minimum_frame_bytes: int) -> int:
    """Size of a packet's frame on a path, without the link's overhead."""
    return max(minimum_frame_bytes, 14 + packet.ip_bytes + (path.srv6_bytes if steered else 0))


def simulate(
    links: Sequence[Link],
    paths: Sequence[Path],
    flows: Sequence[Flow],
    packets: Sequence[Packet],
    *,
    policy: str | Policy,
    timeout_ns: int,
    seed: int,
    minimum_frame_bytes: int = 60,
    loss_timeout_ns: int,
) -> list[Fate]:
    """The fate of every packet, in the order of `packets`."""
    fates, _ = simulate_and_note(
        links,
        paths,
        flows,
        packets,
        policy=policy,
        timeout_ns=timeout_ns,
        seed=seed,
        minimum_frame_bytes=minimum_frame_bytes,
        loss_timeout_ns=loss_timeout_ns,
    )
    return fates


def simulate_and_note(
    links: Sequence[Link],
    paths: Sequence[Path],
    flows: Sequence[Flow],
    packets: Sequence[Packet],
    *,
    policy: str | Policy,
    timeout_ns: int,
    seed: int,
    minimum_frame_bytes: int = 60,
    loss_timeout_ns: int,
) -> tuple[list[Fate], Ledger]:
    """As `simulate`, with the ledger that `assert_conserved` reads."""
    chosen_policy = POLICIES[policy] if isinstance(policy, str) else policy
    draws = Draws(seed)
    ledger = Ledger(passages=[[] for _ in links])
    paths_of_group: dict[int, list[int]] = defaultdict(list)
    for path_id, path in enumerate(paths):
        paths_of_group[path.group].append(path_id)

    last_send_ns: dict[int, int] = {}  # by flow
    slot_of_flow: dict[int, int] = {}  # of its newest flowlet
    flowlet_of_flow: dict[int, int] = {}
    flowlets = 0

    # By packet:
    path_of: dict[int, int] = {}
    flowlet_of: dict[int, int] = {}
    queue_ns = [0] * len(packets)
    marked = [False] * len(packets)
    receive_ns: list[int | None] = [None] * len(packets)

    # An event: time, kind, link left (arrivals only), running number, packet, hop it enters (arrivals only).
    events: list[tuple[int, int, int, int, int, int]] = []
    number = 0

    def happen(time_ns: int, kind: int, packet: int, link: int = 0, hop: int = 0) -> None:
        nonlocal number
        heapq.heappush(events, (time_ns, kind, link, number, packet, hop))
        number += 1

    def release_later(packet: int, time_ns: int) -> None:
        happen(time_ns, RELEASE, packet)

    def enter(packet: int, hop: int, now_ns: int) -> None:
        """A frame reaches a link of its path, or the end of the path."""
        path = paths[path_of[packet]]
        if hop == len(path.links):
            receive_ns[packet] = now_ns
            release_later(packet, now_ns + path.ack_delay_ns)
            return
        number_of_link = path.links[hop]
        link = links[number_of_link]
        size = ledger.frame_bytes[packet]
        backlog = ledger.backlog_bytes(number_of_link, now_ns)
        if link.buffer_bytes is not None and backlog + size > link.buffer_bytes:
            ledger.dropped_at_hop[packet] = hop
            release_later(packet, max(now_ns, packets[packet].send_ns + loss_timeout_ns))
            return
        if link.ecn_bytes is not None and backlog >= link.ecn_bytes:
            marked[packet] = True
        passages = ledger.passages[number_of_link]
        previous_departs_ns = passages[-1].departs_ns if passages else Fraction(now_ns)
        serialisation_ns = Fraction((size + link.overhead_bytes) * 8 * 10**9, link.rate_bps)
        departs_ns = max(Fraction(now_ns), previous_departs_ns) + serialisation_ns
        passages.append(Passage(packet, now_ns, size, departs_ns))
        queue_ns[packet] += max(0, math.ceil(previous_departs_ns) - now_ns)
        happen(math.ceil(departs_ns) + link.delay_ns, ARRIVE, packet, number_of_link, hop + 1)

    def starts_flowlet(packet: Packet) -> bool:
        if packet.flow not in last_send_ns or chosen_policy.granularity == "packet":
            return True
        if chosen_policy.granularity == "flow":
            return False
        return packet.send_ns - last_send_ns[packet.flow] > timeout_ns

    def send(index: int, now_ns: int) -> None:
        """A packet of the trace is sent: flowlet, choice, in-flight count, first link."""
        nonlocal flowlets
        packet = packets[index]
        flow = flows[packet.flow]
        slots = paths_of_group[flow.group]
        if starts_flowlet(packet):
            choice = Choice(
                flow=packet.flow,
                flow_key=flow.key,
                host=flow.host,
                group=flow.group,
                slots=len(slots),
                in_flight_bytes=tuple(ledger.in_flight_bytes[flow.host, path_id] for path_id in slots),
                previous_slot=slot_of_flow.get(packet.flow),
                send_ns=now_ns,
                ip_bytes=packet.ip_bytes,
                seed=seed,
                draw=draws.draw,
            )
            slot_of_flow[packet.flow] = chosen_policy.choose(choice)
            flowlet_of_flow[packet.flow] = flowlets
            flowlets += 1
        last_send_ns[packet.flow] = now_ns
        path_of[index] = slots[slot_of_flow[packet.flow]]
        flowlet_of[index] = flowlet_of_flow[packet.flow]
        ledger.frame_bytes[index] = frame_bytes(
            packet,
            paths[path_of[index]],
            steered=chosen_policy.steered,
            minimum_frame_bytes=minimum_frame_bytes,
        )
        ledger.in_flight_bytes[flow.host, path_of[index]] += ledger.frame_bytes[index]
        enter(index, 0, now_ns)

    for index, packet in enumerate(packets):  # the running number keeps table order within an instant
        happen(packet.send_ns, SEND, index)
    while events:
        now_ns, kind, _, _, index, hop = heapq.heappop(events)
        if kind == SEND:
            send(index, now_ns)
        elif kind == RELEASE:
            host = flows[packets[index].flow].host
            ledger.in_flight_bytes[host, path_of[index]] -= ledger.frame_bytes[index]
        else:
            enter(index, hop, now_ns)

    fates = [
        Fate(path_of[i], flowlet_of[i], receive_ns[i], queue_ns[i], marked[i], i in ledger.dropped_at_hop)
        for i in range(len(packets))
    ]
    return fates, ledger
