"""The driver of a cell whose senders react: lays out its connections and runs them, handing out packets as they end."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import Detector
from segcast.analyzer.engine import calendar
from segcast.analyzer.engine import link_changes as changes
from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.cell import Cell, HeldByCell
from segcast.analyzer.engine.state import DONE, ROWS_ARE_FULL
from segcast.analyzer.engine.steering import Steering, Ties
from segcast.analyzer.engine.transport.loop import SPARE_EVENTS, Run, specialise
from segcast.analyzer.engine.transport.state import (
    CUBIC,
    DCTCP,
    GONE,
    HALF,
    HEADER,
    LOT,
    MESSAGE,
    MOST_BLOCKS,
    NEWRENO,
    SEGMENT,
    UNBOUNDED,
    UNKNOWN,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.engine.window import finished
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Fates, FlowPlan, Packets, empty_fates
from segcast.analyzer.policies.choosing import keyed_hashes
from segcast.analyzer.policies.registry import Policy
from segcast.traces.hashing import reduce_to

CONTROLS: Final = {"newreno": NEWRENO, "cubic": CUBIC, "dctcp": DCTCP}

_FIRST_ROWS: Final = 1 << 12
_ROWS: Final = 1 << 14
_FIRST_PLACES: Final = 1 << 12
_FEWEST_PLACES: Final = 16
_LONG_AGO_NS: Final = -(1 << 61)


@dataclass(frozen=True, slots=True)
class Transport:
    """How senders react: the parameters of docs/transport.md, times in ns and sizes in bytes."""

    control: Literal["newreno", "cubic", "dctcp"] = "cubic"
    rules: Literal["rfc", "ns-3"] = "rfc"
    receiver: Literal["dupack", "rack"] = "rack"
    mss: int = 1460
    header: int = 40
    initial_window: int = 10
    receive_window: int = 1 << 24
    min_rto_ns: int = 200_000_000
    initial_rto_ns: int = 1_000_000_000
    max_rto_ns: int = 60_000_000_000
    granularity_ns: int = 1_000_000
    ack_delay_ns: int = 40_000_000
    ack_every: int = 2
    quick_acks: int = 0
    ecn: bool = False
    tso: int = 0
    pacing: bool = False
    slow_start: Literal["standard", "hystart"] = "hystart"
    after_idle: bool = True
    retries: int = 15
    syn_retries: int = 6
    acks: Literal["steered", "hashed"] = "steered"
    ties: Ties = "hash"

    def kernel_rules(self) -> TransportRules:
        """The same as kernels read them."""
        control, ns3 = CONTROLS[self.control], self.rules == "ns-3"
        return TransportRules(
            control=control,
            ns3=ns3,
            rack=self.receiver == "rack",
            mss=self.mss,
            header_bytes=self.header,
            initial_window=self.initial_window,
            receive_window=self.receive_window,
            min_rto_ns=self.min_rto_ns,
            initial_rto_ns=self.initial_rto_ns,
            max_rto_ns=self.max_rto_ns,
            granularity_ns=self.granularity_ns,
            ack_delay_ns=self.ack_delay_ns,
            ack_every=self.ack_every,
            quick_acks=self.quick_acks,
            ecn=self.ecn or control == DCTCP,
            tso_segments=0 if ns3 else max(self.tso // self.mss, 1) if self.tso else 0,
            pacing=self.pacing and not ns3,
            hystart=self.slow_start == "hystart" and control == CUBIC and not ns3,
            idle_restarts=self.after_idle and not ns3,
            retries=self.retries,
            syn_retries=self.syn_retries,
        )


class Messages(NamedTuple):
    """What is asked to be sent: `half` int64[n] (2c: from the initiator of connection c, 2c + 1: from its responder),
    `bytes`, `start_ns` and `think_ns` int64[n]. Message i waits for `after_row[after_first[i]:after_first[i + 1]]`,
    int64.
    """

    half: NDArray[np.int64]
    bytes: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    think_ns: NDArray[np.int64]
    after_first: NDArray[np.int64]
    after_row: NDArray[np.int64]


class HeldByTransport(NamedTuple):
    """What a cell of senders that react holds: that of any cell, the packets that have not been handed out, with what
    is known of them, connections, and for how many packets there is `room`.
    """

    cell: HeldByCell
    packets: Packets
    fates: Fates
    headers: Headers
    connections: Connections
    room: int


class Piece(NamedTuple):
    """Packets that have ended, in the order of sending, and what they said: `headers` HEADER."""

    packets: Packets
    fates: Fates
    headers: NDArray[np.void]


@functools.cache
def _loop(policy: Policy, detector: Detector) -> Run:
    return specialise(policy, detector)


class TransportCell(Cell):
    """One policy, flowlet timeout and seed on one network, whose packets are made by connections.

    Flows 2c and 2c + 1 of `flows` are the two directions of connection c; `pin` int64[flows] is the slot to which a
    flow is pinned, or -1. `recorded` are packets of further flows, which leave when they were captured; what they have
    in flight is not counted, since nobody acknowledges them.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        flows: FlowPlan,
        steering: Steering,
        transport: Transport,
        messages: Messages,
        *,
        pin: NDArray[np.int64] | None = None,
        recorded: Packets | None = None,
        timeout_ns: int | None,
        seed: int,
        parameters: Any = None,
        detector: Detector | None = None,
        detector_parameters: Any = None,
    ) -> None:
        super().__init__(
            network,
            policy,
            flows,
            steering,
            timeout_ns=timeout_ns,
            seed=seed,
            parameters=parameters,
            detector=detector,
            detector_parameters=detector_parameters,
            reacts=True,
            ties=transport.ties,
        )
        self._transport, self._messages, self._pin = transport, messages, pin
        self.transport = transport.kernel_rules()
        self._react = _loop(policy, self.detector)
        self.state.calendar.row["tie_from_ns"] = _first_ns(messages, no_packets() if recorded is None else recorded)
        self.connections = _lay_out(self.transport, transport, messages, flows, self.state.flows, pin, seed)
        self._recorded = no_packets() if recorded is None else recorded
        self.check(self._recorded)
        self._packets, self._fates, self._headers = _allocate(_FIRST_ROWS)

    @property
    def messages(self) -> NDArray[np.void]:
        """MESSAGE of each message."""
        return self.connections.messages[:-1]

    @property
    def halves(self) -> NDArray[np.void]:
        """HALF of each half: 2c and 2c + 1 of connection c."""
        return self.connections.halves

    @property
    def identity(self) -> str:
        """What the cell is made of: a text that two cells share if and only if they compute the same."""
        digest = hashlib.sha256()
        for values in (*self._messages, self._pin, *self._recorded):
            digest.update(b"-" if values is None else np.ascontiguousarray(values).data)
        return f"{super().identity} {self._transport!r} {digest.hexdigest()}"

    @property
    def held(self) -> HeldByTransport:
        """All that it holds between pieces (views); a new cell of the same identity may be given it."""
        rows = slice(self._rows)
        return HeldByTransport(
            self.own,
            Packets._make(column[rows] for column in self._packets),
            Fates._make(column[rows] for column in self._fates),
            Headers._make(column[rows] for column in self._headers),
            self.connections,
            len(self._packets.flow),
        )

    @held.setter
    def held(self, held: HeldByTransport) -> None:
        self.own, self.connections = held.cell, held.connections
        self._packets, self._fates, self._headers = room = _allocate(held.room)
        for mine, given in zip(room, (held.packets, held.fates, held.headers), strict=True):
            for column, values in zip(mine, given, strict=True):
                column[: len(values)] = values

    def pieces(self) -> Iterator[Piece]:
        """Run to the end, and hand out the packets in the order of sending."""
        while self._steps:
            step = self._steps[0]
            yield from self._until(step.time_ns - 1)
            self._steps.pop(0)
            self.state = changes.apply(step, self.state, self.rules, self._packets.flow, self._fates)
        yield from self._until(calendar.NEVER_NS)
        yield self._hand_out(everything=True)

    def _until(self, until_ns: int) -> Iterator[Piece]:
        while True:
            status = self._react(
                self.state,
                self.rules,
                self.policy_state,
                self.detector_state,
                self._packets,
                self._fates,
                self.connections,
                self.transport,
                self._headers,
                self._recorded,
                until_ns,
            )
            if status == DONE:
                return
            if status == ROWS_ARE_FULL:
                piece = self._hand_out()
                self._tune()
                if self._rows > len(self._packets.flow) // 2 or len(self._packets.flow) < _ROWS:
                    self._grow_rows()
                if len(piece.packets.flow):
                    yield piece
                continue
            self._make_way(status, SPARE_EVENTS)
            self.connections = _with_room(self.connections)

    @property
    def _rows(self) -> int:
        return int(self.state.progress["next_packet"][0])

    def _hand_out(self, everything: bool = False) -> Piece:
        """Copies of the finished rows; the others move to the front."""
        rows, held = self._rows, self.connections.lot["held_row"]
        done = rows if everything else finished(self._fates.state, 0, rows)
        if held[0] != UNKNOWN:
            done = min(done, int(held[0]))
            held -= done
        parts: tuple[Packets | Fates | Headers, ...] = (self._packets, self._fates, self._headers)
        packets, fates = (type(part)._make(column[:done].copy() for column in part) for part in parts[:2])
        piece = Piece(packets, fates, self._headers.headers[:done].copy())  # type: ignore[arg-type]
        if done:
            for part in parts:
                for column in part:
                    column[: rows - done] = column[done:rows]
            self.state.progress["first_id"] += done
            self.state.progress["next_packet"] -= done
        return piece

    def _tune(self) -> None:
        self.state = self.state._replace(calendar=calendar.tuned(self.state.calendar, calendar.A_FEW))

    def _grow_rows(self) -> None:
        rows = self._rows
        grown = _allocate(2 * len(self._packets.flow))
        for old, new in zip((self._packets, self._fates, self._headers), grown, strict=True):
            for mine, other in zip(old, new, strict=True):
                other[:rows] = mine[:rows]
        self._packets, self._fates, self._headers = grown


