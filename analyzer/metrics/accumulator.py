"""Metrics of one cell from the fates of its packets, as they come; every definition is in docs/model.md (Metrics)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.histogram import BITS, Histogram, bucket_count, bucket_of, empty_histogram, record
from segcast.analyzer.metrics.path_load import INTERVAL_NS, Load, add_load, close_interval, no_load, path_facts
from segcast.analyzer.metrics.reordering import Reordering, add_rows, last_rows, no_reordering
from segcast.analyzer.metrics.slowdown import Alone, add_alone, least_times, nobody, ways_of
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED, Fates, FlowPlan, Packets
from segcast.traces.jit import int64, kernel

MOST_HOSTS: Final = 1000
HOST_BITS: Final = 7  # delays of a host are within 1 / 128
_PIECE: Final = 1 << 18

FLOW_TALLY: Final = np.dtype(
    [
        ("bytes", np.int64),
        ("packets", np.int64),
        ("delivered", np.int64),
        ("first_ns", np.int64),
        ("fct_ns", np.int64),
        ("flowlets", np.int64),
        ("path_changes", np.int64),
        ("last_flowlet", np.int64),
        ("last_path", np.int64),
    ],
    align=True,
)
HOST_TALLY: Final = np.dtype(
    [("packets", np.int64), ("bytes", np.int64), ("delivered", np.int64), ("dropped", np.int64)], align=True
)

# Places in `Tally.scalars`.
PACKETS, DELIVERED, LOST, MARKS, FIRST_NS, LAST_RECEIVE_NS = range(6)


class Tally(NamedTuple):
    """What is counted packet by packet.

    `scalars` int64: packets, those received, dropped, and received with a mark; first send and last receive.
    `flows` FLOW_TALLY; `hosts` HOST_TALLY and `host_delays` int64[hosts, buckets] of the hosts watched; `link_drops`
    int64[links]; `delays`, `delay_sums`, `queues` and `queue_sums` as in `Histogram`, of received packets.
    """

    scalars: NDArray[np.int64]
    flows: NDArray[np.void]
    hosts: NDArray[np.void]
    host_delays: NDArray[np.int64]
    link_drops: NDArray[np.int64]
    delays: NDArray[np.int64]
    delay_sums: NDArray[np.int64]
    queues: NDArray[np.int64]
    queue_sums: NDArray[np.int64]


class Places(NamedTuple):
    """Where packets belong: `host` int64[flows], its row among the hosts watched or -1; `uplink` and `downlink`
    int64[flows], -1 without host links; `first_hop` int64[paths + 1] into `hops` int64, the links of paths.
    """

    host: NDArray[np.int64]
    uplink: NDArray[np.int64]
    downlink: NDArray[np.int64]
    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]


class Counts(NamedTuple):
    """All that an `Accumulator` holds: arrays only."""

    tally: Tally
    load: Load
    alone: Alone
    reordering: Reordering


class FlowFates(NamedTuple):
    """Per flow, int64[flows]; `fct_ns` and `empty_ns` (the time in an empty network) are -1 if nothing was received."""

    bytes: NDArray[np.int64]
    packets: NDArray[np.int64]
    delivered: NDArray[np.int64]
    fct_ns: NDArray[np.int64]
    empty_ns: NDArray[np.int64]
    reordered: NDArray[np.int64]
    flowlets: NDArray[np.int64]
    path_changes: NDArray[np.int64]


@kernel
def _add(packets: Packets, fates: Fates, places: Places, tally: Tally) -> None:
    scalars, flows = tally.scalars, tally.flows
    delivered, marks, last_receive_ns = int64(0), int64(0), scalars[LAST_RECEIVE_NS]
    for row in range(len(packets.flow)):
        flow = int64(packets.flow[row])
        size = int64(packets.ip_bytes[row])
        state = fates.state[row]
        path = int64(fates.path[row])
        flowlet = int64(fates.flowlet[row])
        host = places.host[flow]
        flows[flow].bytes += size
        flows[flow].packets += 1
        if flows[flow].last_path < 0 or flowlet != flows[flow].last_flowlet:
            flows[flow].flowlets += 1
            if flows[flow].last_path >= 0 and path != flows[flow].last_path:
                flows[flow].path_changes += 1
            flows[flow].last_flowlet = flowlet
            flows[flow].last_path = path
        if host >= 0:
            tally.hosts[host].packets += 1
            tally.hosts[host].bytes += size
        if state & RECEIVED:
            receive_ns = fates.receive_ns[row]
            delay_ns = receive_ns - packets.send_ns[row]
            if flows[flow].delivered == 0:
                flows[flow].first_ns = packets.send_ns[row]
            flows[flow].delivered += 1
            flows[flow].fct_ns = max(int64(flows[flow].fct_ns), receive_ns - int64(flows[flow].first_ns))
            delivered += 1
            marks += state & MARKED != 0
            last_receive_ns = max(last_receive_ns, receive_ns)
            record(tally.delays, tally.delay_sums, delay_ns, BITS)
            record(tally.queues, tally.queue_sums, fates.queue_ns[row], BITS)
            if host >= 0:
                tally.hosts[host].delivered += 1
                tally.host_delays[host, bucket_of(delay_ns, HOST_BITS)] += 1
        elif state & DROPPED:
            scalars[LOST] += 1
            if host >= 0:
                tally.hosts[host].dropped += 1
            # Where it was lost: hop 0 of a flow with an uplink is that, the one after its path's last its downlink.
            hop = int64(fates.hop[row]) - (places.uplink[flow] >= 0)
            first = places.first_hop[path]
            if hop < 0:
                link = places.uplink[flow]
            elif first + hop >= places.first_hop[path + 1]:
                link = places.downlink[flow]
            else:
                link = places.hops[first + hop]
            tally.link_drops[link] += 1
    scalars[PACKETS] += len(packets.flow)
    scalars[DELIVERED] += delivered
    scalars[MARKS] += marks
    scalars[LAST_RECEIVE_NS] = last_receive_ns


def watched_hosts(plan: FlowPlan, flow_bytes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The hosts whose delays are kept, at most MOST_HOSTS: those that send most bytes, in that order.

    `flow_bytes` int64[flows] is what each flow will send; without it, hosts in order of number. Equals likewise.
    """
    hosts = int(plan.host.max()) + 1 if len(plan.host) else 0
    sends = np.zeros(hosts, np.int64)
    if flow_bytes is not None:
        np.add.at(sends, plan.host, flow_bytes)
    return np.argsort(-sends, kind="stable")[:MOST_HOSTS]


