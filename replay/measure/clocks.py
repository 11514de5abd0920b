"""Offset and drift between two clocks, from one-way delays in both directions.

Method: Moon, Skelly and Towsley, Estimation and Removal of Clock Skew from Network Delay Measurements, INFOCOM 1999:
the line below all delays that is nearest to them on the whole, a linear program whose answer lies on their convex hull.
Both directions are fitted at once, with one drift. What no end can measure is assumed: the least delay is the same in
both directions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.traces.disk.documents import Count, Shape, Whole
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

_LEAST_SPAN_NS: Final = 1_000_000_000
_LEAST_SAMPLES: Final = 100
_WINDOWS: Final = 8


class ClockFit(Shape):
    """What `clock` shows when `reference` shows t: t + offset_ns + drift * (t - at_ns)."""

    clock: str = Field(description="the clock")
    reference: str = Field(description="the clock that it is compared with")
    at_ns: Whole = Field(description="time of the reference at which the offset is stated")
    offset_ns: Whole = Field(description="how far the clock is ahead of the reference")
    drift: float = Field(description="how much it gains per time of the reference")
    symmetric: bool = Field(description="whether both directions were seen; else the least delay is taken for 0")
    round_trip_ns: Whole = Field(description="the least delays there and back; half of it bounds the offset's error")
    residual_ns: Whole | None = Field(
        description="the furthest that least delays of parts of the measurement lie from the line; null with too few"
    )
    samples: list[Count] = Field(description="packets there and back")

    def to_reference(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of the clock, int64, on the reference clock."""
        since = time_ns - self.at_ns - self.offset_ns
        drifted = np.rint(since * (self.drift / (1 + self.drift))).astype(np.int64)
        corrected: NDArray[np.int64] = self.at_ns + since - drifted
        return corrected


@kernel
def lower_hull(x: NDArray[np.float64], y: NDArray[np.float64], hull: NDArray[np.int64]) -> int:
    """Corners of the lower convex hull of points, `x` ascending: writes their rows to `hull`, returns how many.

    Andrew's monotone chain; of points with the same x the lowest counts.
    """
    size = 0
    for i in range(len(x)):
        if size > 0 and x[hull[size - 1]] == x[i]:
            if y[hull[size - 1]] <= y[i]:
                continue
            size -= 1
        while size >= 2:
            a, b = hull[size - 2], hull[size - 1]
            if (x[b] - x[a]) * (y[i] - y[a]) > (y[b] - y[a]) * (x[i] - x[a]):
                break
            size -= 1
        hull[size] = i
        size += 1
    return size


class _Envelope:
    """The lower hull of delays over time: which line of a given slope lies just below it."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        order = np.lexsort((y, x))
        x, y = x[order], y[order]
        hull = np.empty(len(x), np.int64)
        corners = hull[: lower_hull(x, y, hull)]
        self.x, self.y = x[corners], y[corners]
        self.middle = float(x.mean())

    def slopes(self) -> NDArray[np.float64]:
        """Of the hull's edges."""
        return np.diff(self.y) / np.diff(self.x)

    def intercept(self, slope: float) -> float:
        """Of the line of this slope that touches the hull from below."""
        return float((self.y - slope * self.x).min())


def fit_clock(
    clock: str,
    reference: str,
    there: tuple[NDArray[np.int64], NDArray[np.int64]],
    back: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> ClockFit:
    """The fit of `clock` against `reference` from packets of both directions, int64 times (sent, received).

    `there` were sent by the reference's clock and received by the other, `back` the other way. Drift is fitted if a
    direction has 100 packets over a second, else 0. Raises InputError if there are no packets at all.
    """
    if len(there[0]) + len(back[0]) == 0:
        raise InputError(
            f"clocks {reference!r} and {clock!r}: no packet was seen by both, so their times cannot be compared; "
            "send some traffic between them, or give both the same clock"
        )
    at_ns = int(min(*(int(times.min()) for times in (*there[:1], *back[1:]) if len(times)), 2**62))
    sides: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
    for sign, (sent, received), when in ((1, there, there[0]), (-1, back, back[1])):
        if len(sent):
            sides.append((sign, (when - at_ns).astype(np.float64), (received - sent).astype(np.float64)))
    base = np.rint(sum(sign * float(delay.min()) for sign, _, delay in sides) / len(sides))
    envelopes = [(sign, _Envelope(when, delay - sign * base)) for sign, when, delay in sides]
    long = any(np.ptp(when) >= _LEAST_SPAN_NS and len(when) >= _LEAST_SAMPLES for _, when, _ in sides)
    slopes = np.concatenate([sign * envelope.slopes() for sign, envelope in envelopes]) if long else np.zeros(0)
    slopes = slopes[np.abs(slopes) < 1e-2] if len(slopes) else slopes

    def nearness(slope: float) -> float:
        return sum(e.intercept(sign * slope) + sign * slope * e.middle for sign, e in envelopes)

    drift = max(slopes.tolist(), key=nearness, default=0.0)
    least = {sign: envelope.intercept(sign * drift) for sign, envelope in envelopes}
    offset = (least[1] - least[-1]) / 2 if len(least) == 2 else sum(sign * value for sign, value in least.items())
    round_trip = int(sum(least.values())) if len(least) == 2 else 0
    return ClockFit(
        clock=clock,
        reference=reference,
        at_ns=at_ns,
        offset_ns=int(base + round(offset)),
        drift=drift,
        symmetric=len(least) == 2,
        round_trip_ns=round_trip,
        residual_ns=_residual(sides, least, base, drift),
        samples=[len(there[0]), len(back[0])],
    )


def _residual(
    sides: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]],
    least: dict[int, float],
    base: float,
    drift: float,
) -> int | None:
    """How far the least delays of eighths of the time lie above the line, at most; None if an eighth has too few."""
    furthest = 0.0
    for sign, when, delay in sides:
        above = delay - sign * (base + drift * when) - least[sign]
        part = np.minimum(
            ((when - when.min()) * _WINDOWS / max(float(np.ptp(when)), 1.0)).astype(np.int64), _WINDOWS - 1
        )
        if np.bincount(part, minlength=_WINDOWS).min() * _WINDOWS < _LEAST_SAMPLES:
            return None
        furthest = max(furthest, *(float(above[part == window].min()) for window in range(_WINDOWS)))
    return round(furthest)
