"""How busy the busiest link is if traffic is spread evenly over its paths: what a load is, of the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.packets import FlowPlan
from segcast.traces.units import NANOSECOND_BITS


def even_share(
    network: Network, plan: FlowPlan, flow_bytes: NDArray[np.int64], packet_bytes: float, span_ns: int
) -> float | None:
    """Mean utilisation of the busiest link over `span_ns`, if each flow uses all its paths alike; None without a span.

    `flow_bytes` int64[flows] are IP bytes, in packets of `packet_bytes` on average: each has an Ethernet header, and
    the link's overhead, besides. SRv6's bytes are not counted: not all policies send them.
    """
    if span_ns <= 0 or packet_bytes <= 0:
        return None
    of_group = np.bincount(plan.group[: len(flow_bytes)], flow_bytes, len(network.group_slots()))
    carried = np.zeros(len(network.links))
    for group, slots in enumerate(network.group_slots()):
        for path in slots:
            np.add.at(carried, list(network.paths[path].links), of_group[group] / len(slots))
    if network.host_links and plan.uplink is not None and plan.downlink is not None:
        for ends in (plan.uplink, plan.downlink):
            np.add.at(carried, ends[: len(flow_bytes)], flow_bytes)
    rate = np.array([link.rate_bps for link in network.links], np.float64)
    overhead = np.array([link.overhead_bytes for link in network.links]) + ETHERNET_HEADER_BYTES
    busy_ns = carried * (1 + overhead / packet_bytes) * NANOSECOND_BITS / rate
    return float(busy_ns.max()) / span_ns
