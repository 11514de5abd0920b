"""What a family of metrics is: something counted of packets as they finish, which ends as columns of the tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Awaited, Fates, FlowPlan, Packets
from segcast.traces.schema import Column

Fact = TypeVar("Fact")

FlowColumns = dict[str, NDArray[Any]]
"""Columns of FLOW_FATES, an entry for each flow of the trace; below 0 in a nullable column is null."""


class Measured(NamedTuple):
    """What the metrics of a cell are about.

    `hosts` int64 are the hosts whose delays are kept. `unloaded_ns` int64[flows], if known, is the completion time of
    each flow alone in the network if all its packets are received; then all packets stay in memory until the end.
    `known` is what cells of the same network and plan share, by name; None if there is no other.
    """

    network: Network
    plan: FlowPlan
    steered: bool
    interval_ns: int
    hosts: NDArray[np.int64]
    unloaded_ns: NDArray[np.int64] | None = None
    known: dict[str, Any] | None = None

    def once(self, name: str, make: Callable[[], Fact]) -> Fact:
        """What `make` gives, which no cell of the same network and plan changes: made by the first of them."""
        if self.known is None:
            return make()
        if name not in self.known:
            self.known[name] = make()
        found: Fact = self.known[name]
        return found


class Ending(NamedTuple):
    """What a cell ended with: its flows, its links (state.LINK), and when it first sent and last received."""

    flows: FlowColumns
    links: NDArray[np.void]
    window_ns: tuple[int, int]


class Family(ABC):
    """Some metrics of one cell. A new one is empty; it takes packets in pieces of any size.

    It takes them twice: as they are sent, all in send order, and when they are finished, those of a flow in send order.

    `counts` is all that it keeps between pieces: a NamedTuple of arrays, so that a run can be saved and go on. Columns
    are asked for in the order of the registry, and a family may build on those before it.
    """

    name: ClassVar[str]
    summary: ClassVar[tuple[Column, ...]] = ()
    flows: ClassVar[tuple[Column, ...]] = ()
    counts: Any

    @abstractmethod
    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""

    def sent(self, packets: Packets, path: NDArray[np.uint16]) -> None:
        """Count packets as they are sent, which follow those before."""
        return

    def awaits(self, awaited: Awaited) -> None:
        """Note flows whose packets come later than others, while the next ones are added."""
        return

    @abstractmethod
    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets that are finished; they have been sent."""

    def finish(self) -> None:
        """Settle what waited for later packets: the last ones have been added."""
        return

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`, from the counts and the columns of families before."""
        return {}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`, from the counts, the columns of families before and how the cell ended."""
        return {}
