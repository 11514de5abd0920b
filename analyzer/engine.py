"""The engine's driver: validates a cell, lays out its state, and runs packets through it in batches."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer import events
from analyzer.events import Fates, Packets, Rules, State
from analyzer.network import Network
from analyzer.policies.registry import Draws, Policy
from analyzer.queues import ENTRY, empty_pool, empty_queues, grown_pool
from traces.errors import InputError

MAX_IP_BYTES = 1 << 24

_FIRST_POOL = 1 << 12
_LATEST_NS = 1 << 62
_PER_FLOW_NS = events.NEVER_NS
_PER_PACKET_NS = -1


class FlowPlan(NamedTuple):
    """Where each flow enters: `keys` uint64[flows], `host` int64[flows] (its steering host), `group` int64[flows]."""

    keys: NDArray[np.uint64]
    host: NDArray[np.int64]
    group: NDArray[np.int64]


@functools.cache
def _loop(policy: Policy) -> events.Run:
    return events.specialise(policy)


def effective_timeout_ns(policy: Policy, timeout_ns: int | None) -> int:
    """The gap above which the policy is asked again: never per flow, always per packet."""
    if policy.granularity == "flow":
        return _PER_FLOW_NS
    if policy.granularity == "packet":
        return _PER_PACKET_NS
    if timeout_ns is None or timeout_ns < 0:
        raise InputError(f"policy {policy.name!r} needs a flowlet timeout of at least 0 ns")
    return timeout_ns


class Cell:
    """One policy, timeout and seed on one network: keeps everything between batches.

    Packets come in send order. `run` may be called with any split of them; the fates are the same.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        flows: FlowPlan,
        *,
        timeout_ns: int | None,
        seed: int,
        loss_timeout_ns: int,
    ) -> None:
        self._policy = policy
        self._network = network
        self._run = _loop(policy)
        self._policy_state = policy.make_state(Draws(flows.keys, seed))
        self._rules = Rules(
            effective_timeout_ns(policy, timeout_ns),
            network.minimum_frame_bytes,
            loss_timeout_ns,
            policy.steered,
            policy.counts_inflight,
        )
        self.state = _initial_state(network, flows)

    def check(self, packets: Packets) -> None:
        """Raise InputError if the packets cannot be sent through this network; see `check_packets`."""
        check_packets(self._network, packets, self._rules.loss_timeout_ns)

    def run(self, packets: Packets, fates: Fates, stop: int) -> None:
        """Send packets up to `stop` (exclusive) and let the network advance to the last of them."""
        self._advance(packets, fates, stop, np.iinfo(np.int64).min)

    def drain(self, packets: Packets, fates: Fates) -> None:
        """Send what is left and let everything in the network arrive."""
        self._advance(packets, fates, len(packets.send_ns), events.NEVER_NS)

    def _advance(self, packets: Packets, fates: Fates, stop: int, until_ns: int) -> None:
        while True:
            status = self._run(self.state, self._rules, self._policy_state, packets, fates, stop, until_ns)
            if status == events.DONE:
                return
            if status == events.BAD_SLOT:
                raise InputError(f"policy {self._policy.name!r} chose a slot that its flow's group does not have")
            nodes, free = grown_pool(self.state.nodes, int(self.state.scalars[events.FREE_NODE]))
            self.state.scalars[events.FREE_NODE] = free
            self.state = self.state._replace(nodes=nodes)


def empty_fates(count: int) -> Fates:
    """Room for the fates of `count` packets."""
    return Fates(
        path=np.zeros(count, np.uint16),
        flowlet=np.zeros(count, np.uint32),
        receive_ns=np.full(count, -1, np.int64),
        queue_ns=np.zeros(count, np.int64),
        state=np.zeros(count, np.uint8),
        hop=np.zeros(count, np.uint8),
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
    hops = max(len(path.links) for path in network.paths)
    slowest_bps = min(link.rate_bps for link in network.links)
    busy_ns = hops * (total_bytes * events.NANOSECOND_BITS // slowest_bps + count)
    delay_ns = 2 * hops * max(link.delay_ns for link in network.links)
    if max(abs(first_ns), abs(last_ns)) + busy_ns + delay_ns + loss_timeout_ns > _LATEST_NS:
        raise InputError(
            f"times would leave 64 bits: packets from {first_ns} to {last_ns} ns, and {busy_ns // 10**9} s to send all "
            f"of them over a link of {slowest_bps} bit/s; check the capture's clock and the rates"
        )


def simulate(cell: Cell, packets: Packets, batch_packets: int = 1 << 20) -> Fates:
    """Fates of all packets, in their order. Raises InputError as `check_packets`."""
    cell.check(packets)
    count = len(packets.send_ns)
    fates = empty_fates(count)
    for stop in range(batch_packets, count, batch_packets):
        cell.run(packets, fates, stop)
    cell.drain(packets, fates)
    return fates


def _initial_state(network: Network, flows: FlowPlan) -> State:
    links = np.zeros(len(network.links), events.LINK)
    for row, link in zip(links, network.links, strict=True):
        row["rate_bps"] = link.rate_bps
        row["per_bit"] = 1.0 / link.rate_bps
        row["delay_ns"] = link.delay_ns
        row["buffer_bytes"] = events.UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
        row["ecn_bytes"] = events.UNBOUNDED_BYTES if link.ecn_bytes is None else link.ecn_bytes
        row["overhead_bytes"] = link.overhead_bytes
        row["free_ns"] = np.iinfo(np.int64).min
        row["bounded"] = link.buffer_bytes is not None or link.ecn_bytes is not None
    paths = np.zeros(len(network.paths), events.PATH)
    hops: list[int] = []
    for row, path in zip(paths, network.paths, strict=True):
        row["first_hop"] = len(hops)
        row["hops"] = len(path.links)
        row["srv6_bytes"] = path.srv6_bytes
        row["ack_delay_ns"] = path.ack_delay_ns
        hops += path.links
    slots = network.group_slots()
    flow_rows, counters = _flow_rows(slots, flows)
    scalars = np.zeros(events.SCALARS, np.int64)
    return State(
        links=links,
        paths=paths,
        hops=np.array(hops, np.int32),
        flows=flow_rows,
        inflight=np.zeros(counters, np.int64),
        nodes=empty_pool(_FIRST_POOL),
        queues=empty_queues(2 * len(links) + len(paths) + len(hops)),
        heap=np.zeros(len(links) + 1, ENTRY),
        scalars=scalars,
    )


def _flow_rows(slots: list[range], flows: FlowPlan) -> tuple[NDArray[np.void], int]:
    """FLOW rows and the number of in-flight counters: one per host, group and slot that occur together."""
    rows = np.zeros(len(flows.keys), events.FLOW)
    if len(rows) == 0:
        return rows, 0
    if int(flows.group.max()) >= len(slots) or int(flows.group.min()) < 0:
        raise InputError("a flow names a group of paths that the network does not have")
    first = np.array([group.start for group in slots], np.int32)
    size = np.array([len(group) for group in slots], np.int32)
    pairs, place = np.unique(flows.host * len(slots) + flows.group, return_inverse=True)
    sizes = size[pairs % len(slots)].astype(np.int64)
    rows["first_counter"] = (np.cumsum(sizes) - sizes)[place]
    rows["first_path"] = first[flows.group]
    rows["path_count"] = size[flows.group]
    rows["slot"] = -1
    return rows, int(sizes.sum())
