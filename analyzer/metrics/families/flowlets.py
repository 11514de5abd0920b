"""Flowlets as they were steered: how many, how large, and how many on another path than the one before."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.packets import Fates, Packets
from segcast.traces.jit import int64, kernel
from segcast.traces.schema import Column

FLOWLETS: Final = np.dtype(
    [("flowlets", np.int64), ("path_changes", np.int64), ("last_flowlet", np.int64), ("last_path", np.int64)],
    align=True,
)


class Counts(NamedTuple):
    """`flows` FLOWLETS[flows]; `last_path` is -1 before the first packet."""

    flows: NDArray[np.void]


@kernel
def _add(packets: Packets, fates: Fates, flows: NDArray[np.void]) -> None:
    for row in range(len(packets.flow)):
        flow = packets.flow[row]
        flowlet = int64(fates.flowlet[row])
        last_path = int64(flows[flow].last_path)
        if last_path < 0 or flowlet != flows[flow].last_flowlet:
            path = int64(fates.path[row])
            flows[flow].flowlets += 1
            flows[flow].path_changes += last_path >= 0 and path != last_path
            flows[flow].last_flowlet = flowlet
            flows[flow].last_path = path


class FlowletFamily(Family):
    """Flowlets of each flow."""

    name = "flowlets"
    summary = (
        Column("flowlets", pa.uint64(), "flowlets steered"),
        Column("flowlet_packets_mean", pa.float64(), "packets per flowlet", True),
        Column("flowlet_bytes_mean", pa.float64(), "IP bytes per flowlet", True),
        Column("path_changes", pa.uint64(), "flowlets sent on another path than their flow's one before"),
    )
    flows = (
        Column("flowlets", pa.uint64(), "flowlets"),
        Column("path_changes", pa.uint64(), "path changes"),
    )

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        flows = np.zeros(len(measured.plan.keys), FLOWLETS)
        flows["last_path"] = -1
        self.counts = Counts(flows)

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        _add(packets, fates, self.counts.flows)

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`."""
        return {column.name: self.counts.flows[column.name] for column in self.flows}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        flowlets = int(ending.flows["flowlets"].sum())
        return {
            "flowlets": flowlets,
            "flowlet_packets_mean": int(ending.flows["packets"].sum()) / flowlets if flowlets else None,
            "flowlet_bytes_mean": int(ending.flows["bytes"].sum()) / flowlets if flowlets else None,
            "path_changes": int(ending.flows["path_changes"].sum()),
        }
