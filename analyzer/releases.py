"""When bytes leave the in-flight count by the trace alone: recorded acknowledgements, timeouts (docs/model.md)."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyzer.events import Releases
from analyzer.scenario import Scenario
from analyzer.traffic import TRAFFIC_COLUMNS, Traffic, at_load, scaled_ns
from traces.jit import int64, kernel

RELEASE_COLUMNS: Final = [*TRAFFIC_COLUMNS, "tcp_seq", "tcp_ack", "payload_bytes"]

_ACK: Final = 0x10
_NOBODY: Final = -1


class _Segments(NamedTuple):
    """Packets in send order: `flow` int64[n], `end` and `ack` uint32[n], and what of them there is, bool[n] each."""

    flow: NDArray[np.int64]
    end: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    is_tcp: NDArray[np.bool_]
    acknowledges: NDArray[np.bool_]


@kernel
def _acknowledged_by(segments: _Segments, reverse: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row that first acknowledges each, int64[n], -1 if none does; `reverse` int64[flows], -1 if there is none."""
    count = len(segments.flow)
    by = np.full(count, -1, np.int64)
    # What each flow has open, as a list by row.
    first = np.full(len(reverse), -1, np.int64)
    last = np.full(len(reverse), -1, np.int64)
    following = np.full(count, -1, np.int64)
    for row in range(count):
        flow = segments.flow[row]
        other = reverse[flow]
        if segments.acknowledges[row] and other >= 0:
            before = int64(-1)
            entry = first[other]
            while entry >= 0:
                after = following[entry]
                if np.uint32(segments.ack[row] - segments.end[entry]) < np.uint32(0x8000_0000):
                    by[entry] = row
                    if before >= 0:
                        following[before] = after
                    else:
                        first[other] = after
                    if after < 0:
                        last[other] = before
                else:
                    before = entry
                entry = after
        if segments.is_tcp[row] and other >= 0:
            if first[flow] < 0:
                first[flow] = row
            else:
                following[last[flow]] = row
            last[flow] = row
    return by


class Acknowledgements:
    """When each packet of the traffic is acknowledged in the trace, if the scenario goes by that."""

    def __init__(self, packets: pa.Table, flows: pa.Table, traffic: Traffic, scenario: Scenario) -> None:
        self._traffic = traffic
        self._loss_ns = scenario.steering.loss_timeout
        self._ack_ns = np.full(len(traffic.packets.send_ns), _NOBODY, np.int64)
        if scenario.steering.ack == "recorded":
            self._ack_ns = _recorded(packets, flows)[traffic.row]
        self._first_ns = int(traffic.packets.send_ns[0])

    def releases(self, load: Fraction) -> Releases:
        """The releases of a cell at a load: at the acknowledgement, but no later than the timeout."""
        time_ns = at_load(self._traffic.packets, load).send_ns + self._loss_ns
        known = self._ack_ns != _NOBODY
        time_ns[known] = np.minimum(time_ns[known], scaled_ns(self._ack_ns[known], self._first_ns, load))
        order = np.argsort(time_ns, kind="stable")
        return Releases(time_ns[order], order)


def _recorded(packets: pa.Table, flows: pa.Table) -> NDArray[np.int64]:
    """By row of PACKETS, the time of the packet that first acknowledges it, int64[n] ns; -1 if there is none."""
    rows = pl.from_arrow(packets.select(RELEASE_COLUMNS))
    assert isinstance(rows, pl.DataFrame)
    taken = rows.with_row_index("row").filter(pl.col("flow_id").is_not_null())
    taken = taken.sort("time_ns", maintain_order=True)
    length = taken["payload_bytes"].cast(pl.UInt32).fill_null(0).to_numpy()
    flags = taken["tcp_flags"].fill_null(0).to_numpy()
    sequence = taken["tcp_seq"].fill_null(0).to_numpy()
    segments = _Segments(
        flow=taken["flow_id"].cast(pl.Int64).to_numpy(),
        # A segment without length, such as a SYN, counts as a byte long.
        end=sequence + np.maximum(length, np.uint32(1)),
        ack=taken["tcp_ack"].fill_null(0).to_numpy(),
        is_tcp=taken["tcp_seq"].is_not_null().to_numpy(),
        acknowledges=taken["tcp_ack"].is_not_null().to_numpy() & ((flags & _ACK) > 0),
    )
    reverse = flows.column("reverse_flow_id").cast(pa.int64()).fill_null(_NOBODY).to_numpy()
    by = _acknowledged_by(segments, reverse)
    time_ns = taken["time_ns"].to_numpy()
    found = np.full(len(rows), _NOBODY, np.int64)
    found[taken["row"].to_numpy()] = np.where(by >= 0, time_ns[by], _NOBODY)
    return found
