"""How busy the busiest link is if traffic is spread evenly over its paths: what a load is, of the network."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.traffic.growth import Growth
from segcast.traces.units import NANOSECOND_BITS


class Demand(NamedTuple):
    """What is sent within `span_ns`: IP bytes and packets of each flow, int64[flows] both."""

    bytes: NDArray[np.int64]
    packets: NDArray[np.int64]
    span_ns: int

    def grown(self, growth: Growth, factor: Fraction) -> Demand:
        """The same with the connections that are sent at a factor of growth; they are those of the trace else."""
        # Of a copy that turns around the end of the trace, the part before it counts for both.
        sends = growth.sent(factor) & (growth.wraps == 0)
        return self._replace(
            bytes=np.where(sends, self.bytes[growth.origin], 0), packets=np.where(sends, self.packets[growth.origin], 0)
        )


def even_share(network: Network, plan: FlowPlan, demand: Demand) -> tuple[float, str] | None:
    """Mean utilisation of the busiest link, and its name, if each flow uses all its paths alike; None without a span.

    Each packet has an Ethernet header, and the link's overhead, besides. SRv6's bytes are not counted: not all policies
    send them. Links have the rates they begin with.
    """
    if demand.span_ns <= 0 or not demand.packets.any():
        return None
    rate = np.array([link.rate_bps for link in network.links], np.float64)
    overhead = np.array([link.overhead_bytes for link in network.links]) + ETHERNET_HEADER_BYTES
    bits = NANOSECOND_BITS * (
        _carried(network, plan, demand.bytes) + _carried(network, plan, demand.packets) * overhead
    )
    busiest = int(np.argmax(bits / rate))
    return float(bits[busiest] / rate[busiest]) / demand.span_ns, network.links[busiest].name


def _carried(network: Network, plan: FlowPlan, sent: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each link carries, float64[links], of what each flow sends."""
    of_group = np.bincount(plan.group[: len(sent)], sent, len(network.group_slots()))
    carried = np.zeros(len(network.links))
    for group, slots in enumerate(network.group_slots()):
        for path in slots:
            np.add.at(carried, list(network.paths[path].links), of_group[group] / len(slots))
    if network.host_links and plan.uplink is not None and plan.downlink is not None:
        for ends in (plan.uplink, plan.downlink):
            np.add.at(carried, ends[: len(sent)], sent)
    return carried
