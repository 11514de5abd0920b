"""The figures of a live validation: completion times, counts per flow, shares of paths, changes between policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.forecast.compare import interval
from segcast.analyzer.network.model import Network
from segcast.replay.validate.live.pairs import CellFacts, CellPair

Figure = Callable[[NDArray[np.float64]], float]


def _quantile(share: float) -> Figure:
    return lambda times: float(np.quantile(times, share, method="inverted_cdf"))


FIGURES: Final[Mapping[str, Figure]] = {
    **{f"fct_p{round(100 * share)}_ns": _quantile(share) for share in (0.5, 0.9, 0.95, 0.98, 0.99)},
    "fct_mean_ns": lambda times: float(times.mean()),
}
JUDGED: Final = ("fct_p50_ns", "fct_p95_ns")
RANKED: Final = ("fct_p95_ns", "fct_mean_ns")
RATES: Final = (
    "retransmissions",
    "needless",
    "timeouts",
    "syn_retransmissions",
    "dropped",
    "flowlets",
    "path_changes",
    "unfinished",
)


def figures_of(pairs: Sequence[CellPair], tolerance: float) -> list[dict[str, Any]]:
    """The fields of `Against` of a policy. A cell's forecast is that of all its draws' flows together."""
    usable = [pair for pair in pairs if len(pair.measured.fct_ns) and all(len(each.fct_ns) for each in pair.forecast)]
    found = []
    for metric, figure in FIGURES.items():
        if not usable:
            found.append(dict.fromkeys(_AGAINST) | {"metric": metric})
            continue
        logs = [math.log(figure(forecast_of(pair)) / figure(pair.measured.fct_ns)) for pair in usable]
        bounds = [None if each is None else math.expm1(each) for each in interval(logs)]
        allowed = tolerance if metric in JUDGED else None
        found.append(
            {
                "metric": metric,
                "measured": figure(np.concatenate([pair.measured.fct_ns for pair in usable])),
                "forecast": figure(np.concatenate([forecast_of(pair) for pair in usable])),
                **dict(zip(("error", "low", "high"), bounds, strict=True)),
                "allowed": allowed,
                "verdict": None if allowed is None else verdict_of(bounds, allowed),
            }
        )
    return found


_AGAINST: Final = ("measured", "forecast", "error", "low", "high", "allowed", "verdict")


def forecast_of(pair: CellPair) -> NDArray[np.float64]:
    """Forecast times of a cell, of all draws."""
    return np.concatenate([each.fct_ns for each in pair.forecast])


def verdict_of(bounds: Sequence[float | None], allowed: float) -> str:
    """Whether an error holds: within what is allowed, by an interval of no more than twice that to either side."""
    error, low, high = bounds
    if error is None or low is None or high is None:
        return "says nothing"
    if low > allowed or high < -allowed:
        return "fails"
    known = high - error <= 2 * allowed and error - low <= 2 * allowed
    return "holds" if abs(error) <= allowed and known else "says nothing"


def counted(cell: CellFacts, metric: str) -> float | None:
    """A count of a cell, None where nobody knows it; flowlets are those of data alone."""
    if metric not in ("flowlets", "path_changes"):
        found: float | None = cell.summary.get(metric)
        return found
    column = cell.flows[metric]
    return None if column.null_count() == len(column) else float(column.sum())


def rates_of(pairs: Sequence[CellPair]) -> list[dict[str, Any]]:
    """The fields of `Rate` of a policy."""

    def per_flow(cells: Sequence[CellFacts], metric: str) -> float | None:
        counts = [count for cell in cells if (count := counted(cell, metric)) is not None]
        if len(counts) < len(cells):
            return None
        return sum(counts) / max(1, sum(int(cell.summary["messages"]) for cell in cells))

    # A cell that has several draws is no more than one.
    return [
        {
            "metric": metric,
            "measured": per_flow([pair.measured for pair in pairs], metric),
            "forecast": None if None in (found := [per_flow(p.forecast, metric) for p in pairs]) else _mean(found),
        }
        for metric in RATES
    ]


def _mean(values: Sequence[float | None]) -> float:
    return fmean(value for value in values if value is not None)


def shares_of(pairs: Sequence[CellPair], network: Network) -> list[dict[str, Any]]:
    """The fields of `PathShare` of a policy: groups whose paths each have a link that no other of theirs has."""
    found = []
    for slots in network.group_slots():
        own: dict[int, str] = {}
        links = {path: network.paths[path].links for path in slots}
        for path, of in links.items():
            others = {link for other, its in links.items() if other != path for link in its}
            alone = [link for link in of if link not in others]
            if alone:
                own[path] = network.links[alone[0]].name
        if len(own) != len(slots) or len(own) < 2:
            continue
        shares = [_shares(pair, own) for pair in pairs]
        if any(part is None for part in shares):
            continue
        for place, (path, link) in enumerate(own.items()):
            measured, forecast = (fmean(part[side][place] for part in shares if part) for side in (0, 1))
            found.append({"path_id": path, "link": link, "measured": measured, "forecast": forecast})
    return found


def _shares(pair: CellPair, own: Mapping[int, str]) -> tuple[list[float], list[float]] | None:
    def of(cell: CellFacts) -> NDArray[np.float64]:
        return np.array([cell.carried_bytes.get(link, 0) for link in own.values()], np.float64)

    measured, forecast = of(pair.measured), np.sum([of(cell) for cell in pair.forecast], axis=0)
    if not measured.sum() or not forecast.sum():
        return None
    return (measured / measured.sum()).tolist(), (forecast / forecast.sum()).tolist()


def changes_of(a: Sequence[CellPair], b: Sequence[CellPair]) -> list[dict[str, Any]]:
    """The fields of `PolicyChange` from `b` to `a` but their names: paired by list and seed."""
    partner = {(pair.digest, pair.seed): pair for pair in b}
    both = [(pair, partner[pair.digest, pair.seed]) for pair in a if (pair.digest, pair.seed) in partner]
    both = [pair for pair in both if all(len(of) for each in pair for of in (each.measured.fct_ns, forecast_of(each)))]
    found = []
    for metric in RANKED if both else ():
        figure = FIGURES[metric]
        measured = interval([math.log(figure(x.measured.fct_ns) / figure(y.measured.fct_ns)) for x, y in both])
        forecast = interval([math.log(figure(forecast_of(x)) / figure(forecast_of(y))) for x, y in both])
        chance = measured.low is None or measured.high is None or measured.low <= 0 <= measured.high
        verdict = "open" if chance else "same" if measured.mean * forecast.mean > 0 else "opposite"
        bounds = {**_bounds("measured", measured), **_bounds("forecast", forecast)}
        found.append({"metric": metric, "verdict": verdict, **bounds})
    return found


def _bounds(name: str, logs: Any) -> dict[str, float | None]:
    values = [None if each is None else math.expm1(each) for each in logs]
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
