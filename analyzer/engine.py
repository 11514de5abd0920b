"""The engine's driver: validates a cell, lays out its state, and runs packets through it in batches."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer import changes
from analyzer.detectors.registry import Detector, find_detector
from analyzer.estimator import SHARES, threshold
from analyzer.events import Run, specialise
from analyzer.network import Network
from analyzer.policies.registry import Policy, Setting
from analyzer.queues import ENTRY, empty_pool, empty_queues, grown_pool
from analyzer.state import (
    ASKED,
    BAD_SLOT,
    CLOCK_NS,
    COUNTER,
    DONE,
    FLOW,
    FREE_NODE,
    LAZY,
    LINK,
    NANOSECOND_BITS,
    NEVER_NS,
    ORDERED,
    PATH,
    PER_FLOW,
    PER_FLOWLET,
    PER_PACKET,
    SCALARS,
    SCHEDULED,
    SUSPECTS,
    UNBOUNDED_BYTES,
    UNCOUNTED,
    Fates,
    Packets,
    Releases,
    Rules,
    State,
)
from traces.errors import InputError

MAX_IP_BYTES = 1 << 24

_FIRST_POOL = 1 << 12
_LATEST_NS = 1 << 62
_ALWAYS_NS = np.iinfo(np.int64).min

Ack = Literal["modelled", "recorded", "timeout"]
Scope = Literal["pair", "host", "fabric"]
_GRANULARITIES: Final = {
    "flow": PER_FLOW,
    "flowlet": PER_FLOWLET,
    "packet": PER_PACKET,
    "asked": ASKED,
}


class FlowPlan(NamedTuple):
    """Where each flow enters: `keys` uint64[flows], `host` int64[flows] (its steering host), `group` int64[flows].

    `words` uint64[flows, 5] is its five-tuple, `attachment` int64[flows] where it enters (None: its group); `uplink`
    and `downlink` int64[flows] are the links of its ends, in networks with host links.
    """

    keys: NDArray[np.uint64]
    host: NDArray[np.int64]
    group: NDArray[np.int64]
    words: NDArray[np.uint64] | None = None
    attachment: NDArray[np.int64] | None = None
    uplink: NDArray[np.int64] | None = None
    downlink: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Steering:
    """How hosts count what is in flight, and when they suspect a path (docs/model.md, In-flight bytes)."""

    loss_timeout_ns: int
    ack: Ack = "modelled"
    scope: Scope = "pair"
    suspect_after: int = 0
    suspect_for_ns: int = 0
    ack_loss_millionths: int = 0
    ack_late_ns: int = 0


@functools.cache
def _loop(policy: Policy, detector: Detector) -> Run:
    return specialise(policy, detector)


class Cell:
    """One policy, flowlet timeout and seed on one network: keeps everything between batches.

    Packets come in send order. `run` may be called with any split of them; the fates are the same. `detector` is that
    of the timeout (None: `fixed` at `timeout_ns`).
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        flows: FlowPlan,
        steering: Steering,
        *,
        timeout_ns: int | None,
        seed: int,
        parameters: Any = None,
        detector: Detector | None = None,
        detector_parameters: Any = None,
    ) -> None:
        if policy.granularity == "flowlet" and detector is None and (timeout_ns is None or timeout_ns < 0):
            raise InputError(f"policy {policy.name!r} needs a flowlet timeout of at least 0 ns")
        detector = detector or find_detector("fixed")
        if steering.ack != "modelled" and (policy.learns or detector.learns or steering.suspect_after):
            raise InputError(
                f"policy {policy.name!r} with timeout {detector.name!r} learns from acknowledgements; "
                'that needs ack = "modelled"'
            )
        self.network = network
        self._policy = policy
        self._steering = steering
        self._run = _loop(policy, detector)
        self.rules = _rules(network, policy, detector, steering, seed)
        self.state, setting = _initial_state(network, flows, steering, self.rules)
        chosen: dict[str, Any] = {"seed": seed, "timeout_ns": -1 if timeout_ns is None else timeout_ns}
        self.policy_state = policy.make_state(
            Setting(**setting, **chosen, parameters=parameters or policy.parameters())
        )
        self.detector_state = detector.make_state(
            Setting(**setting, **chosen, parameters=detector_parameters or detector.parameters())
        )
        self._steps = changes.steps(network.changes, network.detection_ns)
        self._flows = flows
        chosen_parameters = (parameters or policy.parameters(), detector_parameters or detector.parameters())
        self._made_of = (
            network,
            steering,
            (policy.name, policy.digest, detector.name, detector.digest),
            chosen,
            chosen_parameters,
        )

    @property
    def identity(self) -> str:
        """What the cell is made of: a text that two cells share if and only if they compute the same."""
        digest = hashlib.sha256()
        for values in self._flows:
            digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
        return f"{self._made_of!r} {digest.hexdigest()}"

    @property
    def steps_left(self) -> int:
        """How many changes of links and of what routing knows are still to come; may be set to fewer."""
        return len(self._steps)

    @steps_left.setter
    def steps_left(self, count: int) -> None:
        self._steps = self._steps[len(self._steps) - count :]

    @property
    def loss_timeout_ns(self) -> int:
        """After what time without acknowledgement a host takes a packet for lost."""
        return self._steering.loss_timeout_ns

    @property
    def schedules_releases(self) -> bool:
        """Whether `Releases` must be given with the packets."""
        return bool(self.rules.ack == SCHEDULED)

    def check(self, packets: Packets) -> None:
        """Raise InputError if the packets cannot be sent through this network; see `check_packets`."""
        check_packets(self.network, packets, self.loss_timeout_ns)

    def run(self, packets: Packets, fates: Fates, stop: int, releases: Releases | None = None) -> None:
        """Send packets up to `stop` (exclusive) and let the network advance to the last of them."""
        self._advance(packets, fates, releases, stop, _ALWAYS_NS)

    def drain(self, packets: Packets, fates: Fates, releases: Releases | None = None) -> None:
        """Send what is left and let everything in the network arrive."""
        self._advance(packets, fates, releases, len(packets.send_ns), NEVER_NS)

    def _advance(self, packets: Packets, fates: Fates, releases: Releases | None, stop: int, until_ns: int) -> None:
        releases = no_releases() if releases is None else releases
        last_ns = int(packets.send_ns[stop - 1]) if stop else _ALWAYS_NS
        while self._steps and self._steps[0].time_ns <= max(last_ns, until_ns):
            step = self._steps.pop(0)
            before = int(np.searchsorted(packets.send_ns[:stop], step.time_ns))
            self._go(packets, fates, releases, before, step.time_ns - 1)
            changes.apply(step, self.state, self.rules, packets.flow, fates)
        self._go(packets, fates, releases, stop, until_ns)

    def _go(self, packets: Packets, fates: Fates, releases: Releases, stop: int, until_ns: int) -> None:
        while True:
            status = self._run(
                self.state,
                self.rules,
                self.policy_state,
                self.detector_state,
                packets,
                fates,
                releases,
                stop,
                until_ns,
            )
            if status == DONE:
                return
            if status == BAD_SLOT:
                raise InputError(f"policy {self._policy.name!r} chose a slot that its flow's group does not have")
            nodes, free = grown_pool(self.state.nodes, int(self.state.scalars[FREE_NODE]))
            self.state.scalars[FREE_NODE] = free
            self.state = self.state._replace(nodes=nodes)


