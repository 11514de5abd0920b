"""The transport of `docs/transport.md` run slowly and obviously, on the slow network engine: a heap entry per event."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.twins.accounts import assert_conserved
from tests.twins.balancing import Feedback
from tests.twins.engine import ARRIVE, CHANGE, ROUTE, Run
from tests.twins.hashing import mix, scale
from tests.twins.network import Fate, Flow, Link, Options, Packet, Path
from tests.twins.tcp_handshake import Handshake
from tests.twins.tcp_ledger import check_always, check_end
from tests.twins.tcp_ns3 import Ns3Sender
from tests.twins.tcp_receiver import DELAYED_ACK, Receiver
from tests.twins.tcp_rfc import RfcSender
from tests.twins.tcp_sender import PACE, PROBE, REORDER, RTO, Sender
from tests.twins.tcp_settings import Carried, Connection, Counts, Message, Result, Sent, TransportSettings

__all__ = ["Connection", "Message", "Transport", "TransportSettings", "assert_links_conserved", "simulate"]

# What happens first at one instant, after changes, routing and arrivals.
TIMER, ASK, CAPTURED = ARRIVE + 1, ARRIVE + 2, ARRIVE + 3
HANDSHAKE = 0


def simulate(
    links: Sequence[Link],
    paths: Sequence[Path],
    flows: Sequence[Flow],
    messages: Sequence[Message],
    connections: Sequence[Connection],
    settings: TransportSettings,
    recorded: Sequence[Packet] = (),
    **options: Any,
) -> tuple[list[Sent], list[Result], list[Counts]]:
    """Every packet in the order of sending, what became of every message, and what every half counted."""
    run = Transport(links, paths, flows, messages, connections, settings, Options(**options), recorded)
    run.go()
    return run.sent(), run.results, run.counts


def assert_links_conserved(run: Transport) -> None:
    """Every balance of the open loop's engine closes as well: bytes, buffers, rates, waiting times."""
    run.ledger.passages = [link.passages for link in run.links]
    fates = [
        Fate(sent.path, sent.flowlet, sent.receive_ns, sent.queue_ns, sent.marked, sent.dropped) for sent in run.sent()
    ]
    links = [link.link for link in run.links]
    assert_conserved(links, run.outgoing, fates, run.ledger, run.options.changes)


