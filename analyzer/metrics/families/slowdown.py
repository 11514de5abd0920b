"""Flow completion time, and slowdown: that time over the one in an empty network.

The latter depends on nothing but the packets received, so it may be known beforehand for a flow that loses none,
whatever the policy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.metrics.unloaded import Unloaded, empty_unloaded, fastest_paths, send_unloaded, unloaded_fct_ns
from segcast.analyzer.packets import RECEIVED, Fates, Packets
from segcast.analyzer.schema import QUANTILES, named_quantiles, quantile_columns
from segcast.traces.jit import kernel
from segcast.traces.schema import Column


class Completion(NamedTuple):
    """Per flow, int64[flows]: the first send of its received packets, the time from there to their last receive (-1:
    none was received), and how many were not received.
    """

    first_ns: NDArray[np.int64]
    fct_ns: NDArray[np.int64]
    lost: NDArray[np.int64]


class Counts(NamedTuple):
    """Completion times, and what send_unloaded keeps."""

    completion: Completion
    unloaded: Unloaded


@kernel
def _add_completion(packets: Packets, fates: Fates, completion: Completion) -> None:
    first_ns, fct_ns, lost = completion.first_ns, completion.fct_ns, completion.lost
    for row in range(len(packets.flow)):
        flow = packets.flow[row]
        if fates.state[row] & RECEIVED:
            if fct_ns[flow] < 0:
                first_ns[flow] = packets.send_ns[row]
            fct_ns[flow] = max(fct_ns[flow], fates.receive_ns[row] - first_ns[flow])
        else:
            lost[flow] += 1


class SlowdownFamily(Family):
    """Flow completion time and slowdown."""

    name = "slowdown"
    summary = (
        *quantile_columns("fct", pa.int64(), "ns", "flow completion time"),
        *quantile_columns("slowdown", pa.float64(), "", "flow completion time over that in an empty network"),
    )
    flows = (
        Column(
            "fct_ns", pa.int64(), "of the received packets, first send to last receive; null if there are none", True
        ),
        Column("slowdown", pa.float64(), "`fct_ns` over that in an empty network", True),
    )

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self._measured = measured
        self._fastest = measured.once("fastest paths", lambda: fastest_paths(measured.network, measured.plan))
        self._held: list[tuple[Packets, Fates]] = []
        flows = len(measured.plan.keys)
        completion = Completion(np.zeros(flows, np.int64), np.full(flows, -1, np.int64), np.zeros(flows, np.int64))
        self.counts = Counts(completion, empty_unloaded(self._fastest))

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        _add_completion(packets, fates, self.counts.completion)
        if self._measured.unloaded_ns is None:
            self._send_unloaded(packets, fates)
        else:
            self._held.append((packets, fates))

    def finish(self) -> None:
        """Send flows that lost packets alone, if the times of the others are known."""
        lossy = self.counts.completion.lost > 0
        if lossy.any():
            for packets, fates in self._held:
                rows = np.flatnonzero(lossy[packets.flow])
                self._send_unloaded(Packets._make(c[rows] for c in packets), Fates._make(c[rows] for c in fates))
        self._held.clear()

    def _send_unloaded(self, packets: Packets, fates: Fates) -> None:
        send_unloaded(self._fastest, self.counts.unloaded, packets, fates, self._measured.network.minimum_frame_bytes)

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`."""
        completion, known_ns = self.counts.completion, self._measured.unloaded_ns
        unloaded_ns = unloaded_fct_ns(self._fastest, self.counts.unloaded)
        if known_ns is not None:
            unloaded_ns = np.where(completion.lost > 0, unloaded_ns, known_ns)
        done = completion.fct_ns >= 0
        slowdown = np.full(len(done), -1.0)
        slowdown[done] = completion.fct_ns[done] / np.maximum(unloaded_ns[done], 1)  # a burst may take no time at all
        return {"fct_ns": completion.fct_ns, "slowdown": slowdown}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`: over flows of which something was received."""
        done = ending.flows["fct_ns"] >= 0
        return completion_quantiles(ending.flows["fct_ns"][done], ending.flows["slowdown"][done])


def completion_quantiles(fct_ns: NDArray[np.int64], slowdown: NDArray[np.float64]) -> dict[str, Any]:
    """Quantiles of both, under the names they have in SUMMARY and SIZES."""
    return {
        **named_quantiles("fct", nearest_ranks(fct_ns, QUANTILES.values()), "ns"),
        **named_quantiles("slowdown", nearest_ranks(slowdown, QUANTILES.values()), ""),
    }