def _first_ns(messages: Messages, recorded: Packets) -> int:
    """When the first message is asked that waits for no other, or the first recorded packet leaves."""
    times = np.concatenate([messages.start_ns[np.diff(messages.after_first) == 0], recorded.send_ns[:1]])
    return int(times.min()) if len(times) else 0


def no_packets() -> Packets:
    """None at all."""
    return Packets(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint32))


def _allocate(rows: int) -> tuple[Packets, Fates, Headers]:
    packets = Packets(np.empty(rows, np.int64), np.empty(rows, np.uint32), np.empty(rows, np.uint32))
    return packets, empty_fates(rows), Headers(np.zeros(rows, HEADER), np.zeros((rows, 2 * MOST_BLOCKS), np.int32))


def _lay_out(
    rules: TransportRules,
    transport: Transport,
    messages: Messages,
    flows: FlowPlan,
    rows: NDArray[np.void],
    pin: NDArray[np.int64] | None,
    seed: int,
) -> Connections:
    count = len(flows.keys)
    halves = np.zeros(count, HALF)
    for name in [
        "message",
        "last_message",
        "arriving",
        "highest_sacked",
        "mask",
        "fack",
        "latest",
        "rack_number",
        "probe_end",
        "srtt",
        "owed",
        "also_owed",
        "boundary",
        "last_marked",
        "cause",
        "twice",
        "undo_from",
        "last_flowlet",
        "last_path",
        "rack_ns",
        "latest_ns",
    ]:
        halves[name] = UNKNOWN
    for name in [
        "hello_ns",
        "rto_ns",
        "probe_ns",
        "reorder_ns",
        "pace_ns",
        "ack_ns",
        "armed_ns",
        "epoch_ns",
        "delay_min_ns",
        "round_rtt",
    ]:
        halves[name] = NEVER_NS
    halves["round_ns"] = halves["last_ack_ns"] = _LONG_AGO_NS
    halves["cwnd"] = rules.initial_window * rules.mss
    halves["ssthresh"] = UNBOUNDED
    halves["rto"] = rules.initial_rto_ns
    halves["mult"] = halves["first"] = 1
    halves["alpha"] = 1 << 20
    halves["share"] = 1.0
    halves["rows_left"] = np.bincount(messages.half, minlength=count)
    made = _message_rows(messages)
    waits = np.diff(messages.after_first)
    free = np.flatnonzero(waits == 0)
    waiting = np.repeat(np.arange(len(waits)), waits)[np.argsort(messages.after_row, kind="stable")]
    lot = np.zeros(1, LOT)
    for name in ["woken", "ready", "replies", "thanks", "greets", "held_row", "fails", "cause"]:
        lot[name] = UNKNOWN
    lot["largest"] = _FEWEST_PLACES
    pinned = np.full(count, UNKNOWN, np.int64) if pin is None else pin
    fixed = pinned.copy()
    if transport.acks == "hashed":
        fixed = np.where(pinned >= 0, pinned, _hashed_slots(flows.keys, rows["path_count"], seed))
    return Connections(
        halves=halves,
        segments=np.zeros(_FIRST_PLACES, SEGMENT),
        flags=np.zeros(_FIRST_PLACES, np.uint8),
        have=np.zeros(_FIRST_PLACES, np.uint8),
        free_rings=np.full(64, UNKNOWN, np.int64),
        blocks=np.zeros((count, 2 * MOST_BLOCKS), np.int64),
        seen=np.zeros((count, 2 * MOST_BLOCKS), np.int64),
        messages=made,
        waiting=waiting.astype(np.int64),
        starts=free[np.argsort(messages.start_ns[free], kind="stable")].astype(np.int64),
        fixed_slot=fixed,
        pins=(pinned >= 0).astype(np.uint8),
        fixed_flowlet=np.full(count, UNKNOWN, np.int64),
        gone=np.zeros(_FIRST_PLACES, GONE),
        lot=lot,
    )