class Transport(Run):
    """One run of the closed loop; the links and the choices are those of the open one."""

    def __init__(
        self,
        links: Sequence[Link],
        paths: Sequence[Path],
        flows: Sequence[Flow],
        messages: Sequence[Message],
        connections: Sequence[Connection],
        settings: TransportSettings,
        options: Options,
        recorded: Sequence[Packet] = (),
    ) -> None:
        super().__init__(links, paths, flows, [], replace(options, ties=settings.ties))
        halves = range(2 * len(connections))
        assert all(packet.flow in range(len(halves), len(flows)) for packet in recorded)
        self.recorded = recorded
        self.outgoing: list[Packet] = []
        self.packets = self.outgoing
        self.settings = settings
        self.messages = messages
        self.connections = connections
        self.carried: list[Carried] = []
        self.results = [Result() for _ in messages]
        self.counts = [Counts() for _ in flows]
        self.receivers = [Receiver(self, half) for half in halves]
        kind = RfcSender if settings.rules == "rfc" else Ns3Sender
        self.senders: list[Sender] = [kind(self, half) for half in halves]
        self.handshakes = [Handshake(self, number) for number in range(len(connections))]
        self.timers: dict[tuple[int, int], tuple[int, int]] = {}  # by half and kind: time, running number of the event
        self.hashed_flowlet: dict[int, int] = {}
        asked_ns = [message.start_ns for message in messages if not message.after]
        self.begin_ns = min([*asked_ns, *(packet.send_ns for packet in recorded)], default=0)

    # Events.

    def go(self) -> None:
        """Let everything happen."""
        for index, change in enumerate(self.options.changes):
            self.happen(change.time_ns, CHANGE, (index,), index)
            self.happen(change.time_ns + self.options.detection_ns, ROUTE, (index,), index)
        for row, message in enumerate(self.messages):
            if not message.after:
                self.happen(message.start_ns, ASK, (0, row), row)
        for number, packet in enumerate(self.recorded):
            self.happen(packet.send_ns, CAPTURED, (number,), number)
        before_ns = 0
        while self.events:
            now_ns, kind, _, number, subject, hop = heapq.heappop(self.events)
            assert now_ns >= before_ns
            before_ns = now_ns
            if kind == CHANGE:
                self.change(self.options.changes[subject], now_ns)
            elif kind == ROUTE:
                self.route(self.options.changes[subject])
            elif kind == ARRIVE:
                if self.arrival_of[subject] == number:
                    self.enter(subject, hop, now_ns)
            elif kind == TIMER:
                if self.timers.get((subject, hop)) != (now_ns, number):
                    continue
                del self.timers[subject, hop]
                self.fire(subject, hop, now_ns)
            elif kind == ASK:
                self.ask(subject, now_ns)
            else:
                packet = self.recorded[subject]
                self.hand_down(packet.flow, Carried("recorded", packet.flow, subject), packet.ip_bytes, now_ns)
            check_always(self)
        check_end(self)

    # Timers: one of each kind for a half.

    def set_timer(self, half: int, kind: int, time_ns: int) -> None:
        """It fires at this time, and not when it was to before."""
        self.timers[half, kind] = (time_ns, self.number)
        self.happen(time_ns, TIMER, (half, kind), half, kind)

    def stop_timer(self, half: int, kind: int) -> None:
        """It does not fire."""
        self.timers.pop((half, kind), None)

    def timer_runs(self, half: int, kind: int) -> bool:
        """Whether it will fire."""
        return (half, kind) in self.timers

    def timer_ns(self, half: int, kind: int) -> int:
        """When it will fire."""
        return self.timers[half, kind][0]

    def fire(self, half: int, kind: int, now_ns: int) -> None:
        """A timer fires."""
        sender = self.senders[half]
        if kind == HANDSHAKE:
            self.handshakes[half // 2].fire(half, now_ns)
        elif kind == DELAYED_ACK:
            self.receivers[half].acknowledge(now_ns)
        elif kind == REORDER:
            sender.reorder_timer(now_ns)
        elif kind == PROBE:
            sender.probe_timer(now_ns)
        elif kind == RTO:
            sender.timeout(now_ns)
        else:
            assert kind == PACE
            sender.send(now_ns)

    # Messages.

    def ask(self, row: int, now_ns: int) -> None:
        """A message is asked to be sent."""
        message = self.messages[row]
        self.results[row].asked_ns = now_ns
        handshake = self.handshakes[message.connection]
        if handshake.failed:
            return
        sender = self.senders[2 * message.connection + message.half]
        sender.ask(row, message.bytes, now_ns)
        handshake.begin(now_ns)
        sender.send(now_ns)

    def all_sent(self, half: int) -> int | None:
        """How many segments a half has, once all were sent that it will ever send."""
        rows = [row for row, m in enumerate(self.messages) if 2 * m.connection + m.half == half]
        sender = self.senders[half]
        if any(self.results[row].asked_ns is None for row in rows) or sender.nxt < len(sender.sizes):
            return None
        return len(sender.sizes)

    def delivered_up_to(self, half: int, number: int, now_ns: int) -> None:
        """The receiver has all segments of a half below a number."""
        for row, last in self.senders[half].last_of.items():
            if last < number and self.results[row].complete_ns is None:
                self.results[row].complete_ns = now_ns
                self.wake(row)

    def wake(self, done: int) -> None:
        """Messages that waited for this one alone will be asked."""
        for row, message in enumerate(self.messages):
            ends = [self.results[other].complete_ns for other in message.after]
            if done in message.after and all(end is not None for end in ends):
                latest_ns = max(end for end in ends if end is not None)
                self.happen(max(message.start_ns, latest_ns + message.think_ns), ASK, (1, row), row)

    def fail(self, connection: int, now_ns: int) -> None:
        """A connection comes to nothing."""
        self.handshakes[connection].failed = True
        for half in (2 * connection, 2 * connection + 1):
            self.senders[half].give_up(now_ns)
            for kind in range(PACE + 1):
                self.stop_timer(half, kind)

    # Packets.

    def send_acknowledgement(self, said: Carried, now_ns: int) -> None:
        """An acknowledgement of a half travels as the other flow."""
        blocks = len(said.blocks) + (said.repeated is not None)
        ip_bytes = self.settings.header + (4 + 8 * blocks if blocks else 0)
        self.hand_down(said.half ^ 1, said, ip_bytes, now_ns)

    def hand_down(self, flow: int, said: Carried, ip_bytes: int, now_ns: int, follows: int | None = None) -> int:
        """A host sends a packet, on the slot of the packet that it follows or on one that is chosen."""
        index = len(self.outgoing)
        packet = Packet(now_ns, flow, ip_bytes, None, said.kind == "data")
        self.outgoing.append(packet)
        self.carried.append(said)
        self.queue_ns.append(0)
        self.marked.append(False)
        self.receive_ns.append(None)
        path_ids = self.paths_of_group[self.flows[flow].group]
        pinned = None if said.kind == "recorded" else self.connections[flow // 2].pinned
        steered = self.policy.steered
        if pinned is None and said.kind == "ack" and self.settings.acks == "hashed":
            slot = scale(mix(self.flows[flow].key ^ mix(self.options.seed % 2**64)), len(path_ids))
            steered = False
            self.flowlet_of[index] = self.hashed_flowlet.setdefault(flow, self.flowlets)
            self.flowlets += self.flowlet_of[index] == self.flowlets
        else:
            if pinned is not None:
                if flow not in self.slot_of:
                    self.start_flowlet(flow, pinned)
            elif follows is None and self.asks(packet):
                slot = self.choose(packet, now_ns)
                if self.policy.granularity != "asked" or self.slot_of.get(flow) != slot:
                    self.start_flowlet(flow, slot)
                self.routing_when_chosen[flow] = self.routing
            slot = self.slot_of[flow]
            self.last_send_ns[flow] = now_ns
            self.sent_bytes[flow] += ip_bytes
            self.flowlet_of[index] = self.flowlet_of_flow[flow]
        self.path_of[index] = path_ids[slot]
        path = self.paths[path_ids[slot]]
        frame_bytes = max(self.options.minimum_frame_bytes, 14 + ip_bytes + (path.srv6_bytes if steered else 0))
        self.ledger.frame_bytes[index] = frame_bytes
        way = path.links
        if self.options.hosts:
            hosts = self.options.hosts
            way = (hosts[self.flows[flow].host].uplink, *way, hosts[self.flows[flow].destination].downlink)
        assert way, "what arrives while it is being sent is not thought of here"
        self.ledger.ways[index] = way
        self.in_network[flow].add(index)
        if said.kind == "data":
            self.ledger.in_flight_bytes[self.counter_of(index)] += frame_bytes
        self.enter(index, 0, now_ns)
        return index

    def awaits(self, packet: Packet) -> bool:
        """Whether the host of the packet that was handed down last awaits acknowledgements of earlier ones."""
        said = self.carried[-1]
        if said.kind != "recorded":
            sender = self.senders[packet.flow]
            if any(segment.times > 0 for segment in sender.segments()):
                return True
            if said.kind == "data":
                return False
        return packet.send_ns - self.last_send_ns[packet.flow] < self.options.loss_timeout_ns

    def start_flowlet(self, flow: int, slot: int) -> None:
        """The flow is on this slot from now on."""
        self.slot_of[flow] = slot
        self.flowlet_of_flow[flow] = self.flowlets
        self.flowlets += 1

    def drop(self, packet: int, hop: int, now_ns: int) -> None:
        """A frame is lost; nobody learns of it but by what does not come."""
        self.dropped_at[packet] = hop
        self.in_network[self.packets[packet].flow].remove(packet)

    def receive(self, packet: int, now_ns: int) -> None:
        """A packet reaches its host."""
        self.receive_ns[packet] = now_ns
        self.in_network[self.packets[packet].flow].remove(packet)
        said = self.carried[packet]
        if said.kind == "recorded":
            return
        handshake = self.handshakes[said.half // 2]
        if handshake.failed:
            return
        handshake.arrive(said, now_ns)
        if said.kind == "data":
            self.receivers[said.half].arrive(packet, now_ns)
        elif said.kind == "ack":
            self.senders[said.half].acknowledged(said, now_ns)
        if handshake.opened is not None and said.kind != "ack":
            self.senders[handshake.opened].send(now_ns)
        handshake.opened = None

    # What hosts learn.

    def release(self, packet: int, now_ns: int, said: Carried | None) -> None:
        """The bytes of a transmission are no longer in flight: an acknowledgement came, or (None) it is lost."""
        self.ledger.in_flight_bytes[self.counter_of(packet)] -= self.ledger.frame_bytes[packet]
        sent = self.packets[packet]
        round_trip_ns = now_ns - sent.send_ns
        delay_ns: int | None = None
        level = 0
        if said is not None:
            cause = said.cause
            assert cause is not None, "data cause all acknowledgements that deliver"
            level = self.level_of[cause]
            delay_ns = round_trip_ns // 2
            if self.carried[cause].number == self.carried[packet].number:
                received_ns = self.receive_ns[cause]
                assert received_ns is not None
                delay_ns = received_ns - self.packets[cause].send_ns
        sharers, slot = self.counter_of(packet)
        feedback = Feedback(
            time_ns=now_ns,
            flow=sent.flow,
            sharers=sharers,
            paths=tuple(self.paths_of_group[self.flows[sent.flow].group]),
            slot=slot,
            marked=said is not None and said.echo,
            delay_ns=delay_ns,
            round_trip_ns=round_trip_ns,
            level=level,
        )
        if self.policy.learn is not None:
            self.policy.learn(feedback)
        self.detector.observe(feedback)

    def spoke(self, packet: int) -> None:
        """The path of a packet has delivered."""
        self.silent[self.counter_of(packet)] = 0

    def stayed_silent(self, packet: int, now_ns: int) -> None:
        """A retransmission timer ran out for a packet."""
        counter = self.counter_of(packet)
        if self.options.suspect_after and not self.suspects(counter, now_ns):
            self.silent[counter] += 1
            if self.silent[counter] == self.options.suspect_after:
                self.suspected_until_ns[counter] = now_ns + self.options.suspect_for_ns
                self.silent[counter] = 0

    def sent(self) -> list[Sent]:
        """What became of every packet."""
        return [
            Sent(
                packet.send_ns,
                packet.flow,
                self.carried[index].kind,
                self.carried[index].number,
                packet.ip_bytes,
                self.path_of[index],
                self.flowlet_of[index],
                self.receive_ns[index],
                self.queue_ns[index],
                self.marked[index],
                index in self.dropped_at,
            )
            for index, packet in enumerate(self.packets)
        ]
