"""The table of flows: open addressing from keys mixed with a secret seed to the latest flow of each."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.hashing import finalise
from segcast.traces.headers.tenants import TENANT_BITS
from segcast.traces.jit import kernel

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

TENANT_AT: Final = np.uint64(64 - TENANT_BITS)
ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
TUPLE: Final = np.uint64((1 << (64 - TENANT_BITS)) - 1)  # the last word of a key without its tenant

WAITING: Final = np.dtype(
    [
        ("flows", np.int64),  # how many
        ("each", np.int64),  # their ids, exclusive or: of one its id
    ]
)


class FlowTable(NamedTuple):
    """State of the table: capacity c flows, 2 c slots.

    `slots` uint64[2c]: upper half of the key's hash and flow id + 1, 0 if empty. `keys` uint64[c, 5]: source,
    destination, and (tenant, version 6, has ports, protocol, ports) packed; a slot leads to the latest flow of a key.
    `stats` FLOW[c]. `reverse` int64[c]: the other direction's id, -1 if not seen. `control` uint64[2]: flows in use,
    seed.

    Once packets have tenants: `tuples` uint64[2c] leads, as `slots`, from a key without tenant to its first flow, where
    `waiting` WAITING[c] says which of the flows of that key have no other direction, of each tenant the latest. Before,
    they have one row.
    """

    slots: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    stats: npt.NDArray[np.void]
    reverse: npt.NDArray[np.int64]
    control: npt.NDArray[np.uint64]
    tuples: npt.NDArray[np.uint64]
    waiting: npt.NDArray[np.void]


@kernel
def hash_key(
    seed: np.uint64,
    src_high: np.uint64,
    src_low: np.uint64,
    dst_high: np.uint64,
    dst_low: np.uint64,
    rest: np.uint64,
) -> np.uint64:
    """The hash of a key."""
    h = finalise(finalise(finalise(seed ^ rest) ^ src_low) ^ dst_low)
    if src_high | dst_high:
        h = finalise(finalise(h ^ src_high) ^ dst_high)
    return h


@kernel
def find(
    slots: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    h: np.uint64,
    src_high: np.uint64,
    src_low: np.uint64,
    dst_high: np.uint64,
    dst_low: np.uint64,
    rest: np.uint64,
    considered: np.uint64,
) -> np.uint64:
    """The slot of a key, or the empty slot where it would go; of `rest` the bits `considered` count."""
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
                and (keys[flow, 4] ^ rest) & considered == 0
                and keys[flow, 0] == src_high
                and keys[flow, 2] == dst_high
            ):
                return slot
        slot = (slot + np.uint64(1)) & mask


@kernel
def rehash(table: FlowTable, slots: npt.NDArray[np.uint64]) -> None:
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
        h = hash_key(table.control[1], src_high, src_low, dst_high, dst_low, rest)
        slot = find(slots, keys, h, src_high, src_low, dst_high, dst_low, rest, ALL)
        slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(flow + 1)