class Accumulator:
    """Metrics of a cell, from finished packets in send order, in pieces of any size; the result is the same.

    `counts` is all that it holds. `hosts` are those to be watched (`watched_hosts`).
    """

    def __init__(
        self,
        network: Network,
        plan: FlowPlan,
        *,
        steered: bool,
        interval_ns: int,
        hosts: NDArray[np.int64] | None = None,
    ) -> None:
        self.network = network
        self.hosts = watched_hosts(plan) if hosts is None else hosts
        self._ways = ways_of(network, plan)
        self._facts = path_facts(network, steered=steered)
        host = np.full(int(plan.host.max()) + 1 if len(plan.host) else 0, -1, np.int64)
        host[self.hosts] = np.arange(len(self.hosts))
        self._places = Places(
            host[plan.host],
            self._ways.uplink,
            self._ways.downlink,
            np.cumsum([0, *(len(path.links) for path in network.paths)]).astype(np.int64),
            np.array([link for path in network.paths for link in path.links], np.int64),
        )
        flows = np.zeros(len(plan.keys), FLOW_TALLY)
        flows["fct_ns"] = -1
        flows["last_path"] = -1
        delays, queues = empty_histogram(), empty_histogram()
        least = np.iinfo(np.int64).min
        self.counts = Counts(
            Tally(
                np.array([0, 0, 0, 0, 0, least], np.int64),
                flows,
                np.zeros(len(self.hosts), HOST_TALLY),
                np.zeros((len(self.hosts), bucket_count(HOST_BITS)), np.int64),
                np.zeros(len(network.links), np.int64),
                delays.counts,
                delays.sums,
                queues.counts,
                queues.sums,
            ),
            no_load(self._facts, interval_ns),
            nobody(self._ways),
            no_reordering(len(plan.keys)),
        )

    def add(self, packets: Packets, fates: Fates) -> None:
        """Take finished packets, which follow those before in send order."""
        for begin in range(0, len(packets.flow), _PIECE):
            piece = slice(begin, begin + _PIECE)
            self._add(Packets._make(c[piece] for c in packets), Fates._make(c[piece] for c in fates))

    def _add(self, packets: Packets, fates: Fates) -> None:
        tally, load, alone, reordering = self.counts
        if tally.scalars[PACKETS] == 0:
            tally.scalars[FIRST_NS] = packets.send_ns[0]
        _add(packets, fates, self._places, tally)
        add_load(packets, fates, self._facts, load)
        add_alone(self._ways, alone, packets, fates, self.network.minimum_frame_bytes)
        self.counts = self.counts._replace(reordering=add_rows(reordering, packets, fates))

    def finish(self) -> FlowFates:
        """Nothing more comes: settle what waited for later packets; fates per flow."""
        close_interval(self.counts.load, self._facts.bounds)
        self.counts = self.counts._replace(reordering=last_rows(self.counts.reordering))
        flows = self.counts.tally.flows
        return FlowFates(
            bytes=flows["bytes"],
            packets=flows["packets"],
            delivered=flows["delivered"],
            fct_ns=flows["fct_ns"],
            empty_ns=least_times(self._ways, self.counts.alone),
            reordered=self.counts.reordering.late,
            flowlets=flows["flowlets"],
            path_changes=flows["path_changes"],
        )

    @property
    def identity(self) -> str:
        """What tells these metrics from others of the same cell."""
        interval_ns = int(self.counts.load.scalars[INTERVAL_NS])
        return f"{interval_ns} {self._facts.srv6_bytes.tolist()} {self.hosts.tolist()}"

    @property
    def delays(self) -> Histogram:
        """One-way delays of received packets, ns."""
        return Histogram(self.counts.tally.delays, self.counts.tally.delay_sums)

    @property
    def queues(self) -> Histogram:
        """Queueing delays of received packets, ns."""
        return Histogram(self.counts.tally.queues, self.counts.tally.queue_sums)

    @property
    def extents(self) -> Histogram:
        """Extents of reordered packets."""
        return Histogram(self.counts.reordering.extents, self.counts.reordering.extent_sums)

    @property
    def window_ns(self) -> tuple[int, int]:
        """When the first packet was sent and the last received; twice the former if none was."""
        scalars = self.counts.tally.scalars
        first_ns = int(scalars[FIRST_NS])
        return first_ns, max(int(scalars[LAST_RECEIVE_NS]), first_ns)
