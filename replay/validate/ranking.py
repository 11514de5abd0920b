"""Whether the policies' order by p99 delay is as forecast: as planned, as sent, and as measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from segcast.replay.validate.tolerances import Tolerances

_METRIC = "delay_p99_ns"


class P99(NamedTuple):
    """A policy's p99 delay of all packets: the forecast as planned, as sent, and as measured."""

    forecast: float
    as_sent: float
    measured: float


def ranking(values: Mapping[str, P99], tolerances: Tolerances, *, sent: bool = True) -> dict[str, Any] | None:
    """The fields of `Ranking`, or None for a single policy; `sent`: whether all schedules were sent as planned.

    An order survives if no two policies stand the other way round by more than the tolerance of p99. A difference has
    vanished if it is forecast as more than that, and measured as less.
    """
    if len(values) < 2:
        return None
    orders = {field: sorted(values, key=lambda name: getattr(values[name], field)) for field in P99._fields}

    def allowed(delay_ns: float) -> float:
        return tolerances.allowed(_METRIC, delay_ns) or 0

    def swapped(order: list[str]) -> list[list[str]]:
        return [
            [better, worse]
            for place, better in enumerate(order)
            for worse in order[place + 1 :]
            if values[better].measured - values[worse].measured > allowed(values[worse].measured)
        ]

    planned = orders["forecast"]
    vanished = [
        [better, worse]
        for place, better in enumerate(planned)
        for worse in planned[place + 1 :]
        if values[worse].forecast - values[better].forecast > allowed(values[worse].forecast)
        and abs(values[worse].measured - values[better].measured) <= allowed(values[worse].measured)
    ]
    return {
        "metric": _METRIC,
        **orders,
        "swapped": swapped(planned),
        "swapped_as_sent": swapped(orders["as_sent"]),
        "vanished": vanished,
        "sent": sent,
    }


def upset(order: dict[str, Any] | None) -> bool:
    """Whether an order does not survive: that as sent, or that as planned, if what was planned was sent."""
    return bool(order and (order["swapped_as_sent"] or (order["sent"] and order["swapped"])))


def ranking_words(order: dict[str, Any] | None, values: Mapping[str, P99]) -> str:
    """Whether the ranking of policies survives, and what of it is not seen, in sentences."""
    if order is None:
        return "One policy was measured, so there is no ranking to check."
    words = [] if order["sent"] else ["The schedules were not sent, so the planner's ranking was not tried."]
    ours = ("forecast", "swapped") if order["sent"] else ("as_sent", "swapped_as_sent")
    what = "The planner's ranking by p99 delay" if order["sent"] else "As sent the ranking by p99 delay"
    measured = ", ".join(order["measured"])
    if order[ours[1]]:
        pairs = "; ".join(f"{worse} is measured better than {better}" for better, worse in order[ours[1]])
        words.append(f"{what} does not survive: {pairs}.")
    elif order["vanished"] and order["sent"]:
        words.append(f"{what} is not seen as forecast.")
    elif order["measured"] == order[ours[0]]:
        words.append(f"{what} survives: {measured}, best first.")
    else:
        said = "forecast" if order["sent"] else "predicted"
        words.append(f"{what} survives within the tolerance: {said} {', '.join(order[ours[0]])}, measured {measured}.")
    if order["sent"] and order["swapped_as_sent"] and not order["swapped"]:
        words.append("As sent it does not survive.")
    for better, worse in order["vanished"]:
        near, far = values[better], values[worse]
        words.append(
            f"The difference of {better} and {worse} has vanished: forecast {_ms(near.forecast)} and "
            f"{_ms(far.forecast)}, measured {_ms(near.measured)} and {_ms(far.measured)}."
        )
    return " ".join(words)


def _ms(delay_ns: float) -> str:
    return f"{delay_ns / 1e6:.3g} ms"
