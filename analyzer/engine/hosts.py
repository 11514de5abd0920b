"""What steering hosts do in the event loop: they choose a path for a packet, and learn what became of it.

The rules are those of docs/model.md (Flowlets and policies, In-flight bytes), whoever made the packet.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import Detector, Gap, observe, starts
from segcast.analyzer.engine.rings import release
from segcast.analyzer.engine.state import (
    ASKED,
    LAZY,
    ORDERED,
    PER_FLOW,
    PER_FLOWLET,
    PER_PACKET,
    UNCOUNTED,
    Rules,
    State,
)
from segcast.analyzer.engine.unseen import unseen
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES
from segcast.analyzer.packets import DROPPED, RELEASED, UNACKED, Fates, Packets
from segcast.analyzer.policies.registry import PENALTY_BYTES, Decision, Feedback, NetworkState, Policy, choose, learn
from segcast.traces.jit import at, inlined, inlined_by_type, int64, kernel


class Uses(NamedTuple):
    """What a policy and its detector have a use for: constants of a loop, so that nothing else is compiled into it.

    `granularity` is one of state.PER_FLOW, ...; `counted` says whether anything may depend on what is in flight.
    """

    granularity: int
    steered: bool
    by_counter: bool
    counted: bool
    measures: bool
    learns: bool
    tracks: bool
    awaits: bool


_GRANULARITIES: Final = {"flow": PER_FLOW, "flowlet": PER_FLOWLET, "packet": PER_PACKET, "asked": ASKED}


def uses_of(policy: Policy, detector: Detector) -> Uses:
    """What these two have a use for. Steered policies may suspect paths, which takes acknowledgements."""
    learns = policy.learns or detector.learns
    return Uses(
        _GRANULARITIES[policy.granularity],
        policy.steered,
        policy.by == "counter",
        policy.counts_inflight or policy.steered or learns or detector.awaits,
        policy.measures,
        learns,
        detector.tracks,
        detector.awaits,
    )


class Sent(NamedTuple):
    """A packet on its way: its path, -1 if the policy chose a slot that there is not, and the bytes of its frame."""

    path: int
    frame_bytes: int


class Returned(NamedTuple):
    """A packet whose bytes leave the in-flight count, because it is acknowledged or (`lost`) taken for lost.

    `marked`, `delay_ns` and `congestion` are what the acknowledgement says; see `Feedback`.
    """

    flow: int
    path: int
    frame_bytes: int
    send_ns: int
    receive_ns: int
    marked: bool
    lost: bool
    congestion: int


class Slots(NamedTuple):
    """The slots of a flow's group: its first counter and path, and how many there are."""

    first_counter: int
    first_path: int
    path_count: int


@kernel
def frame_bytes_of(ip_bytes: int, srv6_bytes: int, minimum_bytes: int) -> int:
    """The bytes of a packet's frame."""
    return max(int64(ip_bytes) + ETHERNET_HEADER_BYTES + srv6_bytes, minimum_bytes)


@inlined
def counter_of(state: State, flow: int, path: int) -> int:
    """The in-flight counter of a flow's packets on a path."""
    row = state.flows[at(flow)]
    return int64(row.first_counter) + path - int64(row.first_path)


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


