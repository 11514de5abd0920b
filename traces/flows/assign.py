"""Gives every packet its flow and follows TCP: an open-addressing hash table kept between batches.

A flow is one direction of (tenant, IP version, protocol, addresses, ports) until that is used again, see
docs/captures.md; ids count up in order of first packets. The other direction is linked as soon as both have been seen:
that of its tenant, or of another if just one such flow waits for its other direction. Keys are mixed with a secret
seed, so that no capture can choose addresses that collide; ids do not depend on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.flows import connections
from segcast.traces.flows.connections import Connections
from segcast.traces.flows.keys import ALL, FLOW, TENANT_AT, TUPLE, WAITING, FlowTable, find, hash_key, rehash
from segcast.traces.flows.partners import among_tenants, answers, begin_waiting, begins, may_join
from segcast.traces.flows.prefetch import prefetch
from segcast.traces.flows.tcp import IDLE_NS, track_tcp
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, HAS_TCP, Headers
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK, FIN, RST, SYN, TCP

NO_FLOW: Final = 0xFFFFFFFF
SILENCE_NS: Final = 300 * 10**9
TCP_SILENCE_NS: Final = IDLE_NS
_FIRST_CAPACITY: Final = 1 << 12
_NO_PACKET: Final = np.zeros(1, FLOW)
_AHEAD: Final = 32  # rows whose flows are fetched from memory before they are needed


@kernel
def _last_word(headers: Headers, i: int) -> np.uint64:
    """The last word of the key of row `i`, whose other words are addresses."""
    return np.uint64(
        np.uint64(headers.tenant[i]) << TENANT_AT
        | np.uint64(headers.version[i] == 6) << np.uint64(41)
        | (np.uint64(1) if headers.valid[i] & HAS_PORTS else np.uint64(0)) << np.uint64(40)
        | np.uint64(headers.protocol[i]) << np.uint64(32)
        | np.uint64(headers.src_port[i]) << np.uint64(16)
        | np.uint64(headers.dst_port[i])
    )


@kernel
def _look_ahead(table: FlowTable, headers: Headers, begin: int, end: int, hashes: npt.NDArray[np.uint64]) -> None:
    """Write the `hashes` of the keys of these rows, and have their flows fetched from memory."""
    slots, keys = table.slots, table.keys
    mask = np.uint64(slots.size - 1)
    for i in range(begin, end):
        h = hash_key(
            table.control[1],
            headers.src_high[i],
            headers.src_low[i],
            headers.dst_high[i],
            headers.dst_low[i],
            _last_word(headers, i),
        )
        hashes[i - begin] = h
        prefetch(slots, h & mask)
    for i in range(end - begin):
        entry = slots[hashes[i] & mask]
        if entry != 0:
            flow = (entry & np.uint64(0xFFFFFFFF)) - np.uint64(1)
            prefetch(table.stats, flow)
            prefetch(keys, flow * np.uint64(5))
            prefetch(keys, flow * np.uint64(5) + np.uint64(4))


@kernel
def assign_flows(
    table: FlowTable,
    headers: Headers,
    time_ns: npt.NDArray[np.int64],
    wire: npt.NDArray[np.uint32],
    flow_id: npt.NDArray[np.uint32],
    hashes: npt.NDArray[np.uint64],
    begin: int,
) -> int:
    """Write `flow_id` of rows from `begin` on (0 where there is no flow); the row reached. `hashes` has no meaning.

    It is short of n if the table is full, which then must grow, and where a flow is to lose its other direction, whose
    packets before that row must have been followed: the call for that row goes on.
    """
    slots, keys, stats, reverse = table.slots, table.keys, table.stats, table.reverse
    seed = table.control[1]
    capacity = np.uint64(reverse.size)
    has_tenants = table.tuples.size > 1
    for i in range(begin, time_ns.size):
        ahead = (i - begin) % _AHEAD
        if ahead == 0:
            _look_ahead(table, headers, i, min(i + _AHEAD, time_ns.size), hashes)
        valid = headers.valid[i]
        if valid & HAS_IP == 0:
            flow_id[i] = 0
            continue
        if table.control[0] == capacity:
            return i
        protocol = headers.protocol[i]
        rest = _last_word(headers, i)
        src_high, src_low = headers.src_high[i], headers.src_low[i]
        dst_high, dst_low = headers.dst_high[i], headers.dst_low[i]
        h = hashes[ahead]
        slot = find(slots, keys, h, src_high, src_low, dst_high, dst_low, rest, ALL)
        time = time_ns[i]
        is_tcp = protocol == TCP
        silence = int64(TCP_SILENCE_NS) if is_tcp else int64(SILENCE_NS)
        flags, syn1 = int64(0), int64(0)
        if valid & HAS_TCP:
            flags = int64(headers.tcp_flags[i])
            if flags & (SYN | RST) == SYN:
                syn1 = int64(headers.tcp_seq[i]) + 1
        before = flow = int64(slots[slot] & np.uint64(0xFFFFFFFF)) - 1
        other, joins = int64(-1), False
        if flow < 0:
            is_new = True
            src_port, dst_port = np.uint64(headers.src_port[i]), np.uint64(headers.dst_port[i])
            other_rest = rest & ~np.uint64(0xFFFFFFFF) | dst_port << np.uint64(16) | src_port
            if src_low != dst_low or src_high != dst_high or other_rest != rest:
                h_back = hash_key(seed, dst_high, dst_low, src_high, src_low, other_rest)
                back_slot = find(slots, keys, h_back, dst_high, dst_low, src_high, src_low, other_rest, ALL)
                other = int64(slots[back_slot] & np.uint64(0xFFFFFFFF)) - 1
                joins = other >= 0 and answers(stats, other, time, silence, flags)
                if joins and reverse[other] >= 0 and i > begin:
                    return i
        else:
            other = stats[flow]["other"]
            joins = bool(other > flow and reverse[other] < 0) and may_join(stats, other, time, silence, is_tcp, flags)
            is_new = joins or begins(stats, flow, reverse[flow], time, silence, syn1, flags)
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
            if has_tenants:
                ack = int64(headers.tcp_ack[i]) if valid & HAS_TCP else int64(0)
                other, joins = among_tenants(table, flow, before, other, joins, time, silence, flags, ack)
                stats[flow]["other"] = other
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


def _until(columns: tuple[Any, ...], stop: int) -> tuple[Any, ...]:
    """The rows before `stop` of columns, also of those within columns."""
    return tuple(
        type(part)._make(column[:stop] for column in part) if isinstance(part, tuple) else part[:stop]  # type: ignore[attr-defined]
        for part in columns
    )


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
            np.zeros(1, np.uint64),
            np.zeros(1, WAITING),
        )
        self.pool = connections.new_pool(capacity)
        self._hashes = np.empty(_AHEAD, np.uint64)
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

    def tenants(self) -> npt.NDArray[np.int64]:
        """The number of each flow's tenant, int64[flows]."""
        return (self.table.keys[: len(self), 4] >> TENANT_AT).astype(np.int64)

    def in_several_tenants(self) -> npt.NDArray[np.int64]:
        """Flows whose addresses, protocol and ports occur in more than one tenant, in order."""
        if len(self.table.tuples) == 1 or not len(self):
            return np.empty(0, np.int64)
        keys = self.table.keys[: len(self)]
        rest = keys[:, 4]
        order = np.lexsort((rest >> TENANT_AT, rest & TUPLE, *(keys[:, word] for word in range(4))))
        ordered, tenant = keys[order], rest[order] >> TENANT_AT
        ordered[:, 4] &= TUPLE
        begins = np.flatnonzero(np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1))))
        ends = np.append(begins[1:], len(order)) - 1
        return np.sort(order[np.repeat(tenant[begins] != tenant[ends], ends - begins + 1)])

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
        if len(self.table.tuples) == 1 and headers.tenant.any():
            self._tell_tenants_apart()
        if len(self._mss) < rows:
            self._allocate(rows)
        marks = self._marks[:rows] if marks is None else marks
        mss = self._mss[:rows] if mss is None else mss
        limit_bytes = self._limit_bytes[:rows] if limit_bytes is None else limit_bytes
        columns = (headers, mss, time_ns, flow_id, marks, limit_bytes)
        begin = 0
        while begin < rows:
            if len(self) == len(self.table.reverse):
                self._grow()
            reached = assign_flows(self.table, headers, time_ns, wire, flow_id, self._hashes, begin)
            self._follow(columns if reached == rows else _until(columns, reached), begin)
            begin = reached

    def _follow(self, columns: Any, begin: int) -> None:
        """Follow TCP in the rows from `begin` on."""
        headers, mss, time_ns, flow_id, marks, limit_bytes = columns
        arrays = (headers, mss, time_ns, flow_id, marks, limit_bytes)
        reached, rows = begin, len(time_ns)
        while reached < rows:
            reached = track_tcp(self.pool, self.table.reverse, *arrays, reached)
            if reached < rows:
                self.pool = connections.with_room(self.pool)

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

    def _tell_tenants_apart(self) -> None:
        """Begin to, or do so in a table that has grown."""
        capacity = len(self.table.reverse)
        self.table = self.table._replace(tuples=np.zeros(2 * capacity, np.uint64), waiting=np.zeros(capacity, WAITING))
        used = self.table.slots[self.table.slots != 0]
        begin_waiting(self.table, np.sort((used & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1))

    def _grow(self) -> None:
        old = self.table
        count = len(old.reverse)
        slots = np.zeros(4 * count, np.uint64)
        rehash(old, slots)
        wider = FlowTable(
            slots,
            np.empty((2 * count, 5), np.uint64),
            np.zeros(2 * count, FLOW),
            np.full(2 * count, -1, np.int64),
            old.control,
            np.zeros(1, np.uint64),
            np.zeros(1, WAITING),
        )
        for name in ("keys", "stats", "reverse"):
            getattr(wider, name)[:count] = getattr(old, name)
        self.table = wider
        if len(old.tuples) > 1:
            self._tell_tenants_apart()
        self.pool = connections.with_flows(self.pool, 2 * count)

    def round_trips(
        self,
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Flows with samples in order, and of each the least and the median (of two, floor of the mean) in ns.

        The least is exact, the median up to `connections.SAMPLES` samples; of more it is that of a fair choice.
        """
        results = self.pool.results[: len(self)]
        median = np.zeros(len(self), np.int64)
        connections.medians(self.pool, np.empty(connections.SAMPLES, np.int64), median)
        (sampled,) = np.nonzero(results["samples"])
        return sampled.astype(np.uint32), results["least_ns"][sampled], median[sampled]
