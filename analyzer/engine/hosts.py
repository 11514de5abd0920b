"""What steering hosts do in the event loop besides asking their policy: sizes, usable slots, losses to be learned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.state import LAZY, ORDERED, Rules
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES
from segcast.analyzer.packets import DROPPED, RELEASED, UNACKED
from segcast.traces.jit import at, int64, kernel


class Slots(NamedTuple):
    """The slots of a flow's group: its first counter and path, and how many there are."""

    first_counter: int
    first_path: int
    path_count: int


@kernel
def frame_bytes_of(ip_bytes: int, srv6_bytes: int, minimum_bytes: int) -> int:
    """The bytes of a packet's frame."""
    return max(int64(ip_bytes) + ETHERNET_HEADER_BYTES + srv6_bytes, minimum_bytes)


@kernel
def expect_timeout(progress: NDArray[np.void], ack: int, state: int, row: int) -> None:
    """Note a packet that will not be acknowledged, if its host still believes that it will be.

    `ack` is the rule, `state` the packet's fate so far. Bytes that the trace releases wait for no timeout.
    """
    if ack in (LAZY, ORDERED) and not state & UNACKED:
        progress[0].next_expiry = row if progress[0].lost == 0 else min(progress[0].next_expiry, row)
        progress[0].lost += 1


@kernel
def is_barred(
    counters: NDArray[np.void], paths: NDArray[np.void], slots: Slots, slot: int, steered: bool, now_ns: int
) -> bool:
    """Whether a slot may not be chosen: its host suspects it, or, unsteered, routing knows that its path is down."""
    if steered:
        return bool(counters[at(slots.first_counter + slot)].suspect_until_ns > now_ns)
    return bool(paths[at(slots.first_path + slot)].down > 0)


@kernel
def penalise(
    counters: NDArray[np.void],
    paths: NDArray[np.void],
    inflight: NDArray[np.int64],
    slots: Slots,
    steered: bool,
    now_ns: int,
    penalty_bytes: int,
) -> int:
    """Add `penalty_bytes` to the in-flight count of every barred slot; returns how many slots are not barred."""
    usable = int64(0)
    for slot in range(slots.path_count):
        if is_barred(counters, paths, slots, slot, steered, now_ns):
            inflight[at(slots.first_counter + slot)] += penalty_bytes
        else:
            usable += 1
    return usable


@kernel
def nth_usable(
    counters: NDArray[np.void], paths: NDArray[np.void], slots: Slots, nth: int, steered: bool, now_ns: int
) -> int:
    """The slot that is number `nth`, from 0, of those that are not barred."""
    for slot in range(slots.path_count):
        if not is_barred(counters, paths, slots, slot, steered, now_ns):
            if nth == 0:
                return slot
            nth -= 1
    return -1


@kernel
def suspect(counters: NDArray[np.void], progress: NDArray[np.void], counter: int, rules: Rules, now_ns: int) -> None:
    """Count a timeout in a row on a path, and after so many of them suspect it for a while (docs/model.md, Suspicion).

    Nothing is counted on a path that is suspected already.
    """
    if rules.suspect_after == 0 or counters[at(counter)].suspect_until_ns > now_ns:
        return
    counters[at(counter)].silent += 1
    if counters[at(counter)].silent >= rules.suspect_after:
        until_ns = now_ns + rules.suspect_for_ns
        counters[at(counter)].silent = 0
        counters[at(counter)].suspect_until_ns = until_ns
        progress[0].suspects_until_ns = max(progress[0].suspects_until_ns, until_ns)


@kernel
def next_lost(fate_state: NDArray[np.uint8], first: int) -> int:
    """The first row from `first` on whose packet waits for its timeout; there is one."""
    row = first
    while fate_state[at(row)] & RELEASED or not fate_state[at(row)] & (DROPPED | UNACKED):
        row += 1
    return row
