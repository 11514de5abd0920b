"""Whether a forecast held, in a word, in a sentence, and what speaks most against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from segcast.replay.validate.compare import FAILS, HOLDS, NOTHING_QUEUED, SAYS_NOTHING
from segcast.replay.validate.fates import MOST_BASE_NS
from segcast.replay.validate.ranking import P99, ranking, ranking_words, upset
from segcast.replay.validate.tolerances import Tolerances

AS_SENT: Final = "as-sent"
END_TO_END: Final = "end-to-end"

Judge = Literal["as-sent", "end-to-end", "both"]
Row = dict[str, Any]

_NAMED: Final = 6
_MEANT: Final = {
    AS_SENT: "the forecast of packets as they were sent",
    END_TO_END: "the forecast",
    "both": "the forecast, as planned and as sent,",
}


def verdict(
    policies: Sequence[dict[str, Any]], comparisons: Sequence[Row], tolerances: Tolerances, judge: Judge
) -> dict[str, Any]:
    """The fields of `ValidationDocument` that say whether the forecast held.

    It does if in each comparison that is judged some checks hold, none fails, no base delay is absurd, and the order of
    policies survives.
    """
    wanted = (AS_SENT, END_TO_END) if judge == "both" else (judge,)
    judged = [row for row in comparisons if row["verdict"] is not None and row["comparison"] in wanted]
    others = [row for row in comparisons if row["verdict"] is None or row["comparison"] not in wanted]
    held, failed, silent = ([row for row in judged if row["verdict"] == said] for said in (HOLDS, FAILS, SAYS_NOTHING))
    mute = [name for name in wanted if all(row["comparison"] != name for row in held)]
    values = {
        policy["policy"]: P99(*(policy["delay_p99_ns"][name] for name in ("forecast", AS_SENT, "measured")))
        for policy in policies
        if None not in policy["delay_p99_ns"].values()
    }
    order = ranking(values, tolerances, sent=not any(policy["not_sent"] for policy in policies))
    bases = [base["delay_ns"] for policy in policies for base in policy["base_delay_ns"].values()]
    apart = sum(abs(delay_ns) > MOST_BASE_NS for delay_ns in bases)
    return {
        "holds": not mute and not failed and not apart and not upset(order),
        "judged": judge,
        "checks": {"judged": len(judged), "held": len(held), "failed": len(failed), "silent": len(silent)},
        "answer": _answer(judge, (len(held), len(failed), len(silent)), mute, apart, upset(order), policies, silent),
        "ranking": order,
        "ranking_words": ranking_words(order, values),
        "disagreements": sorted(held + failed, key=lambda row: (row["holds"], -_times(row)))[:_NAMED],
        "unjudged": sorted(filter(_tolerated, [*others, *silent]), key=lambda row: -_times(row))[:_NAMED],
        "findings": [f"{policy['policy']}: {finding}" for policy in policies for finding in policy["findings"]],
    }


def silent_paths(rows: Sequence[Row]) -> str | None:
    """A finding of the paths of one measurement that never queued, though they were judged; None if there are none."""
    paths = sorted({row["path_id"] for row in rows if row["comparison"] == AS_SENT and _unqueued(row)})
    if not paths:
        return None
    names = ", ".join(map(str, paths))
    return f"no packet of path{'' if len(paths) == 1 else 's'} {names} queued: this says nothing about the model"


def _unqueued(row: Row) -> bool:
    return bool(row["metric"] == "residual_p50_ns" and row["why"] == NOTHING_QUEUED)


def _tolerated(row: Row) -> bool:
    """Whether a row has a tolerance of its path."""
    return bool(row["allowed"]) and row["path_id"] is not None


def _times(row: Row) -> float:
    """By how many times the tolerance a row is off."""
    return float(np.inf) if not row["allowed"] else abs(row["error"]) / float(row["allowed"])


def _answer(
    judge: Judge,
    counts: tuple[int, int, int],
    mute: Sequence[str],
    apart: int,
    disordered: bool,
    policies: Sequence[dict[str, Any]],
    silent_rows: Sequence[Row],
) -> str:
    """The verdict as a sentence, the worst first."""
    what = _MEANT[judge]
    held, failed, silent = counts
    more = f"; {silent} say nothing" if silent else ""
    if not held + failed + silent:
        return f"Nothing could be judged: no path has enough packets for {what}"
    if failed:
        return f"{failed} of {held + failed} checks fail: {what} is off by more than the tolerances{more}"
    if apart:
        return f"Not to be believed: {apart} base delays are more than a second: of another run, or clocks that differ"
    if mute:
        unsent = next((policy["not_sent"] for policy in policies if policy["not_sent"]), None)
        if END_TO_END in mute and unsent:
            why = f"the schedule was not sent ({unsent}), so this says nothing of the planner"
        elif any(row["why"] == NOTHING_QUEUED for row in silent_rows):
            why = "no packet of these paths queued, so this says nothing about the model"
        else:
            why = "no prediction varies by more than the tolerances"
        if held:
            said = {AS_SENT: "as sent", END_TO_END: "end to end"}[mute[0]]
            return f"{held} checks hold, but {said} none says anything: {why}"
        return f"All {silent} checks say nothing: {why}"
    said = f"{what[:1].upper()}{what[1:]} holds in all {held} checks" + (f" that say something{more}" if silent else "")
    return said + (", but the order of policies does not" if disordered else "")