def _message_rows(messages: Messages) -> NDArray[np.void]:
    """MESSAGE of each, and one more, where those that wait for the last end."""
    count = len(messages.half)
    made = np.zeros(count + 1, MESSAGE)
    for name in ("half", "bytes", "start_ns", "think_ns"):
        made[name][:-1] = getattr(messages, name)
    made["waits"][:-1] = np.diff(messages.after_first)
    made["first_waiting"][1:] = np.cumsum(np.bincount(messages.after_row, minlength=count))
    for name in ("asked_ns", "complete_ns", "end", "following", "woken"):
        made[name] = UNKNOWN
    return made


def _hashed_slots(keys: NDArray[np.uint64], path_count: NDArray[np.int32], seed: int) -> NDArray[np.int64]:
    """The slots of `host-ecmp`, int64[flows]."""
    hashes = keyed_hashes(keys, seed)
    return np.array([reduce_to(of_flow, int(size)) for of_flow, size in zip(hashes, path_count, strict=True)], np.int64)


def _with_room(connections: Connections) -> Connections:
    """The connections with twice as many places where they might not suffice."""
    largest = int(connections.lot["largest"][0])
    grown: dict[str, NDArray[Any]] = {}
    if int(connections.lot["used"][0]) + 2 * largest > len(connections.segments):
        grown |= {name: _doubled(getattr(connections, name)) for name in ("segments", "flags", "have")}
    if 8 * largest > len(connections.gone):
        grown["gone"] = _doubled(connections.gone)
    return connections._replace(**grown)


def _doubled(values: NDArray[Any]) -> NDArray[Any]:
    more = np.zeros(2 * len(values), values.dtype).view(type(values))
    more[: len(values)] = values
    return more
