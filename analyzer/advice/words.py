"""The sentences of advice: the verdict with its figures, its reasons, and what limits it. Plain ASCII.

What makes an answer untrue comes first in it: few flows or seeds, places that were invented, budgets that nobody
keeps, queues that are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segcast.analyzer.advice.decide import IDLE, WORTH, Case, Decision
from segcast.analyzer.advice.document import Evidence, Role, Supply
from segcast.analyzer.answers.budgets import say_budgets
from segcast.analyzer.answers.candidates import Candidate
from segcast.analyzer.answers.card import COMPRESSED, NAMED, names, say_change
from segcast.analyzer.answers.losses import dead_links
from segcast.analyzer.answers.wording import change, change_interval, duration, percent, plain, significant
from segcast.traces.units import say_duration

_PLAIN: Final = {
    "spray": "spray, if receivers tolerate it",
    "hash": "leave ECMP, change the hash",
    "nothing": "nothing to gain",
    "unknown": "cannot tell",
}
SHOWN_NS: Final = 256_000
"""The timeout whose supply is told where none is advised: SAI's."""
_KINDS: Final[tuple[tuple[Role, str, bool | None], ...]] = (
    ("flowlets", "", False),
    ("flowlets", "", True),
    ("spray", "spray", None),
    ("hash", "the hash mended", None),
)
"""What is told of beside what is advised: its role, a noun for it, and whether switches choose."""
_SEEN: Final = 0.0005
_HEADERS: Final = 0.1  # Headers of a smaller share are not worth a word.


def timeout_of(one: Candidate) -> str:
    """A candidate's flowlet timeout."""
    return one.name.removeprefix(f"{one.policy}, ")


def verdict_words(decision: Decision, case: Case) -> str:
    """One of five verdicts."""
    if decision.kind != "flowlets":
        return _PLAIN[decision.kind]
    assert decision.chosen is not None
    return f"flowlets at {_flowlets(decision.chosen, case)}"


def _flowlets(one: Candidate, case: Case) -> str:
    """A timeout, with the policy and who chooses."""
    who = "switches" if one.policy in case.switches else "hosts"
    return f"{timeout_of(one)} (by {who}: {one.policy})"


def where_words(evidence: Evidence) -> str:
    """The load at which it holds."""
    if evidence.reacts and evidence.share is not None:  # a flow that waits for its timer makes any link look idle
        return f"at {evidence.offered} (busiest link offered {percent(evidence.share)} of its rate, evenly spread)"
    return f"at {evidence.offered} (busiest link {percent(evidence.utilisation)} used)"


def budget_words(case: Case) -> str:
    """The budgets, and what is not held to them."""
    said = say_budgets(case.circumstances.slo, case.circumstances.reacts, case.baseline)
    if case.circumstances.slo is None and not case.circumstances.reacts:
        said += " Spray is not held to the first: receivers must put packets in order."
    return said


def answer_words(evidence: Evidence, decision: Decision, case: Case) -> str:
    """The verdict, its figures, and the load at which it holds, in one sentence."""
    told = f"{verdict_words(decision, case)}: {_told(evidence, decision, case)}"
    if decision.why == "budgets":
        told = f"nothing tried keeps the budgets, so {told}"
    if decision.why == "idle" and decision.few:
        told = f"little traffic ({decision.few[0].partition(':')[0]}), and {told}"
    if case.circumstances.dealt and decision.why != "one path":
        told = f"{case.circumstances.dealt}, so who shares links is invented; on these terms, {told}"
    return told[:1].upper() + told[1:]


def _told(evidence: Evidence, decision: Decision, case: Case) -> str:
    where = where_words(evidence)
    if decision.why == "one path":
        return "there is one path between every two ends, whatever the load"
    if decision.why == "nothing received":
        return f"nothing is received under {case.baseline} {where}"
    if decision.why == "idle":
        if decision.waiting is None or decision.waiting >= IDLE:
            return f"hardly anything is sent {where}; {_closest(decision, case)}"
        queued = percent(decision.waiting) if decision.waiting else "nothing"
        delay = duration(decision.base.means.get("delay_p99_ns"))
        return f"next to nothing queues {where}; of the p99 delay of {delay} {queued} is waiting"
    if decision.why == "few":
        return f"{'; '.join(decision.few)}. Seen so far, and no answer yet: {where} {_seen(decision, case)}"
    if decision.why == "traffic":
        return f"{_by_chance(decision, case)} {where}; it would take {' and '.join(decision.needs)}"
    if decision.why == "noise":
        return f"{_noise(decision, case)} {where}; it would take {' and '.join(decision.needs)}"
    if decision.chosen is None:
        return _refused(evidence, decision, case)
    return _chosen(evidence, decision, case)


