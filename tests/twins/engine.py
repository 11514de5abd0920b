"""The network model of `docs/model.md` run slowly and obviously: a heap entry per event, exact fractions."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.twins import acknowledgements
from tests.twins.detectors import DETECTORS, Gap
from tests.twins.hashing import Draws, is_lost, mix
from tests.twins.links import LiveLink, Passage
from tests.twins.network import Change, Fate, Flow, HostLinks, Link, Options, Packet, Path
from tests.twins.policies import POLICIES, Choice, Feedback, Setup

__all__ = ["Change", "Fate", "Flow", "HostLinks", "Ledger", "Link", "Packet", "Path", "simulate", "simulate_and_note"]

# What happens first at one instant.
CHANGE, ROUTE, ARRIVE, ACKNOWLEDGE, EXPIRE, SEND = range(6)

UNUSABLE_BYTES = 2**50


@dataclass
class Ledger:
    """What a run noted: per link the frames it carried, in order; per packet its frame, its way, and where it fell.

    `fell_dead` has the packets that a dead link dropped, and whether routing knew that it was down.
    `in_flight_bytes` is by counter: who shares it, and the slot.
    """

    passages: list[list[Passage]]
    frame_bytes: dict[int, int] = field(default_factory=dict)
    ways: dict[int, tuple[int, ...]] = field(default_factory=dict)
    dropped_at_hop: dict[int, int] = field(default_factory=dict)
    fell_dead: dict[int, bool] = field(default_factory=dict)
    in_flight_bytes: dict[tuple[Hashable, int], int] = field(default_factory=lambda: defaultdict(int))

    def accepted_bytes(self, link: int) -> int:
        """Frame bytes that a link carried, overhead not included."""
        return sum(passage.frame_bytes for passage in self.passages[link])


def simulate(
    links: Sequence[Link], paths: Sequence[Path], flows: Sequence[Flow], packets: Sequence[Packet], **options: Any
) -> list[Fate]:
    """The fate of every packet, in the order of `packets`; the options are those of `Options`."""
    return simulate_and_note(links, paths, flows, packets, **options)[0]


def simulate_and_note(
    links: Sequence[Link], paths: Sequence[Path], flows: Sequence[Flow], packets: Sequence[Packet], **options: Any
) -> tuple[list[Fate], Ledger]:
    """As `simulate`, with the ledger that `assert_conserved` reads."""
    run = Run(links, paths, flows, packets, Options(**options))
    run.go()
    fates = [
        Fate(run.path_of[i], run.flowlet_of[i], run.receive_ns[i], run.queue_ns[i], run.marked[i], i in run.dropped_at)
        for i in range(len(packets))
    ]
    run.ledger.passages = [link.passages for link in run.links]
    return fates, run.ledger


class Run:
    """One run; a method per kind of event."""

    def __init__(
        self,
        links: Sequence[Link],
        paths: Sequence[Path],
        flows: Sequence[Flow],
        packets: Sequence[Packet],
        options: Options,
    ) -> None:
        self.links = [LiveLink(link) for link in links]
        self.paths = paths
        self.flows = flows
        self.packets = packets
        self.options = options
        self.begin_ns = packets[0].send_ns if packets else 0
        self.draws = Draws(options.seed)
        self.ledger = Ledger([])
        self.paths_of_group: dict[int, list[int]] = defaultdict(list)
        for path_id, path in enumerate(paths):
            self.paths_of_group[path.group].append(path_id)
        tiers = {group: (len(path_ids),) for group, path_ids in self.paths_of_group.items()}
        tiers.update(enumerate(options.tiers or ()))
        setup = Setup(options.seed, options.timeout_ns, links, paths, self.paths_of_group, tiers)
        self.policy = options.policy
        if isinstance(options.policy, str):
            self.policy = POLICIES[options.policy](setup, **options.parameters)
        self.detector = DETECTORS[options.detector](options.timeout_ns, **options.detector_parameters)

        # By flow, once it has sent:
        self.last_send_ns: dict[int, int] = {}
        self.slot_of: dict[int, int] = {}
        self.flowlet_of_flow: dict[int, int] = {}
        self.sent_bytes: dict[int, int] = defaultdict(int)
        self.routing_when_chosen: dict[int, int] = {}
        self.in_network: dict[int, set[int]] = defaultdict(set)
        self.counted: set[int] = set()  # packets in flight, as hosts count
        self.flowlets = 0

        # By packet:
        self.path_of: dict[int, int] = {}
        self.flowlet_of: dict[int, int] = {}
        self.level_of: dict[int, int] = defaultdict(int)
        self.queue_ns = [0] * len(packets)
        self.marked = [False] * len(packets)
        self.receive_ns: list[int | None] = [None] * len(packets)
        self.dropped_at = self.ledger.dropped_at_hop
        self.release_ns: list[int] = []
        self.unacknowledged = {
            index
            for index, packet in enumerate(packets)
            if options.ack == "modelled"
            and is_lost(packet.send_ns, packet.flow, options.seed, options.ack_loss_millionths)
        }
        if options.ack != "modelled":
            recorded = options.ack == "recorded"
            self.release_ns = acknowledgements.release_times(flows, packets, options.loss_timeout_ns, recorded)

        # What routing knows, and how often it learned; what hosts suspect, by counter.
        self.known_down: set[int] = set()
        self.routing = 0
        self.suspected_until_ns: dict[tuple[Hashable, int], int] = {}
        self.silent: dict[tuple[Hashable, int], int] = defaultdict(int)

        # An event: time, kind, its rank among those, running number, packet (or change), hop it enters (if it arrives).
        self.events: list[tuple[int, int, tuple[int, ...], int, int, int]] = []
        self.number = 0
        self.arrival_of: dict[int, int] = {}  # the running number of a packet's next arrival

    def happen(self, time_ns: int, kind: int, rank: tuple[int, ...], subject: int, hop: int = 0) -> None:
        """Note an event to come."""
        if kind == ARRIVE:
            self.arrival_of[subject] = self.number
        heapq.heappush(self.events, (time_ns, kind, rank, self.number, subject, hop))
        self.number += 1

    def go(self) -> None:
        """Let everything happen."""
        for index, packet in enumerate(self.packets):
            self.happen(packet.send_ns, SEND, (index,), index)
        for index, change in enumerate(self.options.changes):
            self.happen(change.time_ns, CHANGE, (index,), index)
            self.happen(change.time_ns + self.options.detection_ns, ROUTE, (index,), index)
        while self.events:
            now_ns, kind, _, number, subject, hop = heapq.heappop(self.events)
            if kind == CHANGE:
                self.change(self.options.changes[subject], now_ns)
            elif kind == ROUTE:
                self.route(self.options.changes[subject])
            elif kind == ARRIVE:
                if self.arrival_of[subject] == number:
                    self.enter(subject, hop, now_ns)
            elif kind == ACKNOWLEDGE:
                self.acknowledge(subject, now_ns)
            elif kind == EXPIRE:
                self.expire(subject, now_ns)
            else:
                self.send(subject, now_ns)

    # Changes of links.

    def change(self, change: Change, now_ns: int) -> None:
        """A link gets another rate."""
        link = self.links[change.link]
        if change.rate_bps == link.rate_bps:
            return
        if change.rate_bps == 0:
            for passage in link.fail(now_ns):
                self.arrival_of[passage.packet] = -1  # never
                self.ledger.fell_dead[passage.packet] = change.link in self.known_down
                self.drop(passage.packet, passage.hop, now_ns)
            return
        for passage, longer_ns in link.turn_to(change.rate_bps, now_ns):
            self.queue_ns[passage.packet] += longer_ns
            self.travel(passage, change.link)

    def route(self, change: Change) -> None:
        """Routing learns of a change; only those between down and up are its concern."""
        if (change.rate_bps == 0) == (change.link in self.known_down):
            return
        if change.rate_bps == 0:
            self.known_down.add(change.link)
        else:
            self.known_down.remove(change.link)
        self.routing += 1

    # Frames.

    def enter(self, packet: int, hop: int, now_ns: int) -> None:
        """A frame reaches the next link of its way, or the end of it."""
        way = self.ledger.ways[packet]
        if hop == len(way):
            self.receive(packet, now_ns)
            return
        link = self.links[way[hop]]
        size = self.ledger.frame_bytes[packet]
        if not link.fits(size, now_ns):
            if link.rate_bps == 0:
                self.ledger.fell_dead[packet] = way[hop] in self.known_down
            self.drop(packet, hop, now_ns)
            return
        if link.marks(now_ns):
            self.marked[packet] = True
        waits_ns = link.waiting_ns(now_ns)
        passage = link.accept(packet, hop, size, now_ns)
        self.queue_ns[packet] += passage.leaves_ns - now_ns if link.link.is_bucket else waits_ns
        self.level_of[packet] = max(self.level_of[packet], link.level(now_ns))
        self.travel(passage, way[hop])

    def travel(self, passage: Passage, link: int) -> None:
        """A frame will reach the far end of a link."""
        arrives_ns = passage.leaves_ns + self.links[link].link.delay_ns
        rank: tuple[int, ...] = (link,)
        if self.options.ties == "hash":
            rank = (mix(mix(arrives_ns - self.begin_ns) ^ mix(self.options.seed % 2**63) ^ link) >> 34, link)
        self.happen(arrives_ns, ARRIVE, rank, passage.packet, passage.hop + 1)

    def drop(self, packet: int, hop: int, now_ns: int) -> None:
        """A frame is lost; its sender knows by a timeout."""
        self.dropped_at[packet] = hop
        self.in_network[self.packets[packet].flow].remove(packet)
        if self.options.ack == "modelled" and packet not in self.unacknowledged:
            expires_ns = max(now_ns, self.packets[packet].send_ns + self.options.loss_timeout_ns)
            self.happen(expires_ns, EXPIRE, (packet,), packet)

    def receive(self, packet: int, now_ns: int) -> None:
        """A frame is received; its acknowledgement travels back without queueing."""
        self.receive_ns[packet] = now_ns
        flow = self.flows[self.packets[packet].flow]
        self.in_network[self.packets[packet].flow].remove(packet)
        if self.options.ack != "modelled" or packet in self.unacknowledged:
            return
        path_part_ns = self.paths[self.path_of[packet]].ack_delay_ns + self.options.ack_late_ns
        host_part_ns = 0
        rank: tuple[int, ...] = (self.path_of[packet],)
        if self.options.hosts:
            source, destination = self.options.hosts[flow.host], self.options.hosts[flow.destination]
            host_part_ns = sum(self.links[n].link.delay_ns for n in (destination.uplink, source.downlink))
            rank = (destination.downlink, path_part_ns, host_part_ns)
        self.happen(now_ns + path_part_ns + host_part_ns, ACKNOWLEDGE, rank, packet)

    # What hosts learn.

    def sharers(self, flow: Flow) -> Hashable:
        """Who shares the counters of a flow: the name of its first counter."""
        return {"pair": (flow.host, flow.group), "host": flow.host, "fabric": flow.group}[self.options.scope]

    def counter_of(self, packet: int) -> tuple[Hashable, int]:
        """The in-flight counter that a packet is counted in."""
        flow = self.flows[self.packets[packet].flow]
        return self.sharers(flow), self.paths_of_group[flow.group].index(self.path_of[packet])

    def acknowledge(self, packet: int, now_ns: int) -> None:
        """A modelled acknowledgement returns."""
        self.counted.remove(packet)
        counter = self.counter_of(packet)
        self.ledger.in_flight_bytes[counter] -= self.ledger.frame_bytes[packet]
        self.silent[counter] = 0
        self.tell(packet, now_ns)

    def expire(self, packet: int, now_ns: int) -> None:
        """A timeout ends, or the trace says that a packet's bytes are no longer in flight."""
        self.counted.remove(packet)
        counter = self.counter_of(packet)
        self.ledger.in_flight_bytes[counter] -= self.ledger.frame_bytes[packet]
        if self.options.ack != "modelled":
            return
        if self.options.suspect_after and not self.suspects(counter, now_ns):
            self.silent[counter] += 1
            if self.silent[counter] == self.options.suspect_after:
                self.suspected_until_ns[counter] = now_ns + self.options.suspect_for_ns
                self.silent[counter] = 0
        self.tell(packet, now_ns)

    def suspects(self, counter: tuple[Hashable, int], now_ns: int) -> bool:
        """Whether the slot of a counter is suspected now."""
        return counter in self.suspected_until_ns and now_ns < self.suspected_until_ns[counter]

    def tell(self, packet: int, now_ns: int) -> None:
        """Policy and detector hear of a packet."""
        sent = self.packets[packet]
        flow = self.flows[sent.flow]
        sharers, slot = self.counter_of(packet)
        received_ns = None if packet in self.unacknowledged else self.receive_ns[packet]
        feedback = Feedback(
            time_ns=now_ns,
            flow=sent.flow,
            sharers=sharers,
            paths=tuple(self.paths_of_group[flow.group]),
            slot=slot,
            marked=self.marked[packet],
            delay_ns=None if received_ns is None else received_ns - sent.send_ns,
            round_trip_ns=now_ns - sent.send_ns,
            level=self.level_of[packet],
        )
        if self.policy.learn is not None:
            self.policy.learn(feedback)
        self.detector.observe(feedback)

    # Packets of the trace.

    def usable_slots(self, flow: Flow, now_ns: int) -> list[int]:
        """The slots that may be chosen now."""
        slots = range(len(self.paths_of_group[flow.group]))
        if self.policy.steered:
            good = [slot for slot in slots if not self.suspects((self.sharers(flow), slot), now_ns)]
        else:
            links_of = [self.paths[path_id].links for path_id in self.paths_of_group[flow.group]]
            good = [slot for slot in slots if not self.known_down & set(links_of[slot])]
        return good or list(slots)

    def asks(self, packet: Packet) -> bool:
        """Whether the policy is asked at this packet."""
        if packet.flow not in self.slot_of or self.policy.granularity in ("packet", "asked"):
            return True
        if self.policy.granularity == "flow":
            return not self.policy.steered and self.routing_when_chosen[packet.flow] != self.routing
        flow = self.flows[packet.flow]
        gap = Gap(
            gap_ns=packet.send_ns - self.last_send_ns[packet.flow],
            flow=packet.flow,
            sharers=self.sharers(flow),
            slots=len(self.paths_of_group[flow.group]),
            in_network=bool(self.in_network[packet.flow]),
            awaited=self.awaits(packet),
        )
        return self.detector.starts(gap)

    def awaits(self, packet: Packet) -> bool:
        """Whether anything that the packet's flow sent before is counted in flight."""
        return any(self.packets[other].flow == packet.flow for other in self.counted)

    def choose(self, packet: Packet, now_ns: int) -> int:
        """The slot that the policy answers."""
        flow = self.flows[packet.flow]
        path_ids = self.paths_of_group[flow.group]
        usable = self.usable_slots(flow, now_ns)
        by_counter = self.policy.by == "counter"
        in_flight = [self.ledger.in_flight_bytes[self.sharers(flow), slot] for slot in range(len(path_ids))]
        if by_counter:
            in_flight = [n if slot in usable else n + UNUSABLE_BYTES for slot, n in enumerate(in_flight)]
        choice = Choice(
            flow=packet.flow,
            flow_key=flow.key,
            words=flow.words,
            host=flow.host,
            group=flow.group,
            attachment=flow.attachment,
            sharers=self.sharers(flow),
            paths=tuple(path_ids),
            usable=tuple(usable),
            slots=len(path_ids) if by_counter else len(usable),
            in_flight_bytes=tuple(in_flight),
            previous_slot=self.slot_of.get(packet.flow),
            send_ns=now_ns,
            gap_ns=now_ns - self.last_send_ns[packet.flow] if packet.flow in self.last_send_ns else None,
            sent_bytes=self.sent_bytes[packet.flow],
            seed=self.options.seed,
            draw=self.draws.draw,
            live=self.links,
            awaited=packet.awaited,
        )
        answer = self.policy.choose(choice)
        assert 0 <= answer < choice.slots
        return answer if by_counter else usable[answer]

    def send(self, index: int, now_ns: int) -> None:
        """A packet of the trace is sent: flowlet, choice, in-flight count, first link."""
        packet = self.packets[index]
        flow = self.flows[packet.flow]
        if self.asks(packet):
            slot = self.choose(packet, now_ns)
            if self.policy.granularity != "asked" or self.slot_of.get(packet.flow) != slot:
                self.slot_of[packet.flow] = slot
                self.flowlet_of_flow[packet.flow] = self.flowlets
                self.flowlets += 1
            self.routing_when_chosen[packet.flow] = self.routing
        self.last_send_ns[packet.flow] = now_ns
        self.sent_bytes[packet.flow] += packet.ip_bytes
        self.path_of[index] = self.paths_of_group[flow.group][self.slot_of[packet.flow]]
        self.flowlet_of[index] = self.flowlet_of_flow[packet.flow]
        path = self.paths[self.path_of[index]]
        self.ledger.frame_bytes[index] = max(
            self.options.minimum_frame_bytes, 14 + packet.ip_bytes + (path.srv6_bytes if self.policy.steered else 0)
        )
        way = path.links
        if self.options.hosts:
            hosts = self.options.hosts
            way = (hosts[flow.host].uplink, *way, hosts[flow.destination].downlink)
        self.ledger.ways[index] = way
        self.ledger.in_flight_bytes[self.counter_of(index)] += self.ledger.frame_bytes[index]
        self.in_network[packet.flow].add(index)
        self.counted.add(index)
        if self.options.ack != "modelled":
            self.happen(self.release_ns[index], EXPIRE, (index,), index)
        elif index in self.unacknowledged:
            self.happen(now_ns + self.options.loss_timeout_ns, EXPIRE, (index,), index)
        self.enter(index, 0, now_ns)
