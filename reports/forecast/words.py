"""What a report says in words: the answer, what it costs, and what limits it. Plain ASCII; `text.typeset` adorns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from segcast.analyzer.forecast.compare import TENFOLD
from segcast.reports import text
from segcast.reports.forecast.data import Comparison, Forecast


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the summary as reports show it; of all of these, less is better."""

    column: str
    title: str
    unit: Callable[[float | None], str]


METRICS: Final = (
    Metric("delay_p50_ns", "p50 delay", text.duration),
    Metric("delay_p99_ns", "p99 delay", text.duration),
    Metric("delay_p999_ns", "p99.9 delay", text.duration),
    Metric("queue_p99_ns", "p99 queueing", text.duration),
    Metric("fct_p99_ns", "p99 FCT", text.duration),
    Metric("slowdown_p99", "p99 slowdown", text.plain),
    Metric("drop_ratio", "dropped", text.percent),
    Metric("marked_ratio", "marked", text.percent),
    Metric("reordered_ratio", "reordered", text.percent),
    Metric("imbalance", "imbalance", text.plain),
    Metric("utilisation_max", "busiest link", text.percent),
)
BY_COLUMN: Final = {metric.column: metric for metric in METRICS}

_PHRASES: Final = {
    "delay_p50_ns": ("the median one-way delay", "half of the packets arrive within"),
    "delay_p99_ns": ("the p99 one-way delay", "99 % of packets arrive within"),
    "delay_p999_ns": ("the p99.9 one-way delay", "99.9 % of packets arrive within"),
    "queue_p99_ns": ("p99 queueing", "99 % of packets queue for at most"),
    "fct_p99_ns": ("the p99 flow completion time", "99 % of flows complete within"),
    "slowdown_p99": ("the p99 slowdown", "99 % of flows are slowed by at most"),
    "drop_ratio": ("the share of dropped packets", "dropped are"),
    "reordered_ratio": ("the share of reordered packets", "reordered are"),
}

HARDLY: Final = 0.005  # Changes smaller than half a percent are not worth a verb.
OVERLOAD: Final = 0.01  # Above this share of drops, queues are full and the delay's tail is that of the buffers.


def headline(forecast: Forecast) -> tuple[str, Comparison | None]:
    """The answer as one sentence for a capacity planner, and the comparison it rests on."""
    if not any(value for v in forecast.variants for value in forecast.values(v, "delivered")):
        return "Nothing gets through: no packet of this trace is delivered under any policy.", None
    found = _chosen(forecast)
    if found is not None:
        return _compared(found, forecast), found
    if forecast.answer:
        return forecast.answer, None
    ranked = forecast.best_first()
    best = ranked[0] if ranked else forecast.variants[0]
    within = text.duration(forecast.estimate(best, "delay_p99_ns").mean)
    lost = text.percent(forecast.estimate(best, "drop_ratio").mean)
    with_what = f"With {best.label}" + ("" if len(forecast.variants) == 1 else ", the quickest of those compared")
    return f"{with_what}, 99 % of packets arrive within {within}; {lost} are dropped.", None


def _chosen(forecast: Forecast) -> Comparison | None:
    """The comparison that the stated answer is about, if it says; without an answer, the largest cut of p99 delay."""
    usable = [c for c in forecast.comparisons if c.change is not None and c.metric in _PHRASES]
    metrics = [c.metric for c in usable]
    metric = "delay_p99_ns" if "delay_p99_ns" in metrics else next(iter(metrics), None)
    candidates = sorted((c for c in usable if c.metric == metric), key=lambda c: c.change or 0.0)
    if forecast.answer:
        candidates = [c for c in candidates if c.variant == forecast.answered]
    return next(iter(candidates), None)


def _compared(found: Comparison, forecast: Forecast) -> str:
    """The sentence of a comparison: what, how much, with its interval, against what, in absolute numbers."""
    baseline = found.against
    what, within = _PHRASES[found.metric]
    unit = BY_COLUMN[found.metric].unit
    change = found.change or 0.0
    amount = text.change(abs(change)).lstrip("+")
    if found.low is None or found.high is None:
        interval = "one seed, so no interval" if forecast.most_seeds == 1 else "no interval known"
    else:
        low, high = (-found.high, -found.low) if found.clear and change < 0 else (found.low, found.high)
        interval = f"95 % interval {text.change_interval(low, high, ' %')}"
        if found.clear:
            interval = interval.replace("+", "")
        elif high >= TENFOLD:
            interval += ": too wide to tell, run more seeds"
    lost = _drops(found, forecast)
    absolute = f"{within} {unit(found.value)} instead of {unit(found.baseline)}"
    if found.low is not None and not found.clear:
        return (
            f"No clear difference: {found.variant.label} would change {what} by {text.change(change)} ({interval}) "
            f"against {baseline.label}.{lost}"
        )
    if abs(change) < HARDLY:
        value = unit(found.value)
        return f"{found.variant.label} would hardly change {what} of {baseline.label}: {within} {value}.{lost}"
    if change < 0:
        start = f"{found.variant.label} would cut {what} by {amount} ({interval}) against {baseline.label}"
        return f"{start}: {absolute}.{lost}"
    start = f"Nothing tried beats {baseline.label}: the closest, {found.variant.label}, would raise {what}"
    return f"{start} by {amount} ({interval}).{lost}"