def _metric(case: Case) -> str:
    return NAMED[case.circumstances.reacts]


def _seen(decision: Decision, case: Case) -> str:
    """What little was seen of the best of those that keep the budgets, where no answer can be given."""
    able = [one for one in decision.there if one.change is not None and not one.broken]
    if not able:
        return f"nothing but {case.baseline} keeps the budgets"
    best = min(able, key=lambda one: (one.change or 0.0, one.name))
    return f"{best.name} changes {_metric(case)} by {say_change(best)}"


def _noise(decision: Decision, case: Case) -> str:
    unclear = [one for one in decision.there if decision.words[one.key] == "unclear"]
    best = min(unclear, key=lambda one: (one.change or 0.0, one.name))
    return f"{best.name} changes {_metric(case)} by {say_change(best)}, which may be chance,"


def _by_chance(decision: Decision, case: Case) -> str:
    """What looks quicker, and may be slower with other traffic."""
    doubted = [one for one in decision.there if one.traffic_high is not None and one.better]
    best = min(doubted, key=lambda one: (one.change or 0.0, one.name))
    told = f"{best.name} changes {_metric(case)} by {say_change(best)}"
    return f"{told}, but with other traffic of this kind by {_other_traffic(best)}, so it may be chance,"


def _other_traffic(one: Candidate) -> str:
    """The bounds of a change that cover other traffic, too."""
    return change_interval(one.traffic_low, one.traffic_high, " %")


def _chosen(evidence: Evidence, decision: Decision, case: Case) -> str:
    chosen, base = decision.chosen, decision.base
    assert chosen is not None
    told = f"{_metric(case)} {say_change(chosen)} against {case.baseline}"
    if chosen.unclear:
        told += ", which may be chance"
    if chosen.traffic_low is not None:
        told += f" ({_other_traffic(chosen)} with other traffic of this kind)"
    if base.broken:
        told = f"it keeps the budgets and {case.baseline} does not, with {', '.join(base.broken)}; {told}"
    elif not case.circumstances.reacts and chosen.mean("drop_ratio") < base.mean("drop_ratio") - _SEEN:
        told += f", drops {percent(chosen.mean('drop_ratio'))} instead of {percent(base.mean('drop_ratio'))}"
    costs = []
    if chosen.mean("reordered_ratio") >= _SEEN and decision.kind != "hash":
        costs.append(f"{percent(chosen.mean('reordered_ratio'))} reordered packets")
    told = f"{told} {where_words(evidence)}" + (f", at {costs[0]}" if costs else "")
    for step in decision.steps[:-1]:
        one = _same(decision, step.best)
        if step.kind == "hash":
            told += f"; a mended hash alone: {say_change(one)}"
        else:
            told += f"; else flowlets at {_flowlets(one, case)}: {say_change(one)}"
    return told


def _refused(evidence: Evidence, decision: Decision, case: Case) -> str:
    """Why nothing is advised, though all was measured."""
    where, metric = where_words(evidence), _metric(case)
    tempting = [one for one in decision.there if one.broken and one.better and one is not decision.base]
    if decision.why == "budgets":
        nearest = min(decision.there, key=lambda one: (len(one.broken), one.value is None, one.value or 0.0, one.name))
        own = f"{case.baseline} has {', '.join(decision.base.broken)}"
        if nearest is decision.base:
            return f"{where} {own}"
        return f"{where} {own}; the nearest, {nearest.name}, has {', '.join(nearest.broken)}"
    if tempting:
        top = min(tempting, key=lambda one: (one.change or 0.0, one.name))
        broken = ", ".join(top.broken)
        return f"what is quicker breaks a budget {where}: {top.name}, {metric} {say_change(top)}, has {broken}"
    worth = f"by {percent(WORTH['flowlets'])} or more (spray {percent(WORTH['spray'])})"
    return f"nothing tried lowers {metric} {worth} {where}; {_closest(decision, case)}"


