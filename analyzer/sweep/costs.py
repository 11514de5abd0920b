"""What cells cost, as measured: how many make a task, and how long what is left will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Final

from segcast.analyzer.sweep.batches import Batch

TASK_SECONDS: Final = 2.0
FIRST_CELLS: Final = 4
_KEPT: Final = 20
_FEW: Final = 5
_SOON_SECONDS: Final = 1.0
_SAID_SECONDS: Final = 0.5

Kind = tuple[str, str, float]
"""What cells of like cost have in common: variant, policy, load."""


def kind_of(batch: Batch, place: int) -> Kind:
    """The kind of a cell."""
    plan = batch.plans[place]
    return batch.variant.name, plan.policy.label, float(plan.load)


class Costs:
    """Seconds a cell, by kind: the median of the last, which what is compiled once does not move."""

    def __init__(self) -> None:
        self._seconds: dict[Kind, list[float]] = {}

    def ended(self, kind: Kind, seconds: float) -> None:
        """Note what a cell of a kind took."""
        self._seconds.setdefault(kind, []).append(seconds)
        del self._seconds[kind][:-_KEPT]

    def of(self, kind: Kind) -> float | None:
        """What a cell of a kind is thought to take: of one that has not run as those most like it; None at first."""
        for found in (
            self._seconds.get(kind),
            [s for (_, *others), some in self._seconds.items() if tuple(others) == kind[1:] for s in some],
            [s for some in self._seconds.values() for s in some],
        ):
            if found:
                return median(found)
        return None

    def left(self, cells: Counter[Kind], at_once: int = 1) -> float | None:
        """Seconds until all these cells have ended; None while none has."""
        found = [(self.of(kind), count) for kind, count in cells.items() if count]
        if any(cost is None for cost, _ in found):
            return None
        return sum((cost or 0.0) * count for cost, count in found) / at_once


class Pace:
    """Seconds by the clock from one cell to the next, by kind, as many as run at once: what is left takes as long.

    The first cell of each policy is left out: its kernels may be compiled before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = self._last = clock()
        self._said, self._said_at = "", self._begun
        self._policies: set[str] = set()
        self._took: dict[Kind, tuple[float, int]] = {}

    def ended(self, kind: Kind) -> None:
        """Note that a cell of a kind has ended now."""
        now = self._clock()
        if kind[1] in self._policies:
            seconds, cells = self._took.get(kind, (0.0, 0))
            self._took[kind] = seconds + now - self._last, cells + 1
        self._policies.add(kind[1])
        self._last = now

    @property
    def steady(self) -> bool:
        """Whether enough cells have ended to tell from."""
        return sum(cells for _, cells in self._took.values()) >= _FEW and self._clock() > self._begun + _SOON_SECONDS

    def left(self, waiting: Counter[Kind]) -> float | None:
        """Seconds until these cells have ended; None while nothing tells."""
        total = 0.0
        for kind, count in waiting.items():
            alike = [self._took[kind]] if kind in self._took else []
            alike = alike or [each for (_, *others), each in self._took.items() if tuple(others) == kind[1:]]
            alike = alike or list(self._took.values())
            cells = sum(some for _, some in alike)
            if count and not cells:
                return None
            total += count * sum(seconds for seconds, _ in alike) / max(cells, 1)
        return total

    def words(self, waiting: Counter[Kind]) -> str:
        """The same in words, once it can be told; worked out twice a second: it takes longer than a small cell."""
        if self._clock() >= self._said_at + _SAID_SECONDS:
            seconds = self.left(waiting) if self.steady else None
            self._said, self._said_at = "" if seconds is None else said_left(seconds), self._clock()
        return self._said


def said_left(seconds: float) -> str:
    """A time left: `about 40 s left`, `about 3 min left`."""
    if seconds < 1:
        return "a moment left"
    if seconds < 100:
        return f"about {float(f'{seconds:.2g}'):g} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 6000 else f"about {seconds / 3600:.1f} h left"


def cut(left: Sequence[tuple[Batch, list[int]]], costs: Costs, share: float) -> list[tuple[Batch, list[int]]]:
    """The next cells to make a task: so many as take TASK_SECONDS, or a `share` of all that is left; removed there."""
    taken: list[tuple[Batch, list[int]]] = []
    total, most, cells = 0.0, _most(left, costs, share), 0
    for batch, places in left:
        some: list[int] = []
        while places and total < most:
            cost = costs.of(kind_of(batch, places[0]))
            if cost is None and cells >= FIRST_CELLS:
                total = most
                break
            total += cost or 0.0
            cells += 1
            some.append(places.pop(0))
        if some:
            taken.append((batch, some))
        if total >= most:
            break
    return taken


def _most(left: Sequence[tuple[Batch, list[int]]], costs: Costs, share: float) -> float:
    """At the end tasks become smaller, so that all workers end at one time."""
    seconds = costs.left(counted(left))
    return TASK_SECONDS if seconds is None else max(min(TASK_SECONDS, seconds * share), TASK_SECONDS / 10)


def counted(left: Iterable[tuple[Batch, list[int]]]) -> Counter[Kind]:
    """Cells by kind."""
    return Counter(kind_of(batch, place) for batch, places in left for place in places)