def no_releases() -> Releases:
    """No schedule of releases."""
    return Releases(np.empty(0, np.int64), np.empty(0, np.int64))


def empty_fates(count: int) -> Fates:
    """Room for the fates of `count` packets."""
    return Fates(
        path=np.zeros(count, np.uint16),
        flowlet=np.zeros(count, np.uint32),
        receive_ns=np.full(count, -1, np.int64),
        queue_ns=np.zeros(count, np.int64),
        state=np.zeros(count, np.uint8),
        hop=np.zeros(count, np.uint8),
        congestion=np.zeros(count, np.uint8),
    )


def check_packets(network: Network, packets: Packets, loss_timeout_ns: int) -> None:
    """Raise InputError unless `send_ns` ascends and no time or size can leave 64 bits, even if every queue is full."""
    count = len(packets.send_ns)
    if count == 0:
        return
    if count > 1 and bool((packets.send_ns[1:] < packets.send_ns[:-1]).any()):
        raise InputError("packets are not in send order; sort them by time first")
    if int(packets.ip_bytes.max()) > MAX_IP_BYTES:
        raise InputError(f"a packet of {packets.ip_bytes.max()} bytes; at most {MAX_IP_BYTES} are modelled")
    first_ns, last_ns = int(packets.send_ns[0]), int(packets.send_ns[-1])
    extra = max(path.srv6_bytes for path in network.paths) + max(link.overhead_bytes for link in network.links)
    total_bytes = int(packets.ip_bytes.sum(dtype=np.int64)) + count * (14 + extra + network.minimum_frame_bytes)
    hops = max(len(path.links) for path in network.paths) + 2 * network.host_links
    rates = [link.rate_bps for link in network.links] + [change.rate_bps for change in network.changes]
    slowest_bps = min(rate for rate in rates if rate)
    busy_ns = hops * (total_bytes * NANOSECOND_BITS // slowest_bps + count)
    delay_ns = 2 * hops * max(link.delay_ns for link in network.links)
    if max(abs(first_ns), abs(last_ns)) + busy_ns + delay_ns + loss_timeout_ns > _LATEST_NS:
        raise InputError(
            f"times would leave 64 bits: packets from {first_ns} to {last_ns} ns, and {busy_ns // 10**9} s to send all "
            f"of them over a link of {slowest_bps} bit/s; check the capture's clock and the rates"
        )


def simulate(cell: Cell, packets: Packets, batch_packets: int = 1 << 20, releases: Releases | None = None) -> Fates:
    """Fates of all packets, in their order. Raises InputError as `check_packets`."""
    cell.check(packets)
    count = len(packets.send_ns)
    fates = empty_fates(count)
    for stop in range(batch_packets, count, batch_packets):
        cell.run(packets, fates, stop, releases)
    cell.drain(packets, fates, releases)
    return fates


def _rules(network: Network, policy: Policy, detector: Detector, steering: Steering, seed: int) -> Rules:
    learns = policy.learns or detector.learns
    suspects = policy.steered and steering.suspect_after > 0
    ack = UNCOUNTED
    if steering.ack == "recorded" and policy.counts_inflight:
        ack = SCHEDULED
    elif learns or suspects or (policy.counts_inflight and (network.host_links or steering.scope == "host")):
        ack = ORDERED
    elif policy.counts_inflight:
        ack = ORDERED if network.changes else LAZY
    return Rules(
        granularity=_GRANULARITIES[policy.granularity],
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


def _initial_state(network: Network, flows: FlowPlan, steering: Steering, rules: Rules) -> tuple[State, dict[str, Any]]:
    """The state of a cell in which nothing has happened, and what policies and detectors are told of it."""
    links = np.zeros(len(network.links), LINK)
    for row, link in zip(links, network.links, strict=True):
        row["rate_bps"] = link.rate_bps
        row["per_bit"] = 1.0 / link.rate_bps
        row["delay_ns"] = link.delay_ns
        row["buffer_bytes"] = UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
        row["ecn_bytes"] = UNBOUNDED_BYTES if link.ecn_bytes is None else link.ecn_bytes
        row["overhead_bytes"] = link.overhead_bytes
        row["burst_ns"] = link.burst_ns
        row["free_ns"] = np.iinfo(np.int64).min
        row["bounded"] = link.buffer_bytes is not None or link.ecn_bytes is not None
    paths = np.zeros(len(network.paths), PATH)
    hops: list[int] = []
    for row, path in zip(paths, network.paths, strict=True):
        row["first_hop"] = len(hops)
        row["hops"] = len(path.links)
        row["srv6_bytes"] = path.srv6_bytes
        row["ack_delay_ns"] = path.ack_delay_ns + steering.ack_late_ns
        hops += path.links
    slots = network.group_slots()
    rows, counters = _flow_rows(slots, flows, steering.scope)
    ack_queues = _ack_queues(network, flows, paths, rows)
    state = State(
        links=links,
        paths=paths,
        hops=np.array(hops or [0], np.int32),
        flows=rows,
        inflight=np.zeros(counters, np.int64),
        counters=np.zeros(counters, COUNTER),
        nodes=empty_pool(_FIRST_POOL),
        queues=empty_queues(2 * len(links) + ack_queues),
        heap=np.zeros(len(links) + (ack_queues if rules.ack == ORDERED else 0) + 1, ENTRY),
        scalars=np.zeros(SCALARS, np.int64),
        routes_down=np.zeros(len(links), np.bool_),
    )
    state.counters["suspect_until_ns"] = _ALWAYS_NS
    state.scalars[CLOCK_NS] = _ALWAYS_NS
    state.scalars[SUSPECTS] = _ALWAYS_NS
    return state, _setting(network, flows, state)


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


def _ack_queues(network: Network, flows: FlowPlan, paths: NDArray[np.void], rows: NDArray[np.void]) -> int:
    """Number the acknowledgement queues, within each of which acknowledgements return in order; how many there are.

    Without host links each path has one. With them each downlink has one for every total of the ways back.
    """
    if not network.host_links:
        paths["ack_queue"] = np.arange(len(paths))
        return len(paths)
    if flows.uplink is None or flows.downlink is None:
        raise InputError("a network with host links needs every flow's uplink and downlink")
    delays = np.array([link.delay_ns for link in network.links], np.int64)
    rows["ack_delay_ns"] = delays[flows.uplink] + delays[flows.downlink]
    by_path, path_class = np.unique(paths["ack_delay_ns"], return_inverse=True)
    by_flow, flow_class = np.unique(rows["ack_delay_ns"], return_inverse=True)
    downlinks, place = np.unique(flows.downlink, return_inverse=True)
    paths["ack_queue"] = path_class * len(by_flow)
    rows["ack_queue"] = place * (len(by_path) * len(by_flow)) + flow_class
    return len(downlinks) * len(by_path) * len(by_flow)


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
