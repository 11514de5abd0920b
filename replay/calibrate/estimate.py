"""Estimates a path's slowest link from probe trains: rate, overhead per packet, base delay, burst and buffer.

The model is a token bucket in front of a drop-tail buffer (a burst of 0: a plain transmitter): in a train of packets of
`frame_bytes` L that finds the link idle, packet k of those accepted leaves at
start + ((L + overhead) (k + 1) - burst) 8 / rate, once the burst is spent. Spacing alone gives (L + overhead) / rate,
so two sizes tell overhead and rate apart; what is left of the equation is the burst. Intervals are bootstraps over
trains (Efron 1979), 95 %; that of the buffer holds every backlog between the largest accepted and the smallest refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.link_by_link import LinkModel, through_link
from segcast.analyzer.packets import LOST
from segcast.replay.calibrate.document import OVERFLOW, RATE, SINGLE, LinkEstimate, PathEstimate
from segcast.traces.errors import InputError

_DRAWS: Final = 400
_LEAST_PACKETS: Final = 6
_STEADY: Final = 0.1
_QUEUED: Final = 3  # packets that must have waited for each other to call it a queue
_SETTLED: Final = 0.25  # of the largest wait in a train: from there on the burst is spent
_PLAIN: Final = 0.5  # of a frame's transmission that must show between two sizes to believe there is one


class Probe(NamedTuple):
    """A train as it travelled, in order of sending: `frame_bytes` of each, `send_ns` and `receive_ns` int64[n]."""

    kind: str
    frame_bytes: int
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]

    def delays(self) -> NDArray[np.int64]:
        """Of what arrived."""
        good = self.receive_ns != LOST
        delays: NDArray[np.int64] = (self.receive_ns - self.send_ns)[good]
        return delays


def estimate_path(probes: Sequence[Probe], overhead_bytes: int, what: str) -> PathEstimate:
    """Estimates from the trains of one path; `overhead_bytes` is kept if the probes agree with it.

    `what` names the path in errors. Raises InputError if too little arrived.
    """
    singles = {probe.frame_bytes: probe.delays() for probe in probes if probe.kind == SINGLE}
    trains = [probe for probe in probes if probe.kind in (RATE, OVERFLOW)]
    if len(singles) < 2 or any(len(delays) < _LEAST_PACKETS for delays in singles.values()):
        raise InputError(
            f"{what}: too few spaced probes arrived; see the counts in run.json, and the captures of the run"
        )
    least = float(np.median(singles[min(singles)]))
    spacings = _spacings(trains, least)
    if len(spacings) < 2:
        raise InputError(
            f"{what}: probes of {len(spacings)} size(s) queued, and two are needed: send faster than the link, or give "
            "a larger buffer in the scenario that the probes are made for"
        )
    rng = np.random.default_rng(0)
    free = _bootstrap(lambda drawn: _line(drawn)[1], spacings, rng)
    agrees = free.low - 1 <= overhead_bytes <= free.high + 1
    overhead = LinkEstimate(value=float(overhead_bytes), low=free.low, high=free.high) if agrees else free
    rate = _bootstrap(lambda drawn: _rate(drawn, overhead.value), spacings, rng)
    base = _base(singles, rate.value, overhead.value, rng)
    burst = _burst(trains, rate.value, overhead.value, base.value, rng)
    link = LinkModel(round(rate.value), 0, np.iinfo(np.int64).max, round(overhead.value), round(burst.value))
    buffer = _buffer([probe for probe in trains if probe.kind == OVERFLOW], link)
    sent = sum(len(probe.send_ns) for probe in probes)
    return PathEstimate(
        rate_bps=rate,
        overhead_bytes=overhead,
        base_delay_ns=base,
        burst_bytes=burst,
        buffer_bytes=buffer,
        probes=[sent, sum(len(probe.delays()) for probe in probes)],
    )


Spacings = dict[int, NDArray[np.float64]]


def _settled(probe: Probe, least_ns: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the packets that queued behind a spent burst: their place among those accepted, and when they arrived."""
    arrived = probe.receive_ns[probe.receive_ns != LOST]
    waits = probe.delays() - least_ns
    place = np.flatnonzero(waits > _SETTLED * waits.max(initial=0))
    return place, arrived[place]


def _spacings(trains: Sequence[Probe], least_ns: float) -> Spacings:
    """Time between departures in ns of each train that queued, by frame size: the median over pairs far apart."""
    found: dict[int, list[float]] = {}
    for probe in trains:
        place, arrived = _settled(probe, least_ns)
        if len(place) < _LEAST_PACKETS:
            continue
        half = len(place) // 2
        value = float(np.median((arrived[half:] - arrived[:-half]) / (place[half:] - place[:-half])))
        if probe.delays().max() - least_ns > _QUEUED * value:
            found.setdefault(probe.frame_bytes, []).append(value)
    return {size: np.array(values) for size, values in sorted(found.items())}


