"""What loads other than the trace's own do to the numbers, as findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.traces.document import Finding
from segcast.traces.units import say_number

UNEVEN: Final = 0.05
"""Above this part of a factor it is said that whole connections do not make it up."""


def growth_findings(scenario: ValidScenario, growth: Growth | None, *, reacts: bool) -> list[Finding]:
    """What loads other than the trace's own do to what is forecast."""
    found = [] if reacts else _compressed(scenario.offered)
    if growth is not None:
        found += _uneven(scenario, growth)
    if growth is not None and reacts:
        found += _beyond(scenario, growth)
    return found


def _compressed(offered: Sequence[Offered]) -> list[Finding]:
    """That time is compressed, within connections too, if so."""
    rates = [one.rate for one in offered if one.rate != 1]
    if not rates:
        return []
    said = ", ".join(say_number(float(rate)) for rate in dict.fromkeys(rates))
    return [
        Finding(
            code="compressed_gaps",
            severity="warning",
            count=len(set(rates)),
            detail=f"loads compress the trace's time, by {said}: pauses inside connections become as much shorter, and "
            "what parted flowlets at load 1 may then be within the flowlet timeout",
            effect="what changes with these loads may be the work of shorter pauses, not of more traffic; growth = "
            '{ by = "flows", factor = 1.3 } adds connections and leaves pauses as they are',
        )
    ]


def _beyond(scenario: ValidScenario, growth: Growth) -> list[Finding]:
    """That copies of long connections go on beyond the end of the trace, where senders react, if so."""
    copied = growth.sent(max(one.flows for one in scenario.offered)) & (growth.copy > 0)
    sizes = growth.bytes[growth.origin]
    late, whole = (int(sizes[copied & (growth.wraps == wraps)].sum()) for wraps in (1, 0))
    if late <= UNEVEN * whole:
        return []
    return [
        Finding(
            code="copies_beyond_end",
            severity="warning",
            count=int(np.count_nonzero(copied & (growth.wraps == 1))),
            detail=f"connections with {100 * late / whole:.2g} % of the bytes that are copied go on beyond the trace's "
            "end: they are shifted whole, and start within its time",
            effect="the load rises later than the factor says, and sinks beyond the end; a longer capture has fewer",
        )
    ]


def _uneven(scenario: ValidScenario, growth: Growth) -> list[Finding]:
    """That whole connections come to other bytes than a factor says, if so."""
    spec = scenario.growth_spec
    factors = [one.flows for one in scenario.offered if one.flows != 1]
    base = growth.growing_share
    off = []
    for factor in dict.fromkeys(factors):
        wanted = 1 + (float(factor) - 1) * base
        sent = growth.share_of_bytes(factor)
        if abs(sent / wanted - 1) > UNEVEN:
            off.append(f"growth {say_number(float(factor))} sends {sent:.3g} times the bytes")
    if not off:
        return []
    count, share = growth.connections
    few = f"{count:,} connections{' grow' if spec.groups else ''}, the largest with {100 * share:.2g} % of their bytes"
    return [
        Finding(
            code="uneven_growth",
            severity="warning",
            count=len(off),
            detail=f"{few}, and whole ones are copied or left out: {', '.join(off[:4])}{', …' if len(off) > 4 else ''}",
            effect="the load on links differs from the factor as much; another growth.seed chooses other connections",
        )
    ]