def _closest(decision: Decision, case: Case) -> str:
    """What comes nearest to a gain."""
    able = [one for one in decision.there if one is not decision.base and one.change is not None and not one.broken]
    if not able:
        return "all else breaks a budget"
    best = min(able, key=lambda one: (one.change or 0.0, one.name))
    return f"the closest, {best.name}: {_metric(case)} {say_change(best)}"


def _same(decision: Decision, one: Candidate) -> Candidate:
    """A candidate of a step as it stands against the baseline."""
    return next(each for each in decision.there if each.key == one.key)


def reasons_of(evidence: Evidence, decision: Decision, case: Case) -> list[str]:
    """Why, from the numbers; what decided first."""
    if decision.why == "one path":
        return ["no flow has a choice of paths"]
    others = _others(decision, case)
    reasons = [_supply_reason(evidence, decision), _skew_reason(evidence, case)]
    hashed = _hash_reason(evidence)
    reasons = [hashed, *reasons] if decision.kind == "hash" else [*reasons, hashed]
    if decision.why == "idle" or not others:
        return reasons
    return [reasons[0], others, *reasons[1:]] if decision.kind == "hash" else [others, *reasons]


def _others(decision: Decision, case: Case) -> str:
    """The best of each remedy that is not advised, and why it is not."""
    found = []
    advised = None if decision.chosen is None else decision.chosen.key
    for role, noun, switches in _KINDS:
        own = [
            one
            for one in decision.there
            if case.roles[one.policy] == role
            and one.key != advised
            and (switches is None or switches is (one.policy in case.switches))
        ]
        if not own or (_taken(decision, role) and switches in (None, _by_switches(decision, case))):
            continue
        fit = [one for one in own if not one.broken and one.change is not None] or own
        best = min(fit, key=lambda one: (one.change is None, one.change or 0.0, one.name))
        word = decision.words[best.key]
        why = ", ".join(best.broken) if best.broken else {"better": _no_better(decision)}.get(word, word)
        told = f"{noun or best.name} {say_change(best)} against {case.baseline}"
        if role == "spray" and best.mean("displaced_ratio") >= _SEEN and not best.broken:
            told += f" with {percent(best.mean('displaced_ratio'))} displaced by three or more"
        found.append(f"{told} ({why})")
    alike = [one for one in decision.alike if one.policy == (decision.chosen and decision.chosen.policy)]
    if alike and decision.chosen is not None and decision.kind == "flowlets":
        spread = sorted((one for one in (*alike, decision.chosen) if one.key[2]), key=lambda one: one.key[2] or 0)
        if len(spread) > 1:
            found.insert(0, f"{timeout_of(spread[0])} to {timeout_of(spread[-1])} cannot be told from it")
    return "; ".join(found)


def _taken(decision: Decision, role: Role) -> bool:
    return any(step.kind == role for step in decision.steps)


def _by_switches(decision: Decision, case: Case) -> bool:
    """Whether the flowlets that a step took are moved by switches."""
    return any(step.best.policy in case.switches for step in decision.steps if step.kind == "flowlets")


def _no_better(decision: Decision) -> str:
    """Why something better than the baseline is not advised."""
    if decision.kind == "unknown":
        return "better, as far as this traffic says"
    return "better than now, but not enough better than what is advised"


def supply_at(evidence: Evidence, timeout_ns: int | None) -> Supply:
    """The row of a timeout; without one that of SAI's."""
    wanted = SHOWN_NS if timeout_ns is None else timeout_ns
    return next(each for each in evidence.supply if each.timeout_ns == wanted)


def _supply_reason(evidence: Evidence, decision: Decision) -> str:
    chosen = decision.chosen
    supply = supply_at(evidence, None if chosen is None else chosen.key[2])
    which = "" if chosen is not None and chosen.key[2] is not None else " (SAI's default)"
    return (
        f"at {say_duration(supply.timeout_ns)}{which} {percent(supply.movable)} of the bytes follow a longer gap and "
        f"could move: {plain(supply.per_flow)} flowlets a flow, {plain(supply.per_elephant)} an elephant"
    )


