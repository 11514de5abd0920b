"""A cell before its first packet: what its flows and hosts are, its rules, and its state as it is laid out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import Detector
from segcast.analyzer.engine.calendar import empty_calendar
from segcast.analyzer.engine.rings import empty_rings
from segcast.analyzer.engine.state import (
    ALWAYS_NS,
    COUNTER,
    FLOW,
    LAZY,
    LINK,
    ORDERED,
    PATH,
    PROGRESS,
    SCHEDULED,
    UNBOUNDED_BYTES,
    UNCOUNTED,
    Rules,
    State,
)
from segcast.analyzer.engine.steering import Scope, Steering
from segcast.analyzer.engine.unseen import SHARES, threshold
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.policies.registry import Policy
from segcast.traces.errors import InputError

_FIRST_EVENTS: Final = 1 << 12
_MOST_WATCHED: Final = 32  # queues to look at for a choice; with more it pays to take acknowledgements as events


def lay_out(
    network: Network,
    policy: Policy,
    detector: Detector,
    flows: FlowPlan,
    steering: Steering,
    seed: int,
    reacts: bool = False,
) -> tuple[Rules, State, dict[str, Any]]:
    """The rules and the state of a cell in which nothing has happened, and what policies and detectors are told of it.

    Raises InputError if the flows do not fit the network.
    """
    paths, hops = _paths(network, steering)
    rows, counters = _flow_rows(network.group_slots(), flows, steering.scope)
    ack_queues, watched = _ack_queues(network, flows, paths, rows)
    rules = _rules(network, policy, detector, steering, seed, int(rows["watched"].max(initial=0)))
    if reacts:  # acknowledgements are packets, and whoever receives one acts on it
        rules = rules._replace(ack=UNCOUNTED, defers=True)
    state = State(
        links=_links(network),
        paths=paths,
        hops=hops,
        flows=rows,
        inflight=np.zeros(counters, np.int64),
        counters=np.zeros(counters, COUNTER),
        rings=empty_rings(len(network.links) + (ack_queues if rules.ack == LAZY else 0)),
        watched=watched,
        calendar=empty_calendar(_FIRST_EVENTS),
        progress=np.zeros(1, PROGRESS),
        routes_down=np.zeros(len(network.links), np.bool_),
    )
    state.counters["suspect_until_ns"] = ALWAYS_NS
    state.calendar.row["links"] = len(network.links)
    state.calendar.row["tie_from_ns"] = ALWAYS_NS
    state.progress["clock_ns"] = ALWAYS_NS
    state.progress["suspects_until_ns"] = ALWAYS_NS
    return rules, state, _setting(network, flows, state)


def _rules(network: Network, policy: Policy, detector: Detector, steering: Steering, seed: int, watched: int) -> Rules:
    learns = policy.learns or detector.learns
    suspects = policy.steered and steering.suspect_after > 0
    ack = UNCOUNTED
    if steering.ack == "recorded" and (policy.counts_inflight or detector.awaits):
        ack = SCHEDULED
    elif learns or suspects or detector.awaits:
        ack = ORDERED
    elif policy.counts_inflight:
        lazy = steering.scope != "host" and not network.changes and watched <= _MOST_WATCHED
        ack = LAZY if lazy else ORDERED
    return Rules(
        ack=ack,
        minimum_frame_bytes=network.minimum_frame_bytes,
        loss_timeout_ns=steering.loss_timeout_ns,
        tracks=detector.tracks,
        host_links=network.host_links,
        defers=bool(network.changes),
        suspect_after=steering.suspect_after if suspects else 0,
        suspect_for_ns=steering.suspect_for_ns,
        # Without acknowledgements timeouts alone tell: as if all of them were lost.
        ack_loss=threshold(SHARES if steering.ack == "timeout" else steering.ack_loss_millionths),
        seed=seed % (1 << 63),
    )


def _links(network: Network) -> NDArray[np.void]:
    links = np.zeros(len(network.links), LINK)
    for row, link in zip(links, network.links, strict=True):
        row["rate_bps"] = link.rate_bps
        row["per_bit"] = 1.0 / link.rate_bps
        row["delay_ns"] = link.delay_ns
        row["buffer_bytes"] = UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
        row["ecn_bytes"] = UNBOUNDED_BYTES if link.ecn_bytes is None else link.ecn_bytes
        row["overhead_bytes"] = link.overhead_bytes
        row["burst_ns"] = link.burst_ns
        row["free_ns"] = ALWAYS_NS
        row["buffer_frames"] = UNBOUNDED_BYTES if link.buffer_packets is None else link.buffer_packets
        row["ecn_frames"] = UNBOUNDED_BYTES if link.ecn_packets is None else link.ecn_packets
        row["counted"] = link.buffer_packets is not None or link.ecn_packets is not None
        row["bounded"] = row["counted"] or link.buffer_bytes is not None or link.ecn_bytes is not None
        row["remembers"] = row["bounded"] or bool(network.changes)
    return links


def _paths(network: Network, steering: Steering) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """PATH rows, and the links of all paths, path after path."""
    paths = np.zeros(len(network.paths), PATH)
    hops: list[int] = []
    for row, path in zip(paths, network.paths, strict=True):
        row["first_hop"] = len(hops)
        row["hops"] = len(path.links)
        row["srv6_bytes"] = path.srv6_bytes
        row["ack_delay_ns"] = path.ack_delay_ns + steering.ack_late_ns
        hops += path.links
    return paths, np.array(hops or [0], np.int32)


def _flow_rows(slots: list[range], flows: FlowPlan, scope: Scope) -> tuple[NDArray[np.void], int]:
    """FLOW rows and the number of in-flight counters: one per slot, and what shares them by the scope."""
    rows = np.zeros(len(flows.keys), FLOW)
    if len(rows) == 0:
        return rows, 0
    if int(flows.group.max()) >= len(slots) or int(flows.group.min()) < 0:
        raise InputError("a flow names a group of paths that the network does not have")
    first = np.array([group.start for group in slots], np.int32)
    size = np.array([len(group) for group in slots], np.int32)
    shared = {"pair": flows.host * len(slots) + flows.group, "host": flows.host, "fabric": flows.group}[scope]
    owners, place = np.unique(shared, return_inverse=True)
    sizes = np.zeros(len(owners), np.int64)
    np.maximum.at(sizes, place, size[flows.group])
    rows["first_counter"] = (np.cumsum(sizes) - sizes)[place]
    rows["first_path"] = first[flows.group]
    rows["path_count"] = size[flows.group]
    rows["slot"] = -1
    rows["uplink"] = -1 if flows.uplink is None else flows.uplink
    rows["downlink"] = -1 if flows.downlink is None else flows.downlink
    return rows, int(sizes.sum())


def _ack_queues(
    network: Network, flows: FlowPlan, paths: NDArray[np.void], rows: NDArray[np.void]
) -> tuple[int, NDArray[np.int32]]:
    """Number the acknowledgement queues, within each of which acknowledgements return in order.

    Without host links each path has one. With them each downlink has one for every total of the ways back. Returns how
    many there are, and the queues in which acknowledgements for a group may be, int32, group after group.
    """
    if not network.host_links:
        paths["ack_queue"] = np.arange(len(paths))
        rows["first_watched"] = rows["first_path"]
        rows["watched"] = rows["path_count"]
        return len(paths), np.arange(len(paths), dtype=np.int32)
    if flows.uplink is None or flows.downlink is None:
        raise InputError("a network with host links needs every flow's uplink and downlink")
    delays = np.array([link.delay_ns for link in network.links], np.int64)
    rows["ack_delay_ns"] = delays[flows.uplink] + delays[flows.downlink]
    by_path, path_class = np.unique(paths["ack_delay_ns"], return_inverse=True)
    by_flow, flow_class = np.unique(rows["ack_delay_ns"], return_inverse=True)
    downlinks, place = np.unique(flows.downlink, return_inverse=True)
    paths["ack_queue"] = path_class * len(by_flow)
    rows["ack_queue"] = place * (len(by_path) * len(by_flow)) + flow_class
    queues = len(downlinks) * len(by_path) * len(by_flow)
    owner = np.array([path.group for path in network.paths], np.int64)
    group, queue = np.divmod(np.unique(flows.group * queues + rows["ack_queue"]), queues)
    codes = []
    for first in np.unique(paths["ack_queue"]):
        has = np.isin(group, owner[paths["ack_queue"] == first])
        codes.append(group[has] * queues + queue[has] + first)
    group, watched = np.divmod(np.unique(np.concatenate(codes)), queues)
    count = np.bincount(group, minlength=len(network.group_slots()))
    rows["watched"] = count[flows.group]
    rows["first_watched"] = (np.cumsum(count) - count)[flows.group]
    return queues, watched.astype(np.int32)


def _setting(network: Network, flows: FlowPlan, state: State) -> dict[str, Any]:
    count = len(flows.keys)
    sizes = [len(slots) for slots in network.group_slots()]
    links = network.links
    return {
        "flow_keys": flows.keys,
        "flow_words": np.zeros((count, 5), np.uint64) if flows.words is None else flows.words,
        "flow_host": flows.host,
        "flow_group": flows.group,
        "flow_attachment": flows.group if flows.attachment is None else flows.attachment,
        "flow_counter": state.flows["first_counter"].copy(),
        "counters": len(state.inflight),
        "path_rate_bps": np.array(
            [min((links[link].rate_bps for link in path.links), default=1) for path in network.paths], np.int64
        ),
        "path_delay_ns": np.array(
            [sum(links[link].delay_ns for link in path.links) for path in network.paths], np.int64
        ),
        "path_group": np.array([path.group for path in network.paths], np.int64),
        "tiers": network.tiers or tuple((size,) for size in sizes),
    }
