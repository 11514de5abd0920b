"""What a report says in words: how packets come about, and the answer. Plain ASCII; `text.typeset` adorns it."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.forecast.compare import TENFOLD
from segcast.analyzer.forecast.unfinished import differing
from segcast.reports import text
from segcast.reports.forecast.data import Comparison, Forecast
from segcast.reports.forecast.metrics import BY_COLUMN, UNFINISHED

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


def mode(forecast: Forecast) -> tuple[str, str]:
    """Whether senders react, and what that means for the numbers: two sentences."""
    if not forecast.reacts:
        return "Packets leave as captured, whatever the network does:", "no sender slows down or sends losses again."
    apart = forecast.section("trace").get("packets") or 0
    rest = f" {text.count(apart)} packets that are not of its connections leave as captured." if apart else ""
    return (
        "TCP senders react:",
        f"completion times are those of TCP ({_control(forecast)}), losses and waits included.{rest}",
    )


def _control(forecast: Forecast) -> str:
    return str(forecast.senders.get("control", "cubic"))


def unfinished(forecast: Forecast) -> str | None:
    """How many flows did not finish under what, which no completion time counts; None if all did."""
    left = {v: forecast.estimate(v, UNFINISHED.column).mean or 0.0 for v in forecast.variants}
    if not any(left.values()):
        return None
    flows = text.count(forecast.estimate(forecast.variants[0], "messages").mean)
    least, most = min(left, key=lambda v: left[v]), max(left, key=lambda v: left[v])
    who = text.tally(left[most])
    if left[least] < left[most]:
        who = f"{text.tally(left[least])} ({least.label}) to {who} ({most.label})"
    each = " in each run" if forecast.most_seeds > 1 else ""
    return f"Flows did not finish: {who} of {flows}{each}; they are in no completion time."


def headline(forecast: Forecast) -> tuple[str, Comparison | None]:
    """The answer as one sentence for a capacity planner, and the comparison it rests on."""
    if nothing := _nothing(forecast):
        return nothing, None
    if forecast.reacts and (apart := _by_unfinished(forecast)) is not None:
        return apart
    found = _chosen(forecast)
    if found is not None:
        return _compared(found, forecast), found
    if forecast.answer:
        return forecast.answer, None
    ranked = forecast.best_first()
    best = ranked[0] if ranked else forecast.variants[0]
    within = text.duration(forecast.estimate(best, forecast.headline).mean)
    with_what = f"With {best.label}" + ("" if len(forecast.variants) == 1 else ", the quickest of those compared")
    if forecast.reacts:
        left = forecast.estimate(best, UNFINISHED.column).mean
        flows = text.count(forecast.estimate(best, "messages").mean)
        rest = f", of those that finish; {text.tally(left)} of {flows} do not" if left else ""
        return f"{with_what}, 99 % of flows complete within {within}{rest}.", None
    lost = text.percent(forecast.estimate(best, "drop_ratio").mean)
    return f"{with_what}, 99 % of packets arrive within {within}; {lost} are dropped.", None


def _nothing(forecast: Forecast) -> str:
    """The answer where nothing gets through, else none."""
    if forecast.reacts and all(forecast.finished(v) == 0 for v in forecast.variants):
        what = "list" if forecast.of_list else "trace"
        return f"Nothing gets through: no flow of this {what} finishes under any policy."
    if any(value for v in forecast.variants for value in forecast.values(v, "delivered")):
        return ""
    return "Nothing gets through: no packet of this trace is delivered under any policy."


def _chosen(forecast: Forecast) -> Comparison | None:
    """The comparison that the stated answer is about, if it says; else the largest cut of the headline's metric."""
    usable = [c for c in forecast.comparisons if c.change is not None and c.metric in _PHRASES]
    metrics = [c.metric for c in usable]
    metric = forecast.headline if forecast.headline in metrics else next(iter(metrics), None)
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
    lost = _left(found, forecast) if forecast.reacts else _drops(found, forecast)
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


def _by_unfinished(forecast: Forecast) -> tuple[str, Comparison | None] | None:
    """The answer where policies leave different flows unfinished: then their completion times do not compare."""
    loads = [v.load for v in forecast.variants]
    ranked = [v for v in forecast.best_first() if v.load == (1.0 if 1.0 in loads else loads[0])]
    left = {v: forecast.estimate(v, UNFINISHED.column).mean or 0.0 for v in ranked}
    flows = forecast.estimate(forecast.variants[0], "messages").mean or 0.0
    if not differing(list(left.values()), flows):
        return None
    best = forecast.answered if forecast.answered in left else ranked[0]
    baselines = [v for v in ranked if v in forecast.baselines]
    found = forecast.compared(best, forecast.headline)
    against = found.against if found is not None else baselines[0] if baselines else ranked[-1]
    share = f"{text.tally(left[best])} of {text.count(flows)}"
    apart = "Their completion times are of different flows, and do not compare."
    if best in forecast.baselines or against == best:
        return f"Nothing tried leaves fewer flows unfinished than {best.label}: {share}. {apart}", None
    theirs = f"{text.tally(left.get(against, 0.0))} under {against.label}"
    fewest = "the fewest" if left[best] == min(left.values()) else "few"
    return f"{best.label} leaves {fewest} flows unfinished, {share}, against {theirs}. {apart}", found


def _left(found: Comparison, forecast: Forecast) -> str:
    """A sentence on flows that did not finish, if there are any on either side."""
    ours, theirs = (forecast.estimate(v, UNFINISHED.column).mean or 0.0 for v in (found.variant, found.against))
    if not ours and not theirs:
        return ""
    flows = text.count(forecast.estimate(found.variant, "messages").mean)
    return f" Never finished: {text.tally(ours)} of {flows} flows, {text.tally(theirs)} under {found.against.label}."
