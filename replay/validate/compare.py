"""Predicted against measured: loss, delay and reordering of each path, each held, failed, or saying nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.replay.validate.fates import Fate
from segcast.replay.validate.tolerances import Tolerances

CURVE: Final = (*(k / 50 for k in range(50)), 0.99, 0.995, 0.999, 0.9995, 1.0)

HOLDS: Final = "holds"
FAILS: Final = "fails"
SAYS_NOTHING: Final = "says nothing"

NOTHING_QUEUED: Final = "nothing queued"
FLAT: Final = "what is predicted hardly varies"
LITTLE_LOST: Final = "no loss to speak of"
LITTLE_REORDERED: Final = "no reordering to speak of"
NOT_SENT: Final = "the schedule was not sent"
FEW_PACKETS: Final = "few packets"
CLIFF: Final = "half of the packets queue: see area"

_LEAST_WAITING: Final = 20
_LEAST_WAITING_SHARE: Final = 0.01
_CLIFF: Final = (0.45, 0.55)
_AREA_POINTS: Final = 10_000


class Waits(NamedTuple):
    """By packet: how long it waited, predicted and measured, int64[n], and which packets could have, bool[n]."""

    predicted_ns: NDArray[np.int64]
    measured_ns: NDArray[np.int64]
    could: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of packets, predicted and measured: the same packets in both, in one order.

    `timed`: which of them delays are compared of. `waits`: for packets as sent. `not_sent`: whether the schedule that
    was predicted is not the one that was sent, so that nothing can be concluded.
    """

    name: str
    predicted: Fate
    measured: Fate
    timed: NDArray[np.bool_]
    waits: Waits | None = None
    not_sent: bool = False

    def rows(self, tolerances: Tolerances) -> list[dict[str, Any]]:
        """Rows of COMPARISONS without policy and cell: of all packets together, then of each path."""
        everything = np.ones(len(self.measured.flow), np.bool_)
        rows = list(self._of(None, everything, everything, tolerances))
        ratios = self.predicted.reordered_ratio, self.measured.reordered_ratio
        rows.append(self._row(None, "reordered_ratio", len(everything), *ratios, tolerances))
        for path in np.unique(np.concatenate((self.predicted.path, self.measured.path))).tolist():
            parts = self.predicted.path == path, self.measured.path == path
            rows += self._of(path, *parts, tolerances)
            if self.waits is not None:
                rows.append(self._residual(path, parts[1], tolerances))
        return rows

    def _of(
        self, path: int | None, ours: NDArray[np.bool_], theirs: NDArray[np.bool_], tolerances: Tolerances
    ) -> Iterator[dict[str, Any]]:
        predicted, measured = self.predicted.on(ours), self.measured.on(theirs)
        count = min(len(measured.flow), len(predicted.flow))
        yield self._row(path, "loss_ratio", count, predicted.loss_ratio, measured.loss_ratio, tolerances)
        p, m = self.predicted.on(ours & self.timed).delays(), self.measured.on(theirs & self.timed).delays()
        count = min(len(p), len(m))
        least, low, p50, high, p99 = nearest_ranks(p, (0.0, _CLIFF[0], 0.5, _CLIFF[1], 0.99))
        m50, m99 = nearest_ranks(m, (0.5, 0.99))
        median = self._row(path, "delay_p50_ns", count, p50, m50, tolerances, least)
        area = self._area(path, p, m, tolerances)
        on_cliff = median["allowed"] is not None and high - low > 2 * median["allowed"]
        if on_cliff and median["verdict"] is not None:
            median |= {"holds": None, "verdict": None, "why": CLIFF}
        else:
            area |= {"allowed": None, "holds": None, "verdict": None, "why": None}
        yield median
        yield area
        yield self._row(path, "delay_p99_ns", count, p99, m99, tolerances, least)

    def _area(
        self, path: int | None, predicted: NDArray[np.int64], measured: NDArray[np.int64], tolerances: Tolerances
    ) -> dict[str, Any]:
        """The area between both distributions of delay, which is the mean error of packets in order of their delay."""
        count = min(len(predicted), len(measured))
        if not count:
            return self._row(path, "delay_area_ns", 0, None, None, tolerances)
        at = (np.arange(min(count, _AREA_POINTS)) + 0.5) / min(count, _AREA_POINTS)
        ours, theirs = (np.quantile(delays, at, method="inverted_cdf") for delays in (predicted, measured))
        row = self._row(path, "delay_area_ns", count, float(ours.mean()), float(theirs.mean()), tolerances)
        return _judged(row | {"error": float(np.abs(theirs - ours).mean())}, None)

    def _residual(self, path: int, mine: NDArray[np.bool_], tolerances: Tolerances) -> dict[str, Any]:
        """The median of measured less predicted delay, of packets that waited as predicted or as measured."""
        assert self.waits is not None
        arrived = mine & self.measured.both(self.predicted)
        wait = (self.waits.predicted_ns + self.waits.measured_ns) / 2
        rows = np.flatnonzero(arrived & self.waits.could & (wait > tolerances.absolute_ns))
        error = (self.measured.receive_ns - self.predicted.receive_ns)[rows]
        row: dict[str, Any] = {"comparison": self.name, "path_id": path, "metric": "residual_p50_ns"}
        row |= {"packets": len(rows), "predicted": None, "measured": None, "error": None, "allowed": None}
        row |= {"holds": None, "verdict": None, "why": FEW_PACKETS}
        if mine.sum() < tolerances.least_packets:
            return row
        if len(rows) < max(_LEAST_WAITING, _LEAST_WAITING_SHARE * arrived.sum()):
            return row | {"verdict": SAYS_NOTHING, "why": NOTHING_QUEUED}
        median = float(np.median(error))
        allowed = max(float(tolerances.absolute_ns), tolerances.residual * float(np.median(wait[rows])))
        return _judged(row | {"predicted": 0.0, "measured": median, "error": median, "allowed": allowed}, None)

    def _row(
        self,
        path: int | None,
        metric: str,
        packets: int,
        predicted: float | None,
        measured: float | None,
        tolerances: Tolerances,
        least: float | None = None,
    ) -> dict[str, Any]:
        """A row; `least`: the least delay predicted, so that it is known whether the prediction varies."""
        row: dict[str, Any] = {"comparison": self.name, "path_id": path, "metric": metric, "packets": packets}
        row |= {"predicted": predicted, "measured": measured, "error": None, "allowed": None}
        row |= {"holds": None, "verdict": None, "why": None}
        if predicted is None or measured is None:
            return row
        allowed = tolerances.allowed(metric, measured)
        row |= {"error": measured - predicted, "allowed": allowed}
        # Tolerances are by path; of all together only the order of packets has one.
        if allowed is None or (path is None and metric != "reordered_ratio"):
            return row
        if packets < tolerances.least_packets:
            return row | {"why": FEW_PACKETS}
        if self.not_sent:
            return row | {"verdict": SAYS_NOTHING, "why": NOT_SENT}
        return _judged(row, _flat(metric, predicted, allowed, least))


