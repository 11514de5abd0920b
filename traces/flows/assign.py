"""Gives every packet its flow and follows TCP: an open-addressing hash table kept between batches.

A flow is one direction of (IP version, protocol, addresses, ports); ids count up in order of first packets. The other
direction is linked as soon as both have been seen. Keys are mixed with a secret seed, so that no capture can choose
addresses that collide; ids do not depend on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.flows import connections
from segcast.traces.flows.connections import Connections
from segcast.traces.flows.tcp import track_tcp
from segcast.traces.hashing import finalise
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, Headers
from segcast.traces.jit import kernel

NO_FLOW: Final = 0xFFFFFFFF
_FIRST_CAPACITY: Final = 1 << 12


class FlowTable(NamedTuple):
    """State of the table: capacity c flows, 2 c slots.

    `slots` uint64[2c]: upper half of the key's hash and flow id + 1, 0 if empty. `keys` uint64[c, 5]: source,
    destination, and (version, has ports, protocol, ports) packed. `stats` int64[c, 4]: first_ns, last_ns, packets,
    bytes. `reverse` int64[c]: the other direction's id, -1 if not seen. `control` uint64[2]: flows in use, seed.
    """

    slots: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    stats: npt.NDArray[np.int64]
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
        has_ports = np.uint64(1) if valid & HAS_PORTS else np.uint64(0)
        src_port, dst_port = np.uint64(headers.src_port[i]), np.uint64(headers.dst_port[i])
        common = (
            np.uint64(headers.version[i]) << np.uint64(48)
            | has_ports << np.uint64(40)
            | np.uint64(headers.protocol[i]) << np.uint64(32)
        )
        rest = common | src_port << np.uint64(16) | dst_port
        src_high, src_low = headers.src_high[i], headers.src_low[i]
        dst_high, dst_low = headers.dst_high[i], headers.dst_low[i]
        h = _hash(seed, src_high, src_low, dst_high, dst_low, rest)
        slot = _find(slots, keys, h, src_high, src_low, dst_high, dst_low, rest)
        time = time_ns[i]
        if slots[slot] != 0:
            flow = (slots[slot] & np.uint64(0xFFFFFFFF)) - np.uint64(1)
            stats[flow, 0] = min(stats[flow, 0], time)
            stats[flow, 1] = max(stats[flow, 1], time)
        else:
            flow = table.control[0]
            if flow == capacity:
                return i
            table.control[0] = flow + np.uint64(1)
            slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | (flow + np.uint64(1))
            keys[flow, 0], keys[flow, 1] = src_high, src_low
            keys[flow, 2], keys[flow, 3], keys[flow, 4] = dst_high, dst_low, rest
            stats[flow, 0] = time
            stats[flow, 1] = time
            reverse[flow] = -1
            back = common | dst_port << np.uint64(16) | src_port
            h = _hash(seed, dst_high, dst_low, src_high, src_low, back)
            other = slots[_find(slots, keys, h, dst_high, dst_low, src_high, src_low, back)]
            if other != 0:
                other = (other & np.uint64(0xFFFFFFFF)) - np.uint64(1)
                if other != flow:
                    reverse[flow] = np.int64(other)
                    reverse[other] = np.int64(flow)
        stats[flow, 2] += 1
        stats[flow, 3] += np.int64(wire[i])
        flow_id[i] = flow
    return time_ns.size


@kernel
def _rehash(table: FlowTable, slots: npt.NDArray[np.uint64]) -> None:
    """Fill empty `slots` with the flows of `table`."""
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
            np.zeros((capacity, 4), np.int64),
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
            np.zeros((2 * count, 4), np.int64),
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
