"""Starting together: senders say that they are ready, their clocks are compared, and only then is the instant fixed.

A clock is asked for the time over the connection that stays open until the end, several times; the exchange that took
least is believed, to half the time it took: its answer was given somewhere between. Where both machines' clocks are
synchronised (chrony, PTP) and known to be off by less than that, they are taken for equal instead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from segcast.replay.inject import absolute
from segcast.replay.inject.children import Speaker
from segcast.traces.errors import InputError

EXCHANGED, SYNCHRONISED, SAME = "exchange", "synchronised", "same"

_READY_S: Final = 30.0
_ANSWER_S: Final = 20.0
_MOST_EXCHANGES: Final = 40
_LEAST_EXCHANGES: Final = 3
_EXCHANGING_NS: Final = 2_000_000_000
_SPARE_S: Final = 10.0  # the far side ends by itself where nobody can tell it to
_LEAD_NS: Final = 300_000_000
_LEAD_ROUND_TRIPS: Final = 2


class Clock(NamedTuple):
    """How far a machine's clock is ahead of this one's, to how much, and how that is known."""

    ahead_ns: int
    within_ns: int
    known_by: str
    round_trip_ns: int = 0


class SendingProcess(NamedTuple):
    """A sender that has been started: the `streams` that it sends; `remote`, whether it is on another machine;
    `after_ns`, how long after the instant it begins.
    """

    child: Speaker
    streams: tuple[str, ...]
    remote: bool
    after_ns: int


def clocks_of(senders: Sequence[SendingProcess]) -> dict[str, Clock]:
    """The clock of each sender that has said that it is ready. Raises InputError if one does not, or has ended."""
    own_ns = absolute.most_wrong_ns()
    ready = {sender.child.name: _answer(sender.child, _READY_S) for sender in senders}
    return {
        sender.child.name: _compared(sender.child, own_ns, ready[sender.child.name].get("most_wrong_ns"))
        if sender.remote
        else Clock(0, 0, SAME)
        for sender in senders
    }


def begin(senders: Sequence[SendingProcess], clocks: Mapping[str, Clock], limit_ns: int) -> int:
    """Fix the instant, on this machine's clock, and tell it to all. Raises InputError if one learns it too late."""
    slowest_ns = max((clock.round_trip_ns for clock in clocks.values()), default=0)
    instant_ns = time.time_ns() + _LEAD_NS + _LEAD_ROUND_TRIPS * slowest_ns
    for sender in senders:
        start_ns = instant_ns + sender.after_ns + clocks[sender.child.name].ahead_ns
        sender.child.say(f"go {start_ns} {limit_ns / 1e9 + _SPARE_S:.3f}")
    for sender in senders:
        answer = _answer(sender.child, _ANSWER_S)
        if "going" not in answer:
            late_ms = answer.get("late", 0) / 1e6
            raise InputError(
                f"{sender.child.name} was told the instant {late_ms:.0f} ms after it had passed, so the replay was "
                "stopped; run it again"
            )
    return instant_ns


def _compared(child: Speaker, own_ns: int | None, its_ns: int | None) -> Clock:
    best: tuple[int, int] | None = None
    begun_ns, count = time.time_ns(), 0
    while count < _LEAST_EXCHANGES or (count < _MOST_EXCHANGES and time.time_ns() - begun_ns < _EXCHANGING_NS):
        before_ns = time.time_ns()
        child.say("clock")
        there = _answer(child, _ANSWER_S)
        after_ns = time.time_ns()
        ahead_ns = int(there["clock"]) - (before_ns + after_ns) // 2
        best = min(best or (after_ns - before_ns, ahead_ns), (after_ns - before_ns, ahead_ns))
        count += 1
    assert best is not None
    trip_ns, ahead_ns = best
    if own_ns is not None and its_ns is not None and own_ns + its_ns < trip_ns // 2:
        return Clock(0, own_ns + its_ns, SYNCHRONISED, trip_ns)
    return Clock(ahead_ns, trip_ns // 2, EXCHANGED, trip_ns)


def _answer(child: Speaker, patience_s: float) -> dict[str, Any]:
    line = child.hear(patience_s)
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{child.name} answered {line[:100]!r}, which is none of a sender; is python3 there its own?")
    return found