def _flat(metric: str, predicted: float, allowed: float, least: float | None) -> str | None:
    """Why a prediction within tolerance says nothing: it does not vary by more than that. None if it does."""
    if metric in _RARE:
        return _RARE[metric] if predicted <= allowed else None
    return FLAT if least is not None and predicted - least <= allowed else None


_RARE: Final = {"loss_ratio": LITTLE_LOST, "reordered_ratio": LITTLE_REORDERED}


def _judged(row: dict[str, Any], flat: str | None) -> dict[str, Any]:
    """The row with its verdict; `flat`: why it says nothing even if it is within the tolerance."""
    if row["allowed"] is None or row["verdict"] == SAYS_NOTHING:
        return row
    if abs(row["error"]) > row["allowed"]:
        return row | {"holds": False, "verdict": FAILS, "why": None}
    if flat is not None:
        return row | {"holds": None, "verdict": SAYS_NOTHING, "why": flat}
    return row | {"holds": True, "verdict": HOLDS, "why": None}


def curves(source: str, fate: Fate) -> list[dict[str, Any]]:
    """Rows of CURVES without policy and cell."""
    rows = []
    for path in np.unique(fate.path).tolist():
        delays = fate.on(fate.path == path).delays()
        if len(delays):
            for quantile, value in zip(CURVE, nearest_ranks(delays, CURVE), strict=True):
                rows.append({"source": source, "path_id": path, "quantile": quantile, "delay_ns": value})
    return rows
