"""Which flow is the other direction of which: rules of time and flags, and of tenants, see docs/captures.md."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segcast.traces.flows.keys import TUPLE, FlowTable, find, hash_key
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK, RST, SYN


@kernel
def answers(stats: npt.NDArray[np.void], flow: int, now: int, silence: int, flags: int) -> bool:
    """Whether the first packet that the other direction ever had answers `flow`: TCP never answers data with a SYN."""
    if now - stats[flow]["last_ns"] > silence:
        return False
    return bool(not stats[flow]["has_sent"] or flags & (SYN | ACK | RST) != SYN)


@kernel
def may_join(stats: npt.NDArray[np.void], flow: int, now: int, silence: int, is_tcp: bool, flags: int) -> bool:
    """Whether a packet of the other direction, which had an earlier flow, answers `flow`.

    A SYN alone is answered with a SYN or a reset in TCP; anything else belongs to what was before.
    """
    if now - stats[flow]["last_ns"] > silence:
        return False
    return bool(not is_tcp or stats[flow]["has_sent"] or stats[flow]["has_answered"] or flags & (SYN | RST))


@kernel
def begins(stats: npt.NDArray[np.void], flow: int, back: int, now: int, silence: int, syn1: int, flags: int) -> bool:
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
def _waiting_place(table: FlowTable, row: int, is_back: bool) -> int:
    """The row of `waiting` for the key of flow `row` without tenant, or for its other direction's if `is_back`.

    Of a key that is new, its first row is `row`; -1 if it is the other direction's.
    """
    keys = table.keys
    rest = keys[row, 4] & TUPLE
    if is_back:
        swapped = (rest & np.uint64(0xFFFF)) << np.uint64(16) | rest >> np.uint64(16) & np.uint64(0xFFFF)
        rest = rest & ~np.uint64(0xFFFFFFFF) | swapped
        src_high, src_low, dst_high, dst_low = keys[row, 2], keys[row, 3], keys[row, 0], keys[row, 1]
    else:
        src_high, src_low, dst_high, dst_low = keys[row, 0], keys[row, 1], keys[row, 2], keys[row, 3]
    h = hash_key(table.control[1], src_high, src_low, dst_high, dst_low, rest)
    slot = find(table.tuples, keys, h, src_high, src_low, dst_high, dst_low, rest, TUPLE)
    if table.tuples[slot] == 0:
        if is_back:
            return int64(-1)
        table.tuples[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(row + 1)
    return int64(table.tuples[slot] & np.uint64(0xFFFFFFFF)) - 1


@kernel
def _wait(table: FlowTable, flow: int, change: int) -> None:
    """Count `flow` among those without another direction (`change` 1), or no longer (-1)."""
    place = _waiting_place(table, flow, False)
    table.waiting[place]["flows"] += change
    table.waiting[place]["each"] ^= flow


@kernel
def _of_another_tenant(table: FlowTable, flow: int, now: int, silence: int, flags: int, ack: int) -> int:
    """The one flow of all other tenants that `flow`, whose first packet this is, can be the other direction of; or -1.

    A network may tag the directions differently. A SYN/ACK must acknowledge the SYN that was seen.
    """
    place = _waiting_place(table, flow, True)
    if place == _waiting_place(table, flow, False):  # from a port to itself: there is no other direction
        return -1
    if place < 0 or table.waiting[place]["flows"] != 1:
        return -1
    other = int64(table.waiting[place]["each"])
    if not answers(table.stats, other, now, silence, flags):
        return -1
    syn1 = int64(table.stats[other]["syn1"])
    if flags & (SYN | ACK | RST) == SYN | ACK and syn1 != 0 and syn1 & 0xFFFFFFFF != ack:
        return -1
    return other


@kernel
def among_tenants(
    table: FlowTable,
    flow: int,
    before: int,
    other: int,
    joins: bool,
    now: int,
    silence: int,
    flags: int,
    ack: int,
) -> tuple[int, bool]:
    """(other, joins) of a new flow, where packets have tenants; `before` is the flow of its key before it, or -1.

    The other direction of its own tenant goes first, even if it has one of another: which then waits again.
    """
    reverse = table.reverse
    if before >= 0 and reverse[before] < 0:
        _wait(table, before, -1)
    if joins and reverse[other] >= 0:
        left = reverse[other]
        reverse[left] = -1
        table.stats[left]["other"] = -1
        _wait(table, left, 1)
    elif joins:
        _wait(table, other, -1)
    elif before < 0 and other < 0:
        other = _of_another_tenant(table, flow, now, silence, flags, ack)
        joins = other >= 0
        if joins:
            _wait(table, other, -1)
    if not joins:
        _wait(table, flow, 1)
    return other, joins


@kernel
def begin_waiting(table: FlowTable, latest: npt.NDArray[np.int64]) -> None:
    """Fill the empty `tuples` and `waiting`; `latest` are the latest flows of their keys."""
    for k in range(latest.size):
        if table.reverse[latest[k]] < 0:
            _wait(table, latest[k], 1)