def _line(spacings: Spacings) -> tuple[float, float]:
    """(rate, overhead) of the smallest and the largest size."""
    small, large = min(spacings), max(spacings)
    low, high = float(np.median(spacings[small])), float(np.median(spacings[large]))
    per_byte = max(high - low, 1e-9) / (large - small)
    return 8e9 / per_byte, high / per_byte - large


def _rate(spacings: Spacings, overhead: float) -> float:
    """With a known overhead each train gives the rate."""
    return float(np.median(np.concatenate([8e9 * (size + overhead) / values for size, values in spacings.items()])))


def _bootstrap(statistic: Callable[[Spacings], float], spacings: Spacings, rng: np.random.Generator) -> LinkEstimate:
    values = [
        statistic({size: rng.choice(found, len(found)) for size, found in spacings.items()}) for _ in range(_DRAWS)
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    return LinkEstimate(value=statistic(spacings), low=float(low), high=float(high))


def _median(values: NDArray[Any], rng: np.random.Generator) -> LinkEstimate:
    drawn = np.median(rng.choice(values, (_DRAWS, len(values))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return LinkEstimate(value=float(np.median(values)), low=float(low), high=float(high))


def _steady(values: NDArray[Any], rng: np.random.Generator) -> LinkEstimate:
    """A low quantile: what disturbs a delay makes it longer."""
    drawn = np.quantile(rng.choice(values, (_DRAWS, len(values))), _STEADY, axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return LinkEstimate(value=float(np.quantile(values, _STEADY)), low=float(low), high=float(high))


def _base(
    singles: dict[int, NDArray[np.int64]], rate: float, overhead: float, rng: np.random.Generator
) -> LinkEstimate:
    """Delay besides transmission: a link that lets a burst pass adds none to packets that find it idle."""
    small, large = min(singles), max(singles)
    rise = float(np.median(singles[large]) - np.median(singles[small]))
    plain = rise > _PLAIN * (large - small) * 8e9 / rate
    parts = [delays - (8e9 * (size + overhead) / rate if plain else 0.0) for size, delays in singles.items()]
    return _steady(np.concatenate(parts), rng)


def _burst(
    trains: Sequence[Probe], rate: float, overhead: float, base: float, rng: np.random.Generator
) -> LinkEstimate:
    """What left at once: bytes accepted less those that the rate let through since the start."""
    values = []
    for probe in trains:
        if probe.kind != RATE or LOST in probe.receive_ns:
            continue
        place, arrived = _settled(probe, base)
        if len(place) >= _LEAST_PACKETS:
            passed = (arrived - base - probe.send_ns[0]) * rate / 8e9
            values.append(float(np.median((place + 1) * (probe.frame_bytes + overhead) - passed)))
    if not values:
        return LinkEstimate(value=0.0, low=0.0, high=0.0)
    found = _median(np.array(values), rng)
    return LinkEstimate(value=max(0.0, found.value), low=max(0.0, found.low), high=max(0.0, found.high))


def _buffer(trains: Sequence[Probe], link: LinkModel) -> LinkEstimate | None:
    """The largest backlog, the packet itself included, that is still accepted: the fewest contradict it.

    The backlog is that of the packets that got through, by when they left `link`: those times have no noise.
    """
    accepted, refused = [], []
    for probe in trains:
        taken = probe.receive_ns != LOST
        sent_ns, departs = probe.send_ns[taken], np.empty(int(taken.sum()), np.int64)
        through_link(sent_ns, np.full(len(sent_ns), probe.frame_bytes), link, departs, np.zeros(len(sent_ns), np.int64))
        before = np.cumsum(taken) - taken
        gone = np.searchsorted(departs, probe.send_ns, "right")
        backlog = (np.maximum(before - gone, 0) + 1) * probe.frame_bytes
        accepted.append(backlog[taken])
        refused.append(backlog[~taken])
    if not refused or not sum(map(len, refused)):
        return None
    kept, lost = np.sort(np.concatenate(accepted)), np.sort(np.concatenate(refused))
    candidates = np.unique(np.concatenate((kept, lost - 1)))
    wrong = len(kept) - np.searchsorted(kept, candidates, "right") + np.searchsorted(lost, candidates, "right")
    best = candidates[wrong == wrong.min()]
    low, high = float(best[0]), float(best[-1])
    return LinkEstimate(value=(low + high) / 2, low=low, high=high)