def _drops(found: Comparison, forecast: Forecast) -> str:
    """A sentence on drops where they differ by a tenth and a thousandth of all packets: delay alone would mislead."""
    ours, theirs = (forecast.estimate(v, "drop_ratio").mean or 0.0 for v in (found.variant, found.against))
    if abs(ours - theirs) < max(0.001, 0.1 * max(ours, theirs)):
        return ""
    verb = "fall" if ours < theirs else "rise"
    return f" Drops {verb} from {text.percent(theirs)} to {text.percent(ours)} of packets."


def idle(forecast: Forecast) -> str | None:
    """What to know where links never fill under any policy: then no policy can be better than another."""
    longest = [value for v in forecast.variants for value in forecast.values(v, "queue_p999_ns") if value is not None]
    if not longest or max(longest) > 0:
        return None
    return (
        "Not one packet in a thousand waits in a queue, so nothing tells policies apart but the lengths of paths: give "
        "slower links, or a higher load."
    )


def _capture_caveats(forecast: Forecast) -> list[str]:
    """The warnings and errors among the findings of the trace."""
    findings = forecast.section("trace").get("findings") or []
    return [
        f"Capture: {f['detail']} ({text.count(f['count'])}). Effect: {f['effect']}."
        for f in findings
        if f["severity"] in ("warning", "error") or f["code"] == "sides_chosen"
    ]


def caveats(forecast: Forecast) -> list[str]:
    """What limits the forecast, most of all first."""
    found = _capture_caveats(forecast)
    excluded = forecast.section("excluded")
    reasons = {
        "no_ip": "have no readable IP header",
        "link_scope": "are of link scope (multicast, broadcast, link-local, loopback, or without an address), which no "
        "router forwards; traffic.link_scope includes them",
        "deselected": "are not of the traffic that was chosen (traffic.only, traffic.without)",
        "too_large": "are larger than 16 MiB, which no network carries",
        "unassigned": "have an address that no attachment's prefix holds",
        "same_attachment": "have both ends on one side of the network, so they do not cross it",
    }
    for key, number in excluded.items():
        if isinstance(number, int) and number > 0:
            reason = reasons.get(key, key.replace("_", " "))
            found.append(f"{text.count(number)} packets are left out: they {reason}.")
    if forecast.most_seeds == 1:
        found.append("Every cell was run with one seed: how much hash or draws of luck matter is not known.")
    if all(value is None for v in forecast.variants for value in forecast.values(v, "retransmissions")):
        found.append(
            "Packets leave when the capture says. Senders do not slow down, retransmit or speed up in answer to the "
            "forecast network, so heavy loss or queueing is overstated against real senders."
        )
    if (nothing := idle(forecast)) is not None:
        found.append(nothing)
    drops = {v: forecast.estimate(v, "drop_ratio").mean or 0.0 for v in forecast.variants}
    if max(drops.values(), default=0.0) > OVERLOAD:
        found.append(
            f"Up to {text.percent(max(drops.values()))} of packets are dropped: queues are full, and the tail of the "
            "delay is that of the buffers under every policy. Compare drops and flow completion, or give more capacity."
        )
    if max(drops.values(), default=0.0) > 0:
        found.append(
            "Delays and flow completion are those of received packets. A policy that drops more can look quicker, and "
            "a flow that loses its first or last packets seems quick, even below 1x slowdown: read both beside drops."
        )
    delivered = [n for v in forecast.variants for n in forecast.values(v, "delivered") if n is not None]
    if 0 < min(delivered, default=0) < 10_000:
        found.append("Fewer than 10 000 packets are received: p99.9 rests on fewer than ten of them.")
    if any(path.get("srv6_bytes") for path in forecast.section("network").get("paths", [])):
        sizes = sorted({path.get("srv6_bytes", 0) for path in forecast.section("network")["paths"]})
        extra = text.span(str(sizes[0]), str(sizes[-1])) if len(sizes) > 1 else str(sizes[0])
        found.append(f"Steered packets carry {extra} bytes of SRv6 headers on every link; ECMP packets do not.")
    found.append("Reordered packets are counted, not punished: their effect on TCP is not part of the delays.")
    return found
