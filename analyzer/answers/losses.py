"""What a decision says of packets that are lost, and of flows that never finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segcast.analyzer.answers.budgets import more_dropped
from segcast.analyzer.answers.candidates import Candidate, Circumstances
from segcast.analyzer.answers.standings import Span, Standing
from segcast.analyzer.answers.wording import percent, tally

SEEN: Final = 0.0005  # Shares below half a thousandth are not worth a word.
LOSSY: Final = 0.01  # From here on queues overflow, and what delays of the rest say is not what senders would see.


def dropping(span: Span, circumstances: Circumstances) -> str:
    """How much is dropped by who stays, where that is much."""
    most = max((standing.chosen[0].overflow for standing in span.standings if standing.chosen), default=0.0)
    if circumstances.reacts or most < LOSSY:
        return ""
    return f"; {'up to ' if len(span.standings) > 1 else ''}{percent(most)} of packets are dropped"


def drops(about: Standing, several: bool) -> str:
    """That more packets are dropped, so that delay alone misleads."""
    one, base = about.spoken, about.baseline
    if one is None or base is None or one is base:
        return ""
    ours, theirs = one.mean("drop_ratio"), base.mean("drop_ratio")
    if not more_dropped(ours, theirs):
        return ""
    where = f" at {about.offered}" if several else ""
    return f"Drops rise from {percent(theirs)} to {percent(ours)} of packets with {one.name}{where}."


def overflow(about: Standing, there: Sequence[Candidate], several: bool) -> str:
    """That queues overflow, and under whom the least: then delays are those of the buffers, of what got through."""
    one = about.chosen[0] if about.chosen else about.closest
    if one is None or one.overflow < LOSSY:
        return ""
    where = f" at {about.offered}" if several else ""
    told = f"Full queues drop {percent(one.overflow)} of packets under {one.name}{where}"
    least = min((each for each in there if each.load == one.load), key=lambda each: (each.overflow, each.name))
    if least is not one and more_dropped(one.overflow, least.overflow):
        told += f", at the least {percent(least.overflow)}, under {least.name}"
    return f"{told}: delays are of what arrives, and senders that react ([transport]) would slow down."


def unfinished(about: Standing, several: bool) -> str:
    """Flows that never finish are in no completion time."""
    one, base = about.spoken, about.baseline
    if one is None or not one.mean("unfinished") + (base or one).mean("unfinished"):
        return ""
    where = f" at {about.offered}" if several else ""
    told = f"{tally(one.mean('unfinished'))} of {tally(one.means.get('messages'))} flows never finish under {one.name}"
    theirs = "" if base is None or base is one else f", {tally(base.mean('unfinished'))} under {base.name}"
    return f"{told}{theirs}{where}; they are in no completion time."


def dead_links(there: Sequence[Candidate], circumstances: Circumstances) -> str:
    """How much is lost at links that are down, and why, if it is worth a word."""

    def lost(one: Candidate) -> float:
        return one.mean("dropped_dead_link") / (one.mean("packets") or 1.0)

    most = max(there, key=lambda one: (lost(one), one.name, -one.load), default=None)
    if most is None or lost(most) < SEEN:
        return ""
    before = most.mean("dropped_undetected") / most.mean("dropped_dead_link")
    told = f"{percent(lost(most))} of packets are lost at links that are down under {most.name}, not in queues"
    if before > 0.995:
        return f"{told}; all of these before routing knew."
    told += f", {'all' if before < 0.005 else percent(1 - before)} of these after routing knew"
    if most.policy in circumstances.unlearning:
        told += ": its hosts never learn of it (steering.suspect_after is 0)"
    return f"{told}."
