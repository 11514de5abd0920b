"""How far the delays of the paths that a flow may take lie apart: with empty queues, and as queues were.

A flowlet that moves to a faster path overtakes its flow's last packet unless the gap between them exceeds what that
path is faster by. So packets are sent through the links once more, as the baseline sent them, and at the time of each
the delay of every path is read from its queues: whoever filled them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.link_by_link import Served, as_sent, link_model
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Link, Network
from segcast.traces.units import NANOSECOND_BITS

_FULL_FRAME_BYTES: Final = 1500 + ETHERNET_HEADER_BYTES
_MOST_LOOKS: Final = 100_000


class Sent(NamedTuple):
    """Packets in send order, int64[n] each: `path`, `send_ns`, `frame_bytes`; `uplink` is of networks with hosts'."""

    path: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    frame_bytes: NDArray[np.int64]
    uplink: NDArray[np.int64] | None = None


class PathDelays(NamedTuple):
    """By path: the delay of a full frame through empty queues, float64[paths], and its group, int64[paths]."""

    base_ns: NDArray[np.float64]
    group: NDArray[np.int64]

    def skew_ns(self) -> int:
        """The largest difference between two paths of a group."""
        groups = (self.base_ns[self.group == group] for group in np.unique(self.group))
        return int(max(float(np.ptp(delays)) for delays in groups))


def path_delays(network: Network) -> PathDelays:
    """Propagation and transmission of a full frame, link by link; hosts' links are the same on all paths."""
    base = [sum(_base_ns(network.links[number]) for number in path.links) for path in network.paths]
    return PathDelays(np.array(base, np.float64), np.array([path.group for path in network.paths], np.int64))


def slower_by(network: Network, delays: PathDelays, sent: Sent) -> NDArray[np.float64]:
    """How much slower each packet's path was than the fastest of its group when it was sent, float64[looks] ns.

    At most 100,000 packets are looked at, evenly spaced. Links have the rates that they begin with. Raises InputError
    if paths use links in orders that contradict each other.
    """
    served = _served(network, sent)
    looks = np.arange(0, len(sent.path), max(-(-len(sent.path) // _MOST_LOOKS), 1))
    enters_ns = sent.send_ns[looks].astype(np.float64)
    if sent.uplink is not None:
        uplink = sent.uplink[looks]
        for number in np.unique(uplink).tolist():
            own = uplink == number
            enters_ns[own] += _through_ns(network.links[number], served.get(number), enters_ns[own])
    taken = sent.path[looks]
    group = delays.group[taken]
    found: NDArray[np.float64] = np.zeros(len(looks))
    fastest = np.full(len(looks), np.inf)
    for number, path in enumerate(network.paths):
        asked = np.flatnonzero(group == path.group)
        now_ns = enters_ns[asked]
        for link in path.links:
            now_ns = now_ns + _through_ns(network.links[link], served.get(link), now_ns)
        delay_ns = now_ns - enters_ns[asked]
        fastest[asked] = np.minimum(fastest[asked], delay_ns)
        mine = taken[asked] == number
        found[asked[mine]] = delay_ns[mine]
    slower: NDArray[np.float64] = found - fastest
    return slower


def _base_ns(link: Link) -> float:
    """What a full frame takes through an empty link."""
    return link.delay_ns + (_FULL_FRAME_BYTES + link.overhead_bytes) * NANOSECOND_BITS / link.rate_bps


def _through_ns(link: Link, served: Served | None, now_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a full frame takes through a link at these times, behind what came before."""
    if served is None or not len(served.arrival_ns):
        return np.full(len(now_ns), _base_ns(link))
    last = np.searchsorted(served.arrival_ns, now_ns, side="left") - 1
    # Departures rise, but for those of dropped frames: a queue is free when the last that it took has left.
    free_ns = np.maximum.accumulate(served.depart_ns)
    waits = np.where(last >= 0, np.maximum(free_ns[np.maximum(last, 0)] - now_ns, 0.0), 0.0)
    return waits + _base_ns(link)


def _served(network: Network, sent: Sent) -> dict[int, Served]:
    """What each link served, of the packets as they were sent; links of receiving hosts come after all paths."""
    if sent.uplink is None:
        ways: list[tuple[int, ...]] = [path.links for path in network.paths]
        way = sent.path
    else:
        pairs, way = np.unique(np.column_stack((sent.uplink, sent.path)), axis=0, return_inverse=True)
        ways = [(uplink, *network.paths[path].links) for uplink, path in pairs.tolist()]
    served: dict[int, Served] = {}
    as_sent([link_model(link) for link in network.links], ways, way.ravel(), sent.send_ns, sent.frame_bytes, served)
    return served
