"""How many packets were sent, received, dropped and marked: of a cell, its flows, its hosts and its links."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.metrics.places import host_links, watched_row
from segcast.analyzer.packets import AT_DEAD_LINK, DROPPED, MARKED, RECEIVED, UNDETECTED, Fates, Packets
from segcast.traces.jit import int64, kernel
from segcast.traces.schema import Column

FLOW_TALLY: Final = np.dtype([("bytes", np.int64), ("packets", np.int64), ("delivered", np.int64)], align=True)
HOST_TALLY: Final = np.dtype([("packets", np.int64), ("bytes", np.int64), ("dropped", np.int64)], align=True)
TOTALS: Final = np.dtype(
    [
        ("packets", np.int64),
        ("delivered", np.int64),
        ("dropped", np.int64),
        ("at_dead_link", np.int64),
        ("undetected", np.int64),
        ("marked", np.int64),
        ("first_send_ns", np.int64),
        ("last_receive_ns", np.int64),
    ],
    align=True,
)


class Counts(NamedTuple):
    """`totals` TOTALS[1] (`marked` of received packets), `flows` FLOW_TALLY, `hosts` HOST_TALLY of the hosts watched,
    `link_drops` int64[links].
    """

    totals: NDArray[np.void]
    flows: NDArray[np.void]
    hosts: NDArray[np.void]
    link_drops: NDArray[np.int64]


class Places(NamedTuple):
    """Where packets belong: `host` int64[flows], its row among the hosts watched or -1; `uplink` and `downlink`
    int64[flows], -1 without host links; `first_hop` int64[paths + 1] into `hops` int64, the links of paths.
    """

    host: NDArray[np.int64]
    uplink: NDArray[np.int64]
    downlink: NDArray[np.int64]
    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]


@kernel
def _add(packets: Packets, fates: Fates, places: Places, counts: Counts) -> None:
    totals, flows, hosts = counts.totals, counts.flows, counts.hosts
    delivered, dropped, marked = int64(0), int64(0), int64(0)
    at_dead_link, undetected = int64(0), int64(0)
    last_receive_ns = int64(totals[0].last_receive_ns)
    for row in range(len(packets.flow)):
        flow = int64(packets.flow[row])
        size = int64(packets.ip_bytes[row])
        state = fates.state[row]
        host = places.host[flow]
        flows[flow].bytes += size
        flows[flow].packets += 1
        if host >= 0:
            hosts[host].packets += 1
            hosts[host].bytes += size
        if state & RECEIVED:
            flows[flow].delivered += 1
            delivered += 1
            marked += state & MARKED != 0
            last_receive_ns = max(last_receive_ns, fates.receive_ns[row])
        elif state & DROPPED:
            dropped += 1
            at_dead_link += state & AT_DEAD_LINK != 0
            undetected += state & UNDETECTED != 0
            if host >= 0:
                hosts[host].dropped += 1
            # Where it was lost: hop 0 of a flow with an uplink is that, the one after its path's last its downlink.
            path = int64(fates.path[row])
            hop = int64(fates.hop[row]) - (places.uplink[flow] >= 0)
            first = places.first_hop[path]
            if hop < 0:
                link = places.uplink[flow]
            elif first + hop >= places.first_hop[path + 1]:
                link = places.downlink[flow]
            else:
                link = places.hops[first + hop]
            counts.link_drops[link] += 1
    totals[0].packets += len(packets.flow)
    totals[0].delivered += delivered
    totals[0].dropped += dropped
    totals[0].at_dead_link += at_dead_link
    totals[0].undetected += undetected
    totals[0].marked += marked
    totals[0].last_receive_ns = last_receive_ns


def _places(measured: Measured) -> Places:
    paths = measured.network.paths
    uplink, downlink = host_links(measured.network, measured.plan)
    return Places(
        watched_row(measured.plan, measured.hosts),
        uplink,
        downlink,
        np.cumsum([0, *(len(path.links) for path in paths)]).astype(np.int64),
        np.array([link for path in paths for link in path.links], np.int64),
    )


class TallyFamily(Family):
    """Packets counted."""

    name = "tally"
    summary = (
        Column("packets", pa.uint64(), "packets sent into the network"),
        Column("delivered", pa.uint64(), "packets received"),
        Column("dropped", pa.uint64(), "packets dropped"),
        Column("drop_ratio", pa.float64(), "dropped / packets"),
        Column("dropped_dead_link", pa.uint64(), "of those, at a link that was down; the others met a full queue"),
        Column("dropped_undetected", pa.uint64(), "of these, before routing knew that the link was down"),
        Column("ecn_marked", pa.uint64(), "received packets that were marked"),
        Column(
            "effective_flows",
            pa.float64(),
            "flows of one size that would be as good a sample: the square of all packets over the sum of the flows' "
            "squares; null without packets",
            True,
        ),
        Column("retransmissions", pa.uint64(), "null for recorded packets, which do not react", True),
    )
    flows = (
        Column("bytes", pa.uint64(), "IP bytes sent"),
        Column("packets", pa.uint64(), "packets sent"),
        Column("delivered", pa.uint64(), "packets received"),
    )

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self._places = measured.once("places", lambda: _places(measured))
        totals = np.zeros(1, TOTALS)
        totals["last_receive_ns"] = np.iinfo(np.int64).min
        self.counts = Counts(
            totals,
            np.zeros(len(measured.plan.keys), FLOW_TALLY),
            np.zeros(len(measured.hosts), HOST_TALLY),
            np.zeros(len(measured.network.links), np.int64),
        )

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        totals = self.counts.totals
        if len(packets.flow):
            first_ns, any_before = packets.send_ns[0], totals["packets"][0] > 0
            totals["first_send_ns"] = min(totals["first_send_ns"][0], first_ns) if any_before else first_ns
        _add(packets, fates, self._places, self.counts)

    @property
    def window_ns(self) -> tuple[int, int]:
        """When the first packet was sent and the last received; twice the former if none was."""
        first_ns = int(self.counts.totals["first_send_ns"][0])
        return first_ns, max(int(self.counts.totals["last_receive_ns"][0]), first_ns)

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`."""
        return {column.name: self.counts.flows[column.name] for column in self.flows}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        packets, delivered, dropped, at_dead_link, undetected, marked = (
            int(self.counts.totals[name][0])
            for name in ("packets", "delivered", "dropped", "at_dead_link", "undetected", "marked")
        )
        return {
            "packets": packets,
            "delivered": delivered,
            "dropped": dropped,
            "drop_ratio": dropped / packets if packets else 0.0,
            "dropped_dead_link": at_dead_link,
            "dropped_undetected": undetected,
            "ecn_marked": marked,
            "effective_flows": packets**2 / float((self.counts.flows["packets"].astype(np.float64) ** 2).sum())
            if packets
            else None,
            "retransmissions": None,
        }
