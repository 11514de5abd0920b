"""Packets with what became of them, predicted or measured, and the constant delay of each path that no model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.families.reordering import add_rows, empty_reordering, last_rows
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.packets import DROPPED, LOST, RECEIVED, Packets, empty_fates
from segcast.replay.validate.tolerances import Tolerances

MOST_BASE_NS: Final = 1_000_000_000

_IDLE_PACKETS: Final = 20


class Fate(NamedTuple):
    """Packets, int64[n]: `flow`, `path`, `send_ns`, `receive_ns` (LOST if they were)."""

    flow: NDArray[np.int64]
    path: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]

    def on(self, rows: NDArray[np.bool_]) -> Fate:
        """Some of them."""
        return Fate(*(column[rows] for column in self))

    def both(self, other: Fate) -> NDArray[np.bool_]:
        """Which packets arrived here and in `other`, which holds the same."""
        arrived: NDArray[np.bool_] = (self.receive_ns != LOST) & (other.receive_ns != LOST)
        return arrived

    def delays(self) -> NDArray[np.int64]:
        """Of those received."""
        good = self.receive_ns != LOST
        delays: NDArray[np.int64] = (self.receive_ns - self.send_ns)[good]
        return delays

    @property
    def loss_ratio(self) -> float:
        """Lost packets over all."""
        return float((self.receive_ns == LOST).mean()) if len(self.flow) else 0.0

    @property
    def reordered_ratio(self) -> float:
        """Reordered packets over those received (RFC 4737)."""
        order = np.argsort(self.send_ns, kind="stable")
        _, flow = np.unique(self.flow[order], return_inverse=True)
        sizes = np.zeros(len(order), np.uint32)
        packets = Packets(self.send_ns[order], flow.reshape(-1).astype(np.uint32), sizes)
        received = self.receive_ns[order]
        state = np.where(received == LOST, DROPPED, RECEIVED).astype(np.uint8)
        fates = empty_fates(len(order))._replace(receive_ns=received, state=state)
        late = last_rows(add_rows(empty_reordering(int(flow.max(initial=-1)) + 1), packets, fates)).late
        return float(late.sum() / max(1, int((received != LOST).sum())))


class Base(NamedTuple):
    """A path's constant delay besides what the model computes: `delay_ns`, from so many packets, `idle` or queued."""

    delay_ns: int
    packets: int
    idle: bool


def base_delays(paths: int, measured: Fate, predicted: Fate, queue_ns: NDArray[np.int64]) -> list[Base | None]:
    """Of each path the median of measured - predicted delay over packets that met no queue.

    Both hold the same packets. With fewer than 20 of those it is the 5th percentile over all; None without any.
    """
    both = measured.both(predicted)
    error = measured.receive_ns - predicted.receive_ns
    found: list[Base | None] = []
    for path in range(paths):
        mine = both & (measured.path == path)
        idle = mine & (queue_ns == 0)
        use, quantile = (idle, 0.5) if idle.sum() >= _IDLE_PACKETS else (mine, 0.05)
        (value,) = nearest_ranks(error[use], (quantile,))
        found.append(None if value is None else Base(value, int(use.sum()), bool(quantile == 0.5)))
    return found


def unlikely(path: int, base: Base, delay_ns: int, tolerances: Tolerances) -> str | None:
    """What speaks against a path's base delay, if something does; `delay_ns`: that of its links, in the prediction."""
    if abs(base.delay_ns) > MOST_BASE_NS:
        return (
            f"the base delay of path {path} is {base.delay_ns / 1e9:.3f} s, which no network adds: captures of another "
            "run, or clocks that differ"
        )
    if (least_ns := base.delay_ns + delay_ns) < -tolerances.absolute_ns:
        return (
            f"packets took {-least_ns / 1e3:.1f} us less over path {path} than its idle links take: links slower "
            "than the real ones, or clocks that differ"
        )
    return None


def shifted(fate: Fate, bases: Sequence[Base | None]) -> Fate:
    """With its paths' base delays added."""
    extra = np.array([0 if base is None else base.delay_ns for base in bases] or [0], np.int64)
    return fate._replace(receive_ns=np.where(fate.receive_ns == LOST, LOST, fate.receive_ns + extra[fate.path]))
