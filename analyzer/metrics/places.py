"""Where the packets of a flow belong: its host among those watched, and the links of its hosts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import FlowPlan


def watched_row(plan: FlowPlan, hosts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each flow, int64[flows], the place of its host in `hosts`, or -1."""
    host = plan.host
    row = np.full(int(host.max()) + 1 if len(host) else 0, -1, np.int64)
    row[hosts] = np.arange(len(hosts))
    return row[host]


def host_links(network: Network, plan: FlowPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each flow, int64[flows], the link from its source and the one to its target; -1 without host links."""
    absent = np.full(len(plan.group), -1, np.int64)
    if not network.host_links:
        return absent, absent
    return absent if plan.uplink is None else plan.uplink, absent if plan.downlink is None else plan.downlink
