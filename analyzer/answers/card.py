"""The decision card: what to do, because of what, and what speaks against it; the sentences of page and terminal.

Plain ASCII. Every number is rounded by `wording`, as in the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from segcast.analyzer.answers.budgets import more_dropped, say_value
from segcast.analyzer.answers.candidates import HARDLY, Candidate, Circumstances
from segcast.analyzer.answers.evidence import FEWEST_SEEDS, few_periods, seeds_needed
from segcast.analyzer.answers.losses import LOSSY, SEEN, dead_links, dropping, drops, overflow, unfinished
from segcast.analyzer.answers.standings import Span, Standing, spans
from segcast.analyzer.answers.wording import (
    TENFOLD,
    change,
    change_interval,
    duration,
    percent,
    tally,
)

NAMED: Final = {False: "p99 delay", True: "p99 flow completion time"}
_MOST_SPANS: Final = 3
_MOST_NAMES: Final = 3


def say_change(one: Candidate) -> str:
    """A change with its interval: `-31 % (-35 to -27)`."""
    bounds = change_interval(one.low, one.high)
    return change(one.change) + (f" ({bounds})" if bounds else "")


def names(chosen: Sequence[Candidate]) -> str:
    """Those who are alike, by name: `inflight, 100 us`, `round-robin, 50 us or inflight, 50 us (alike)`."""
    if len(chosen) == 1:
        return chosen[0].name
    by_policy: dict[str, list[Candidate]] = {one.policy: [] for one in chosen}
    for one in sorted(chosen, key=lambda one: one.key[2] or 0):  # timeouts rise; policies stay as they come
        by_policy[one.policy].append(one)
    if len(by_policy) > _MOST_NAMES:
        return f"{chosen[0].name} ({len(chosen) - 1} others alike)"
    timeouts = [tuple(one.name.removeprefix(f"{policy}, ") for one in ones) for policy, ones in by_policy.items()]
    if len(set(timeouts)) == 1 and len(by_policy) > 1 and len(timeouts[0]) == 1:
        return f"{_either(list(by_policy))}, {timeouts[0][0]} (alike)"
    return f"{_either([f'{policy} at {_either(t)}' for policy, t in zip(by_policy, timeouts, strict=True)])} (alike)"


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def do(found: Sequence[Span], circumstances: Circumstances, few: Sequence[str]) -> str:
    """What to do, and for which loads; first of all that there is too little to tell, if so."""
    return _said(found, [_clause(span, circumstances) for span in found], few)


def brief(found: Sequence[Span], circumstances: Circumstances, few: Sequence[str]) -> str:
    """The same in short, for where it is long: who is to be used, what that changes and what it costs."""
    return _said(found, [_short(span, circumstances) for span in found], few)


def _said(found: Sequence[Span], clauses: Sequence[str], few: Sequence[str]) -> str:
    """Clauses of choices as a sentence."""
    if len(found) == 1:
        said = _one(found[0], clauses[0])
    else:
        placed = [_placed(place, found, clauses[place]) for place in range(len(found))]
        if len(placed) > _MOST_SPANS:
            placed = [*placed[:_MOST_SPANS], f"and {len(placed) - _MOST_SPANS} more changes over higher loads"]
        said = "; ".join(placed)
        said = said[:1].upper() + said[1:]
    return hedged(f"{said}.", few)


def hedged(said: str, few: Sequence[str]) -> str:
    """A sentence behind what is too few to tell it, if anything is."""
    if not few:
        return said
    return f"Too little to tell: {'; '.join(few)}. Seen so far, and no answer yet: {said[:1].lower()}{said[1:]}"


def _one(span: Span, clause: str) -> str:
    """A choice that holds at all loads."""
    if len(span.loads) == 1:
        return clause[:1].upper() + clause[1:]
    head, _, rest = clause.partition(": ")
    first, last = span.standings[0].offered, _end(span)
    if last[:1].isdigit():
        first = first.removeprefix("load ")
    held = f"{head} at every load ({first} to {last})"
    held = f"{held}: {rest}" if rest else held
    return held[:1].upper() + held[1:]


def _end(span: Span) -> str:
    """The last load of a span, whose kind the first has said."""
    first, last = span.standings[0].offered, span.standings[-1].offered
    kind = first.partition(" ")[0]
    return last.removeprefix(f"{kind} ") if kind in ("load", "growth") else last


def _placed(place: int, spans: Sequence[Span], clause: str) -> str:
    """A choice, and the loads for which it holds."""
    loads = [standing.offered for standing in spans[place].standings]
    if place == 0 and len(loads) > 1:
        where = f"up to {loads[-1]}"
    elif place == len(spans) - 1 and len(loads) > 1:
        where = f"from {loads[0]} up"
    elif len(loads) > 1:
        where = f"from {loads[0]} to {_end(spans[place])}"
    else:
        where = f"at {loads[0]}"
    return f"{where} {clause}"


def _clause(span: Span, circumstances: Circumstances) -> str:
    """What to do at these loads, and what it does: `use inflight, 100 us: p99 delay -31 % against ecmp`."""
    first, metric = span.first, NAMED[circumstances.reacts]
    if first.verdict == "lost":
        return "nothing gets through under any policy"
    if first.verdict == "alone":
        return f"nothing to choose between: only {first.chosen[0].policy} was run"
    if first.verdict == "none":
        nearest = first.closest
        told = f": the nearest, {nearest.name}, has {', '.join(nearest.broken)}" if nearest is not None else ""
        return f"nothing tried keeps the budgets{told}"
    if first.verdict == "stay":
        return f"{_stay(span, circumstances)}{dropping(span, circumstances)}"
    ones = [standing.chosen[0] for standing in span.standings]
    why = ""
    if any(standing.verdict == "only" for standing in span.standings):
        why = _only(span, circumstances)
    told = f"{metric} {_range(ones)} against {circumstances.baseline}" if ones[0].change is not None else metric
    if circumstances.reacts and circumstances.slo is None and why:
        told = "completion times are of different flows, and do not compare"
    return f"use {names(span.first.chosen)}: {why}{told}{_cost(ones, circumstances)}"


def _short(span: Span, circumstances: Circumstances) -> str:
    """What to do at these loads, its change from the least to the most, and what must not be left unsaid."""
    first = span.first
    if first.verdict == "stay":
        return f"stay on {names(first.chosen)}{dropping(span, circumstances)}"
    if first.verdict == "none":
        return "nothing tried keeps the budgets"
    if not first.picks:
        return _clause(span, circumstances)
    ones = [standing.chosen[0] for standing in span.standings]
    changes = [one.change for one in ones if one.change is not None]
    # Where the baseline is out of the question, completion times may be of different flows.
    told = bool(changes) and all(standing.verdict == "use" for standing in span.standings)
    by = f": {NAMED[circumstances.reacts]} {_between(changes)} against {circumstances.baseline}" if told else ""
    return f"use {names(first.chosen)}{by}{_cost(ones, circumstances)}"


def _only(span: Span, circumstances: Circumstances) -> str:
    """That the baseline is out of the question, and why."""
    out = next(standing for standing in span.standings if standing.verdict == "only")
    base, ours = out.baseline, out.chosen[0]
    if base is None:
        return ""
    if circumstances.reacts and circumstances.slo is None:
        flows = tally(ours.means.get("messages"))
        return (
            f"it leaves the fewest flows unfinished, {tally(ours.mean('unfinished'))} of {flows}, against "
            f"{tally(base.mean('unfinished'))} under {circumstances.baseline}; "
        )
    return f"it keeps the budgets and {circumstances.baseline} does not, with {', '.join(base.broken)}; "


def _stay(span: Span, circumstances: Circumstances) -> str:
    """Why nothing is to be gained."""
    first = span.first
    stay = f"stay on {names(first.chosen)}"
    near = [standing.closest for standing in span.standings if standing.closest is not None]
    metric = NAMED[circumstances.reacts]
    if circumstances.paths < 2:
        return f"{stay}: there is one path between every two ends, so there is nothing to balance"
    tempting = [standing.tempting for standing in span.standings if standing.tempting is not None]
    if not near:
        out = tempting or [standing.outside for standing in span.standings if standing.outside is not None]
        if not out:
            return f"{stay}: all else breaks a budget"
        told, broken = f"{metric} {_range(out)}", ", ".join(out[0].broken)
        if tempting:
            return f"{stay}: {out[0].name} would be quicker, {told}, but breaks a budget: {broken}"
        return f"{stay}: all else breaks a budget; the closest, {out[0].name}: {told}, with {broken}"
    nothing = "nothing within the budgets" if tempting else "nothing tried"
    if len(span.standings) > 1:
        changes = [one.change for one in near if one.change is not None]
        most = f"{nothing} is clearly better" if any(one.unclear for one in near) else f"{nothing} beats it"
        told = f"{stay}: {most}; the closest changes {metric} by {_between(changes)}"
        if not tempting:
            return told
        most_of_all = min(tempting, key=lambda one: one.change or 0.0)
        broken = ", ".join(most_of_all.broken)
        where = f"{most_of_all.name} would be quicker at {most_of_all.offered}, {say_change(most_of_all)}"
        return f"{told}; {where}, but breaks a budget: {broken}"
    (one,) = near
    if one.change is None:
        return f"{stay}: no change can be told; {one.name} has a {metric} of {duration(one.value)}"
    wide = ", too wide to tell" if one.unclear and (one.high or 0.0) >= TENFOLD else ""
    closest = f"the closest, {one.name}: {metric} {say_change(one)}{wide}"
    if abs(one.change) < HARDLY:
        return f"{stay}: {nothing} makes a difference; {closest}"
    return f"{stay}: no clear difference; {closest}" if one.unclear else f"{stay}: {nothing} beats it; {closest}"


def _between(changes: Sequence[float]) -> str:
    """Changes over loads, from the least to the greatest."""
    if not changes:
        return change(None)
    low, high = change(min(changes)), change(max(changes))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _range(ones: Sequence[Candidate]) -> str:
    """The change at one load with its interval, or at several where it is least and most."""
    if len(ones) == 1:
        return say_change(ones[0])
    known = [one for one in ones if one.change is not None]
    least, most = max(known, key=lambda one: one.change or 0.0), min(known, key=lambda one: one.change or 0.0)
    if change(least.change) == change(most.change):
        return change(most.change)
    return f"{change(least.change)} ({least.offered}) to {change(most.change)} ({most.offered})"


def _cost(ones: Sequence[Candidate], circumstances: Circumstances) -> str:
    """What the choice costs: reordered packets, and dropped ones where they are many and nobody sends them again."""
    upto = "up to " if len(ones) > 1 else ""
    reordered = max(one.mean("reordered_ratio") for one in ones)
    dropped = 0.0 if circumstances.reacts else max(one.overflow for one in ones)
    told = [f"{percent(reordered)} reordered"] * (reordered >= SEEN) + [f"{percent(dropped)} dropped"] * (
        dropped >= LOSSY
    )
    return f", at {upto}{f' and {upto}'.join(told)} packets" if told else ""


def because(standing: Standing, there: Sequence[Candidate], circumstances: Circumstances, several: bool) -> str:
    """What stands behind it, in numbers of one load."""
    one, base = standing.spoken, standing.baseline
    if one is None or standing.verdict == "lost":
        return ""
    where = f"At {standing.offered}, " if several else ""
    what = "99 % of flows complete" if circumstances.reacts else "99 % of packets arrive"
    if not circumstances.reacts and max(each.mean("drop_ratio") for each in (one, base or one)) >= SEEN:
        what = "99 % of the packets that arrive do so"
    value = duration(one.value)
    if standing.verdict in ("alone", "none") or base is None:
        told = f"{where}{what} within {value} under {one.name}"
    elif standing.picks:
        told = f"{where}{what} within {value} instead of {duration(base.value)}"
    else:
        told = f"{where}{what} within {duration(base.value)} under {base.name}"
        told += f", of which queueing is {duration(base.means.get('queue_p99_ns'))}" if not circumstances.reacts else ""
    busiest = (base or one).means.get("utilisation_max")
    if busiest is not None:
        under = "" if told.endswith(f"under {(base or one).name}") else f" under {(base or one).name}"
        told += f"; the busiest link carries {percent(busiest)} of its rate{under}"
    if not circumstances.reacts and base is not None and more_dropped(base.mean("drop_ratio"), one.mean("drop_ratio")):
        told += f"; drops fall from {percent(base.mean('drop_ratio'))} to {percent(one.mean('drop_ratio'))} of packets"
    told += _traffic_too(standing.beside)
    waits = [one.means.get("queue_p999_ns") for one in there]
    if len(there) > 1 and waits and all(wait == 0 for wait in waits):
        told += "; not one packet in a thousand waits in a queue, so only lengths of paths and headers differ"
    return f"{told[:1].upper()}{told[1:]}."


def but(
    verdicts: Sequence[Standing], about: Standing, there: Sequence[Candidate], circumstances: Circumstances
) -> tuple[str, ...]:
    """What speaks against believing or doing it, most of all first; sentences."""
    return tuple(sentence for sentence in _against(verdicts, about, there, circumstances) if sentence)


def _against(
    verdicts: Sequence[Standing], about: Standing, there: Sequence[Candidate], circumstances: Circumstances
) -> Iterator[str]:
    if circumstances.gap:
        yield f"{circumstances.gap[:1].upper()}{circumstances.gap[1:]}."
    if circumstances.dealt:
        yield f"{circumstances.dealt[:1].upper()}{circumstances.dealt[1:]}: who shares which link is invented."
    several = len(verdicts) > 1
    yield _other_traffic(about)
    yield unfinished(about, several) if circumstances.reacts else drops(about, several)
    yield dead_links(there, circumstances)
    if not circumstances.reacts:
        yield overflow(about, there, several)
    one = about.spoken
    if about.picks and one is not None:
        displaced = one.mean("displaced_ratio")
        if displaced >= SEEN and not circumstances.reacts:
            yield f"{percent(displaced)} of packets are displaced by three or more, which TCP takes for losses."
        yield _worse(about, circumstances)
        yield _elsewhere(one, there)
    yield _unclear(verdicts, there, circumstances)
    if not circumstances.reacts:
        yield few_periods(verdicts)
    told = not about.picks and any(about.load in span.loads and len(span.loads) > 1 for span in spans(verdicts))
    if about.tempting is not None and (about.picks or (about.closest is not None and not told)):
        tempting = about.tempting
        at = f" at {tempting.offered}" if several else ""
        broken = ", ".join(tempting.broken)
        yield f"{tempting.name} would be quicker{at}, {say_change(tempting)}, but breaks a budget: {broken}."
    if not circumstances.reacts and any(one.compressed for one in there):
        yield COMPRESSED


def _other_traffic(about: Standing) -> str:
    """That other traffic could turn the change around, if it could."""
    one = about.beside
    if one is None or one.traffic_low is None or one.traffic_high is None:
        return ""
    if not one.traffic_low <= 0 <= one.traffic_high:
        return ""
    bounds = change_interval(one.traffic_low, one.traffic_high, " %")
    return (
        f"With other traffic of this kind the change by {one.name} may be {bounds}: this trace's own chance is in it."
    )


def _traffic_too(one: Candidate | None) -> str:
    """The change with other traffic, where that is clear of 0, too."""
    if one is None or one.traffic_low is None or one.traffic_high is None or one.traffic_low <= 0 <= one.traffic_high:
        return ""
    return f"; with other traffic of this kind {one.name} is {change_interval(one.traffic_low, one.traffic_high, ' %')}"


COMPRESSED: Final = (
    "Loads play the same packets faster, and pauses inside flows shrink with them: what changes with a load may be "
    "that, not more traffic (growth by flows adds connections)."
)


_ASIDE: Final = {
    False: (("delay_p50_ns", "the median delay"), ("slowdown_p99", "p99 slowdown")),
    True: (
        ("fct_p50_ns", "the median completion time"),
        ("fct_mean_ns", "the mean"),
        ("slowdown_p99", "p99 slowdown"),
        ("retransmissions", "segments sent again"),
    ),
}
_WORTH: Final = 0.05  # Changes below it are not worth more seeds.
_RISE: Final = 1.05  # What rises by less is not worth a word.


def _worse(about: Standing, circumstances: Circumstances) -> str:
    """What gets worse by the choice while its own metric gets better."""
    one, base = about.spoken, about.baseline
    if one is None or base is None or one is base:
        return ""
    told = []
    for column, what in _ASIDE[circumstances.reacts]:
        ours, theirs = one.mean(column), base.mean(column)
        if ours > _RISE * theirs and say_value(column, ours) != say_value(column, theirs):
            told.append(f"{what} {say_value(column, ours)} instead of {say_value(column, theirs)}")
    return f"Worse with {one.name}: {', '.join(told)}." if told else ""


def _unclear(verdicts: Sequence[Standing], there: Sequence[Candidate], circumstances: Circumstances) -> str:
    """How many seeds would tell what may be worth knowing, where nothing is clear."""
    compared = sum(one.policy != circumstances.baseline for one in there)
    found = []
    for standing in verdicts:
        near = standing.closest if standing.verdict == "stay" else None
        if near is None or not near.unclear or abs(near.change or 0.0) < _WORTH or len(near.by_seed) < FEWEST_SEEDS:
            continue
        seeds = seeds_needed(near, standing.baseline, compared)
        if seeds is not None and seeds > len(near.by_seed):
            found.append((near.change or 0.0, seeds, near, standing))
    if not found:
        return ""
    moved, seeds, near, standing = min(found, key=lambda one: one[0])
    where = f" at {standing.offered}" if len(verdicts) > 1 else ""
    return f"{change(moved)} by {near.name}{where} may be chance: about {seeds:,} seeds would tell a change so large."


def _elsewhere(one: Candidate, there: Sequence[Candidate]) -> str:
    """At which loads the same choice is clearly worse than the baseline."""
    worse = [c for c in there if c.key == one.key and c.low is not None and c.low > 0 and (c.change or 0.0) >= HARDLY]
    if not worse:
        return ""
    most = max(worse, key=lambda c: (c.change or 0.0, -c.load))
    others = f", and worse at {len(worse) - 1} other loads" if len(worse) > 1 else ""
    return f"{one.name} is worse at {most.offered}: {say_change(most)}{others}."