@inlined_by_type
def send(
    state: State,
    rules: Rules,
    policy_state: Any,
    detector_state: Any,
    packets: Packets,
    fates: Fates,
    uses: Uses,
    row: int,
    now_ns: int,
) -> Sent:
    """The host of a packet chooses its path, and counts it as in flight."""
    paths, flows, inflight, counters, progress = (
        state.paths,
        state.flows,
        state.inflight,
        state.counters,
        state.progress,
    )
    ack = rules.ack if uses.counted else UNCOUNTED
    flow = int64(packets.flow[at(row)])
    ip_bytes = int64(packets.ip_bytes[at(row)])
    slot = int64(flows[at(flow)].slot)
    first_path = int64(flows[at(flow)].first_path)
    count = int64(flows[at(flow)].path_count)
    first_counter = int64(flows[at(flow)].first_counter)
    gap_ns = int64(-1) if slot < 0 else now_ns - flows[at(flow)].last_ns
    asks = slot < 0 or uses.granularity >= PER_PACKET
    if slot >= 0:
        if uses.granularity == PER_FLOWLET:
            travels = uses.tracks and (flows[at(flow)].pending > 0 or flows[at(flow)].clear_ns > now_ns)
            awaited = uses.awaits and flows[at(flow)].awaited > 0
            asks = starts(detector_state, Gap(now_ns, gap_ns, flow, first_counter, count, slot, travels, awaited))
        elif uses.granularity == PER_FLOW:
            asks = not uses.steered and flows[at(flow)].routing != progress[0].routing
    if asks:
        if ack == LAZY:
            first_watched = int64(flows[at(flow)].first_watched)
            for entry in range(first_watched, first_watched + int64(flows[at(flow)].watched)):
                release(state.rings, len(state.links) + state.watched[at(entry)], now_ns, inflight)
        # Slots that may be chosen.
        slots = Slots(first_counter, first_path, count)
        usable = count
        narrowed = progress[0].suspects_until_ns > now_ns if uses.steered else progress[0].routing > 0
        if narrowed:
            penalty_bytes = PENALTY_BYTES if uses.by_counter else 0
            usable = penalise(counters, paths, inflight, slots, uses.steered, now_ns, penalty_bytes)
        all_or_none = usable == 0 or usable == count
        choices = count if all_or_none or uses.by_counter else usable
        decision = Decision(now_ns, flow, first_counter, first_path, choices, slot, flows[at(flow)].sent_bytes, gap_ns)
        chosen = int64(choose(policy_state, decision, inflight, NetworkState(state.links, paths, state.hops)))
        if chosen < 0 or chosen >= choices:
            return Sent(int64(-1), int64(0))
        if narrowed and uses.by_counter:
            penalise(counters, paths, inflight, slots, uses.steered, now_ns, -PENALTY_BYTES)
        elif narrowed and not all_or_none:
            chosen = nth_usable(counters, paths, slots, chosen, uses.steered, now_ns)
        if uses.granularity != ASKED or chosen != slot:
            flows[at(flow)].slot = chosen
            flows[at(flow)].flowlet = progress[0].next_flowlet
            progress[0].next_flowlet += 1
            slot = chosen
        flows[at(flow)].routing = progress[0].routing
    flows[at(flow)].last_ns = now_ns
    flows[at(flow)].sent_bytes += ip_bytes
    path = first_path + slot
    srv6_bytes = paths[at(path)].srv6_bytes if uses.steered else int64(0)
    frame_bytes = frame_bytes_of(ip_bytes, srv6_bytes, rules.minimum_frame_bytes)
    fates.path[at(row)] = path
    fates.flowlet[at(row)] = flows[at(flow)].flowlet
    fates.hop[at(row)] = 0
    fates.queue_ns[at(row)] = 0
    if uses.measures:
        fates.congestion[at(row)] = 0
    if ack == UNCOUNTED:
        fates.state[at(row)] = RELEASED
    else:
        fates.state[at(row)] = 0
        inflight[at(first_counter + slot)] += frame_bytes
        if uses.awaits:
            flows[at(flow)].awaited += 1
        if ack in (LAZY, ORDERED) and rules.ack_loss > 0 and unseen(rules.ack_loss, rules.seed, now_ns, flow):
            expect_timeout(progress, ack, int64(0), row)
            fates.state[at(row)] = UNACKED
    if uses.tracks:
        flows[at(flow)].pending += 1
    return Sent(path, frame_bytes)


@inlined_by_type
def returned(
    state: State,
    policy_state: Any,
    detector_state: Any,
    uses: Uses,
    packet: Returned,
    now_ns: int,
) -> None:
    """A packet's bytes leave the in-flight count, and its host learns what became of it."""
    flows, flow = state.flows, packet.flow
    counter = counter_of(state, flow, packet.path)
    state.inflight[at(counter)] -= packet.frame_bytes
    if not packet.lost:
        state.counters[at(counter)].silent = 0
    if uses.learns:
        feedback = Feedback(
            now_ns,
            flow,
            int64(flows[at(flow)].first_counter),
            int64(flows[at(flow)].first_path),
            int64(flows[at(flow)].path_count),
            packet.path - int64(flows[at(flow)].first_path),
            packet.frame_bytes,
            packet.marked,
            packet.lost,
            int64(-1) if packet.lost else packet.receive_ns - packet.send_ns,
            now_ns - packet.send_ns,
            int64(0) if packet.lost else packet.congestion,
        )
        learn(policy_state, feedback)
        observe(detector_state, feedback)
