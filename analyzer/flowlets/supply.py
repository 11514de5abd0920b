"""What a flowlet timeout would let move: gaps that outlast it, the bytes behind them, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.flowlets.split import Closed, StreamedFlowlets

ELEPHANTS: Final = 0.8
"""Elephants are the fewest flows that carry this share of all bytes."""


class Moves(NamedTuple):
    """Of a timeout: the share of bytes behind a gap that outlasts it, and flowlets per flow and per elephant."""

    timeout_ns: int
    movable: float
    per_flow: float
    per_elephant: float


class FlowletSupply(StreamedFlowlets):
    """Counts, for each timeout, flowlets by flow and the bytes of all but each flow's first."""

    def __init__(self, flows: int, timeouts_ns: Sequence[int]) -> None:
        """Raises InputError for an empty list or a negative timeout."""
        super().__init__(flows, timeouts_ns)
        shape = (len(self._state.timeouts_ns), flows)
        self._flowlets = np.zeros(shape, np.int64)
        self._bytes = np.zeros(flows, np.int64)
        self._movable = np.zeros(shape[0], np.int64)

    def finish(self) -> list[Moves]:
        """What each timeout would let move, the shortest first."""
        self._close()
        sent, total = self._bytes > 0, int(self._bytes.sum())
        elephants = elephants_of(self._bytes)
        return [
            Moves(
                timeout_ns,
                int(self._movable[level]) / total if total else 0.0,
                float(self._flowlets[level, sent].mean()) if sent.any() else 0.0,
                float(self._flowlets[level, elephants].mean()) if len(elephants) else 0.0,
            )
            for level, timeout_ns in enumerate(self._state.timeouts_ns.tolist())
        ]

    def _count(self, closed: Closed) -> None:
        for level in np.unique(closed.level).tolist():
            chosen = np.flatnonzero(closed.level == level)
            flow, size = closed.flow[chosen], closed.bytes[chosen]
            later = self._flowlets[level, flow] > 0
            firsts = np.zeros(len(flow), np.bool_)
            firsts[np.unique(flow, return_index=True)[1]] = True
            self._movable[level] += int(size[later | ~firsts].sum())
            np.add.at(self._flowlets[level], flow, 1)
            if level == 0:
                np.add.at(self._bytes, flow, size)


def elephants_of(flow_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fewest flows that carry ELEPHANTS of all bytes, the largest first."""
    order = np.argsort(-flow_bytes, kind="stable")
    up_to = np.cumsum(flow_bytes[order])
    if len(order) == 0 or up_to[-1] == 0:
        return order[:0]
    return order[: int(np.searchsorted(up_to, ELEPHANTS * up_to[-1])) + 1]
