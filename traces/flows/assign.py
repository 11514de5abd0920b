"""Gives every packet its flow and follows TCP: an open-addressing hash table kept between batches.

A flow is one direction of (IP version, protocol, addresses, ports) until that is used again, see docs/captures.md; ids
count up in order of first packets. The other direction is linked as soon as both have been seen. Keys are mixed with a
secret seed, so that no capture can choose addresses that collide; ids do not depend on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.flows import connections
from segcast.traces.flows.connections import Connections
from segcast.traces.flows.tcp import IDLE_NS, track_tcp
from segcast.traces.hashing import finalise
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, HAS_TCP, Headers
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK, FIN, RST, SYN, TCP

NO_FLOW: Final = 0xFFFFFFFF
SILENCE_NS: Final = 300 * 10**9
TCP_SILENCE_NS: Final = IDLE_NS
_FIRST_CAPACITY: Final = 1 << 12

FLOW: Final = np.dtype(
    [
        ("first_ns", np.int64),
        ("last_ns", np.int64),
        ("packets", np.int64),
        ("bytes", np.int64),
        ("other", np.int64),  # the latest flow of the other direction, -1 if there is none
        ("syn1", np.int64),  # the sequence number of its SYN plus 1, 0 if none was seen
        ("has_sent", np.bool_),  # something other than a SYN or SYN/ACK
        ("has_answered", np.bool_),  # a SYN/ACK
        ("has_ended", np.bool_),  # by a FIN
        ("has_reset", np.bool_),
    ]
)
_NO_PACKET: Final = np.zeros(1, FLOW)


class FlowTable(NamedTuple):
    """State of the table: capacity c flows, 2 c slots.

    `slots` uint64[2c]: upper half of the key's hash and flow id + 1, 0 if empty. `keys` uint64[c, 5]: source,
    destination, and (version, has ports, protocol, ports) packed; a slot leads to the latest flow of a key. `stats`
    FLOW[c]. `reverse` int64[c]: the other direction's id, -1 if not seen. `control` uint64[2]: flows in use, seed.
    """

    slots: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    stats: npt.NDArray[np.void]
    reverse: npt.NDArray[np.int64]
    control: npt.NDArray[np.uint64]


@kernel
def _hash(
    seed: np.uint64,
    src_high: np.uint64,
    src_low: np.uint64,
    dst_high: np.uint64,
    dst_low: np.uint64,
    rest: np.uint64,
) -> np.uint64:
    h = finalise(finalise(finalise(seed ^ rest) ^ src_low) ^ dst_low)
    if src_high | dst_high:
        h = finalise(finalise(h ^ src_high) ^ dst_high)
    return h


@kernel
def _find(
    slots: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    h: np.uint64,
    src_high: np.uint64,
    src_low: np.uint64,
    dst_high: np.uint64,
    dst_low: np.uint64,
    rest: np.uint64,
) -> np.uint64:
    """The slot of a key, or the empty slot where it would go."""
    mask = np.uint64(slots.size - 1)
    slot = h & mask
    while True:
        entry = slots[slot]
        if entry == 0:
            return slot
        if entry >> np.uint64(32) == h >> np.uint64(32):
            flow = (entry & np.uint64(0xFFFFFFFF)) - np.uint64(1)
            if (
                keys[flow, 1] == src_low
                and keys[flow, 3] == dst_low
                and keys[flow, 4] == rest
                and keys[flow, 0] == src_high
                and keys[flow, 2] == dst_high
            ):
                return slot
        slot = (slot + np.uint64(1)) & mask


@kernel
def _answers(stats: npt.NDArray[np.void], flow: int, now: int, silence: int, flags: int) -> bool:
    """Whether the first packet that the other direction ever had answers `flow`: TCP never answers data with a SYN."""
    if now - stats[flow]["last_ns"] > silence:
        return False
    return bool(not stats[flow]["has_sent"] or flags & (SYN | ACK | RST) != SYN)


@kernel
def _joins(stats: npt.NDArray[np.void], flow: int, now: int, silence: int, is_tcp: bool, flags: int) -> bool:
    """Whether a packet of the other direction, which had an earlier flow, answers `flow`.

    A SYN alone is answered with a SYN or a reset in TCP; anything else belongs to what was before.
    """
    if now - stats[flow]["last_ns"] > silence:
        return False
    return bool(not is_tcp or stats[flow]["has_sent"] or stats[flow]["has_answered"] or flags & (SYN | RST))


@kernel
def _begins(stats: npt.NDArray[np.void], flow: int, back: int, now: int, silence: int, syn1: int, flags: int) -> bool:
    """Whether a packet of `flow` begins another connection; `syn1`, if it is a SYN, is its sequence number plus 1.

    After a reset or the FINs of all directions seen any SYN does, else one of another sequence number; a SYN/ACK only
    if either direction has sent more than that. And so does any packet after a silence of both directions.
    """
    mine = stats[flow]
    if now - mine["last_ns"] > silence and (back < 0 or now - stats[back]["last_ns"] > silence):
        return True
    if syn1 == 0:
        return False
    if mine["has_reset"] or (back >= 0 and stats[back]["has_reset"]):
        return True
    if mine["has_ended"] and (back < 0 or stats[back]["has_ended"]):
        return True
    if flags & ACK and not mine["has_sent"] and (back < 0 or not stats[back]["has_sent"]):
        return False
    return bool(mine["syn1"] != syn1)


@kernel
def assign_flows(
    table: FlowTable,
    headers: Headers,
    time_ns: npt.NDArray[np.int64],
    wire: npt.NDArray[np.uint32],
    flow_id: npt.NDArray[np.uint32],
    begin: int,
) -> int:
    """Write `flow_id` of rows from `begin` on (0 where there is no flow); the row reached.

    It is short of n if the table is full: the caller then grows the table and goes on from that row.
    """
    slots, keys, stats, reverse = table.slots, table.keys, table.stats, table.reverse
    seed = table.control[1]
    capacity = np.uint64(reverse.size)
    for i in range(begin, time_ns.size):
        valid = headers.valid[i]
        if valid & HAS_IP == 0:
            flow_id[i] = 0
            continue
        if table.control[0] == capacity:
            return i
        has_ports = np.uint64(1) if valid & HAS_PORTS else np.uint64(0)
        src_port, dst_port = np.uint64(headers.src_port[i]), np.uint64(headers.dst_port[i])
        protocol = headers.protocol[i]
        common = (
            np.uint64(headers.version[i]) << np.uint64(48)
            | has_ports << np.uint64(40)
            | np.uint64(protocol) << np.uint64(32)
        )
        rest = common | src_port << np.uint64(16) | dst_port
        src_high, src_low = headers.src_high[i], headers.src_low[i]
        dst_high, dst_low = headers.dst_high[i], headers.dst_low[i]
        h = _hash(seed, src_high, src_low, dst_high, dst_low, rest)
        slot = _find(slots, keys, h, src_high, src_low, dst_high, dst_low, rest)
        time = time_ns[i]
        is_tcp = protocol == TCP
        silence = int64(TCP_SILENCE_NS) if is_tcp else int64(SILENCE_NS)
        flags, syn1 = int64(0), int64(0)
        if valid & HAS_TCP:
            flags = int64(headers.tcp_flags[i])
            if flags & (SYN | RST) == SYN:
                syn1 = int64(headers.tcp_seq[i]) + 1
        flow = int64(slots[slot] & np.uint64(0xFFFFFFFF)) - 1
        other, joins = int64(-1), False
        if flow < 0:
            is_new = True
            other_rest = common | dst_port << np.uint64(16) | src_port
            if src_low != dst_low or src_high != dst_high or other_rest != rest:
                h_back = _hash(seed, dst_high, dst_low, src_high, src_low, other_rest)
                back_slot = _find(slots, keys, h_back, dst_high, dst_low, src_high, src_low, other_rest)
                other = int64(slots[back_slot] & np.uint64(0xFFFFFFFF)) - 1
                joins = other >= 0 and _answers(stats, other, time, silence, flags)
        else:
            other = stats[flow]["other"]
            joins = bool(other > flow and reverse[other] < 0) and _joins(stats, other, time, silence, is_tcp, flags)
            is_new = joins or _begins(stats, flow, reverse[flow], time, silence, syn1, flags)
        if is_new:
            flow = int64(table.control[0])
            table.control[0] = np.uint64(flow + 1)
            slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(flow + 1)
            keys[flow, 0], keys[flow, 1] = src_high, src_low
            keys[flow, 2], keys[flow, 3], keys[flow, 4] = dst_high, dst_low, rest
            stats[flow] = _NO_PACKET[0]
            stats[flow]["first_ns"] = stats[flow]["last_ns"] = time
            stats[flow]["other"] = other
            reverse[flow] = -1
            if other >= 0:
                stats[other]["other"] = flow
                if joins:
                    reverse[flow], reverse[other] = other, flow
        mine = stats[flow]
        mine["first_ns"], mine["last_ns"] = min(mine["first_ns"], time), max(mine["last_ns"], time)
        mine["packets"] += 1
        mine["bytes"] += np.int64(wire[i])
        if is_tcp:
            if syn1 != 0:
                mine["syn1"] = syn1
                mine["has_answered"] = mine["has_answered"] or flags & ACK != 0
            if flags & SYN == 0:
                mine["has_sent"] = True
            if flags & FIN:
                mine["has_ended"] = True
            if flags & RST:
                mine["has_reset"] = True
        flow_id[i] = flow
    return time_ns.size


@kernel
def _rehash(table: FlowTable, slots: npt.NDArray[np.uint64]) -> None:
    """Fill empty `slots` with the flows of `table`; of those with the same key the latest stays."""
    keys = table.keys
    for flow in range(np.int64(table.control[0])):
        src_high, src_low, dst_high, dst_low, rest = (
            keys[flow, 0],
            keys[flow, 1],
            keys[flow, 2],
            keys[flow, 3],
            keys[flow, 4],
        )
        h = _hash(table.control[1], src_high, src_low, dst_high, dst_low, rest)
        slot = _find(slots, keys, h, src_high, src_low, dst_high, dst_low, rest)
        slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(flow + 1)


class Flows:
    """The flows of a trace so far; grows as packets come."""

    def __init__(self, seed: int | None = None) -> None:
        """An empty table. `seed` (64 bits) is drawn at random unless given; it changes nothing visible."""
        capacity = _FIRST_CAPACITY
        self.table = FlowTable(
            np.zeros(2 * capacity, np.uint64),
            np.empty((capacity, 5), np.uint64),
            np.zeros(capacity, FLOW),
            np.full(capacity, -1, np.int64),
            np.array([0, secrets.randbits(64) if seed is None else seed], np.uint64),
        )
        self.pool = connections.new_pool(capacity)
        self._allocate(0)

    def _allocate(self, rows: int) -> None:
        """Scratch for a batch of `rows`."""
        self._marks, self._mss = np.empty(rows, np.uint8), np.zeros(rows, np.uint16)
        self._limit_bytes = np.empty(rows, np.uint16)

    def __len__(self) -> int:
        """Number of flows."""
        return int(self.table.control[0])

    @property
    def used_again(self) -> int:
        """Flows whose addresses, protocol and ports had another before."""
        return len(self) - int(np.count_nonzero(self.table.slots))

    def add(
        self,
        headers: Headers,
        time_ns: npt.NDArray[np.int64],
        wire: npt.NDArray[np.uint32],
        flow_id: npt.NDArray[np.uint32],
        marks: npt.NDArray[np.uint8] | None = None,
        mss: npt.NDArray[np.uint16] | None = None,
        limit_bytes: npt.NDArray[np.uint16] | None = None,
    ) -> None:
        """Take n decoded frames in capture order; writes `flow_id` uint32[n] (0 where the frame has no IP header).

        `mss` uint16[n] is what `tcp.announced_mss` read. `marks` uint8[n] gets the `tcp.MARKS` of each frame and
        `limit_bytes` uint16[n] those of super-frames, see `track_tcp`, if given.
        """
        rows = len(time_ns)
        reached = assign_flows(self.table, headers, time_ns, wire, flow_id, 0)
        while reached < rows:
            self._grow()
            reached = assign_flows(self.table, headers, time_ns, wire, flow_id, reached)
        if len(self._mss) < rows:
            self._allocate(rows)
        marks = self._marks[:rows] if marks is None else marks
        mss = self._mss[:rows] if mss is None else mss
        limit_bytes = self._limit_bytes[:rows] if limit_bytes is None else limit_bytes
        reached = -1
        while reached < rows:
            if reached >= 0:
                self.pool = connections.with_room(self.pool)
            arrays = (headers, mss, time_ns, flow_id, marks, limit_bytes)
            reached = track_tcp(self.pool, self.table.reverse, *arrays, max(reached, 0))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later packets depend on, by name; `restore` goes on from there."""
        return {
            **{f"table_{name}": array for name, array in self.table._asdict().items()},
            **{f"pool_{name}": array for name, array in self.pool._asdict().items()},
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self.table = FlowTable._make(state[f"table_{name}"] for name in FlowTable._fields)
        self.pool = Connections._make(state[f"pool_{name}"] for name in Connections._fields)

    def _grow(self) -> None:
        old = self.table
        count = len(old.reverse)
        slots = np.zeros(4 * count, np.uint64)
        _rehash(old, slots)
        wider = FlowTable(
            slots,
            np.empty((2 * count, 5), np.uint64),
            np.zeros(2 * count, FLOW),
            np.full(2 * count, -1, np.int64),
            old.control,
        )
        for name in ("keys", "stats", "reverse"):
            getattr(wider, name)[:count] = getattr(old, name)
        self.table = wider
        self.pool = connections.with_flows(self.pool, 2 * count)

    def round_trips(
        self,
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Flows with samples in order, and of each the least and the median (of two, floor of the mean) in ns.

        The least is exact, the median up to `connections.SAMPLES` samples; of more it is that of a fair choice.
        """
        results = self.pool.results[: len(self)]
        median = np.zeros(len(self), np.int64)
        connections.medians(self.pool, median)
        (sampled,) = np.nonzero(results["samples"])
        return sampled.astype(np.uint32), results["least_ns"][sampled], median[sampled]
