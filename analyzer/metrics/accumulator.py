"""Metrics of one cell from the fates of its packets, as they come; every definition is in docs/model.md (Metrics)."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.metrics.families.tally import TallyFamily
from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Awaited, Fates, FlowPlan, Packets

MOST_HOSTS: Final = 1000
_PIECE: Final = 1 << 16  # what families read and keep of a piece stays in a core's cache

One = TypeVar("One", bound=Family)


def watched_hosts(plan: FlowPlan, flow_bytes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The hosts whose delays are kept, at most MOST_HOSTS: those that send most bytes, in that order.

    `flow_bytes` int64[flows] is what each flow will send; without it, hosts in order of number. Equals likewise.
    """
    hosts = int(plan.host.max()) + 1 if len(plan.host) else 0
    sends = np.zeros(hosts, np.int64)
    if flow_bytes is not None:
        np.add.at(sends, plan.host, flow_bytes)
    return np.argsort(-sends, kind="stable")[:MOST_HOSTS]


def _pieces(packets: Packets, fates: Fates) -> Iterator[tuple[Packets, Fates]]:
    """The same, a piece at a time."""
    for begin in range(0, len(packets.flow), _PIECE):
        piece = slice(begin, begin + _PIECE)
        yield Packets._make(c[piece] for c in packets), Fates._make(c[piece] for c in fates)


@functools.cache
def _holder(*names: str) -> Any:
    """What holds the counts of families of these names; a new type for each cell would cost more than its sums."""
    return namedtuple("_held", names)


class Accumulator:
    """Metrics of a cell, from its packets in pieces of any size; the result is the same."""

    def __init__(
        self,
        network: Network,
        plan: FlowPlan,
        *,
        steered: bool,
        interval_ns: int,
        hosts: NDArray[np.int64] | None = None,
        unloaded_ns: NDArray[np.int64] | None = None,
        families: Sequence[type[Family]] = FAMILIES,
        known: dict[str, Any] | None = None,
    ) -> None:
        """`hosts` are those to be watched (`watched_hosts`); `unloaded_ns` and `known` as in `Measured`, if there."""
        watched = watched_hosts(plan) if hosts is None else hosts
        self.measured = Measured(network, plan, steered, interval_ns, watched, unloaded_ns, known)
        self._families = [family(self.measured) for family in families]
        self._held = _holder(*(family.name for family in families))

    def family(self, kind: type[One]) -> One:
        """The accumulator's member of that family."""
        return next(family for family in self._families if isinstance(family, kind))

    @property
    def held(self) -> Any:
        """All that it holds between pieces: the counts of every family, by its name."""
        return self._held._make(family.counts for family in self._families)

    @held.setter
    def held(self, held: Any) -> None:
        for family, counts in zip(self._families, held, strict=True):
            family.counts = counts

    @property
    def identity(self) -> str:
        """What tells these metrics from others of the same cell."""
        about = self.measured
        srv6_bytes = [path.srv6_bytes if about.steered else 0 for path in about.network.paths]
        return f"{about.interval_ns} {srv6_bytes} {about.hosts.tolist()} {self._held._fields}"

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, sent and finished, which follow those before in send order."""
        for some, their in _pieces(packets, fates):
            for family in self._families:
                family.sent(some, their.path)
                family.add(some, their)

    def sent(self, packets: Packets, path: NDArray[np.uint16]) -> None:
        """Count packets as they are sent on their paths, in send order; once they are finished they follow."""
        for family in self._families:
            family.sent(packets, path)

    def finished(self, packets: Packets, fates: Fates, awaited: Awaited) -> None:
        """Count finished packets that were sent before, each flow's in send order; `awaited` are those not in order."""
        for family in self._families:
            family.awaits(awaited)
        for some, their in _pieces(packets, fates):
            for family in self._families:
                family.add(some, their)

    def finish(self) -> FlowColumns:
        """Nothing more comes: the columns of FLOW_FATES, an entry for each flow of the trace."""
        flows: FlowColumns = {}
        for family in self._families:
            family.finish()
            flows |= family.flow_columns(flows)
        return flows

    def summary(self, ending: Ending) -> dict[str, Any]:
        """The columns of SUMMARY but those that name the cell."""
        columns: dict[str, Any] = {}
        for family in self._families:
            columns |= family.columns(columns, ending)
        return columns

    def ending(self, flows: FlowColumns, links: NDArray[np.void]) -> Ending:
        """How the cell ended, of what `finish` gave and its links (state.LINK)."""
        return Ending(flows, links, self.family(TallyFamily).window_ns)
