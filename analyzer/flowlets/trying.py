"""Which flowlet timeouts are worth trying, of what the traffic alone says; what a network makes of them is another's.

Short timeouts let more move, and let more packets overtake each other. So: the shortest whose flowlets are not mostly
single packets, which would be spraying; the longest at which half of the bytes can move, and a quarter; one between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.answers.wording import percent, plain
from segcast.analyzer.flowlets.supply import FlowletSupply
from segcast.traces.units import write_duration

LADDER_US: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
FEWEST_PACKETS: Final = 2.0
"""Flowlets of fewer packets on average are mostly single packets."""
MOVABLE: Final = (0.5, 0.25)
LEAST_MOVABLE: Final = 0.05
_APART: Final = 10.0


class Trial(NamedTuple):
    """A timeout: the share of bytes that follow a longer gap, and packets a flowlet."""

    timeout_ns: int
    movable: float
    packets: float


def trials(
    flow: NDArray[np.uint32], time_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32], flows: int
) -> list[Trial]:
    """What each timeout of the ladder would do to these packets, in order of time."""
    ladder = [1000 * timeout for timeout in LADDER_US]
    if not len(flow):
        return [Trial(timeout_ns, 0.0, 0.0) for timeout_ns in ladder]
    supply = FlowletSupply(flows, ladder)
    supply.add(flow, time_ns, ip_bytes)
    sent = len(np.unique(flow))
    return [
        Trial(each.timeout_ns, each.movable, len(flow) / (each.per_flow * sent) if sent else 0.0)
        for each in supply.finish()
    ]


def worth_trying(found: Sequence[Trial]) -> list[Trial]:
    """Those worth trying, of all in order; none if hardly a byte could move at any."""
    able = [one for one in found if one.packets >= FEWEST_PACKETS and one.movable >= LEAST_MOVABLE]
    if not able:
        return []
    first = able[0]
    last = [max(one for one in able if one.movable >= least) for least in MOVABLE if able[0].movable >= least]
    chosen = {first, *last}
    furthest = last[0] if last else first
    if furthest.timeout_ns >= _APART * first.timeout_ns:
        middle = math.sqrt(first.timeout_ns * furthest.timeout_ns)
        chosen.add(min(able, key=lambda one: abs(math.log(one.timeout_ns / middle))))
    return sorted(chosen)


def say_trying(found: Sequence[Trial]) -> str:
    """What is worth trying and why, in a sentence."""
    chosen = worth_trying(found)
    if chosen:
        names = ", ".join(write_duration(one.timeout_ns) for one in chosen)
        shares = [f"{percent(one.movable)} follow a gap longer than {write_duration(one.timeout_ns)}" for one in chosen]
        why = shares[0] if len(chosen) == 1 else f"{shares[0]}, {shares[-1]}"
        return f"timeouts worth trying: {names} (of the bytes {why}: so much could take another path)"
    split = [one for one in found if one.movable >= LEAST_MOVABLE]
    if not split:
        first = found[0]
        most = f"{percent(first.movable)} of the bytes follow a gap longer than {write_duration(first.timeout_ns)}"
        return f"no timeout is worth trying: {most}, so flowlets could move next to nothing"
    last = split[-1]
    packets = f"flowlets at {write_duration(last.timeout_ns)} are {plain(last.packets, 2)} packets on average"
    return f"no timeout is worth trying: {packets}, so to move them would be to spray packets"
