"""What a report says in words: how packets come about, and the decision card. Plain ASCII; `text.typeset` adorns it."""

from __future__ import annotations

from segcast.reports import text
from segcast.reports.forecast.data import Comparison, Forecast
from segcast.reports.forecast.metrics import UNFINISHED


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


def pooled_words(forecast: Forecast) -> str | None:
    """What p99 and p99.9 are of where several seeds are pooled; None where they are not."""
    if not forecast.pooled or forecast.most_seeds < 2:
        return None
    what = "completion times are of all seeds' flows" if forecast.reacts else "delay are of all seeds' packets"
    return f"p99 and p99.9 of {what} together, their intervals by a jackknife over the seeds."


def answer_found(forecast: Forecast) -> Comparison | None:
    """The comparison whose numbers stand beside the answer, if there is one."""
    about = forecast.answered
    if about is None:
        return None
    metrics = [forecast.headline, *(c.metric for c in forecast.comparisons if c.variant == about)]
    return next((c for metric in metrics if (c := forecast.compared(about, metric)) is not None), None)


def card(forecast: Forecast) -> list[tuple[str, str]]:
    """The decision card, line by line: what is said, and under which word; the first is the answer."""
    decision = forecast.decision
    lines = [("Do", decision.do), ("Because", decision.because)]
    lines += [("But", sentence) for sentence in decision.but]
    return [(word, said) for word, said in [*lines, ("Within", decision.budgets)] if said]