def _skew_reason(evidence: Evidence, case: Case) -> str:
    skew = evidence.skew
    seen = "" if skew.measured_rtt_ns is None else f" ({duration(skew.measured_rtt_ns)} in the trace)"
    said = f"paths differ by {duration(skew.base_ns)} when empty"
    if skew.p50_ns is not None and skew.p99_ns is not None:
        said += (
            f"; as queues were under {case.baseline}, a packet's path was slower than the fastest by "
            f"{duration(skew.p50_ns)} (p50), {duration(skew.p99_ns)} (p99)"
        )
    return f"{said}; round trips take {duration(skew.round_trip_ns)} when empty{seen}"


def _hash_reason(evidence: Evidence) -> str:
    found = evidence.hash
    said = (
        f"the hash of the {found.fields} sees {found.inputs:,} values ({significant(found.effective)} by bytes) of "
        f"{found.flows:,} flows: the busiest link gets {plain(found.uneven)} times an even share, with a perfect hash "
        f"{plain(found.perfect)}"
    )
    if found.mend is not None:
        return f"{said}; {say_mend(found.mend)} would make it {plain(found.mended)}"
    if found.uneven > found.perfect_high and found.uneven > 1.1 * found.perfect:
        return f"{said}; no other fields or seeds mend that"
    return f"{said}, so another hash mends nothing"


def say_mend(mend: dict[str, str]) -> str:
    """Changes of parameters in words."""
    return ", ".join(f"{name} = {value}" for name, value in mend.items())


def limits_of(evidence: Evidence, decision: Decision, case: Case, warnings: Sequence[str], covers: str) -> list[str]:
    """What limits the answer, the weightiest first.

    `warnings` are what is doubtful about the traffic, and `covers` says what intervals do.
    """
    if decision.why == "one path":
        return []
    limits = []
    if decision.few and decision.why != "few":
        limits.append("; ".join(decision.few))
    if case.circumstances.dealt:
        limits.append(
            "who shares links is not known until the prefixes of hosts are given ([[attachments]]; of parallel paths "
            "network.left and network.right)"
        )
    if decision.kind == "nothing":
        limits.append(f"it holds {where_words(evidence)}: another load may answer otherwise (--load)")
    if decision.base.compressed and not evidence.reacts:
        limits.append(COMPRESSED[:1].lower() + COMPRESSED[1:].rstrip("."))
    if decision.kind == "spray":
        limits.append("receivers must take packets out of order: no segment taken for lost, nor work done twice")
    worse = _aside(decision)
    if worse:
        limits.append(worse)
    dead = dead_links(decision.there, case.circumstances)
    if dead:
        limits.append(dead.rstrip("."))
    if evidence.srv6 >= _HEADERS:
        limits.append(
            f"what hosts steer is {percent(evidence.srv6)} larger for SRv6's headers, what switches move is not"
        )
    limits += warnings
    if not evidence.reacts:
        limits.append(
            "packets leave as captured: nobody slows down or sends again; --transport cubic lets senders react"
        )
    limits.append(covers[:1].lower() + covers[1:].rstrip("."))
    if any(one.policy in case.switches for one in decision.there if one is not decision.base):
        limits.append(
            "SONiC's and Junos' switches choose by load as conga does here, but not by the same measure of it"
        )
    return limits


def _aside(decision: Decision) -> str:
    """What gets worse by what is advised."""
    chosen, base = decision.chosen, decision.base
    if chosen is None:
        return ""
    ours, theirs = chosen.mean("delay_p50_ns"), base.mean("delay_p50_ns")
    if ours <= 1.05 * theirs or not theirs:
        return ""
    return f"the median delay rises from {duration(theirs)} to {duration(ours)} ({change(ours / theirs - 1)})"


__all__ = [
    "answer_words",
    "budget_words",
    "limits_of",
    "names",
    "reasons_of",
    "say_mend",
    "supply_at",
    "verdict_words",
    "where_words",
]
