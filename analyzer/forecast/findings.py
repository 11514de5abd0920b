"""What a reader must know of a forecast before believing it, as findings of forecast.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from segcast.analyzer.answers.wording import percent
from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.network.sides import Sides
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import Extent, Traffic, srv6_overhead
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.document import Finding
from segcast.traces.quality.findings import for_timeouts
from segcast.traces.trace import Trace
from segcast.traces.units import say_number

_MOST_PREFIXES: Final = 4
_LOOSE: Final = 0.01  # Less traffic of hosts whose sides were chosen changes nothing that is told.


def say_dealt(traffic: Traffic) -> str:
    """That hosts were dealt to attachments in turn, in words; empty if none were."""
    if not traffic.dealt:
        return ""
    hosts = "1 host has no prefix and was" if traffic.dealt == 1 else f"{traffic.dealt:,} hosts have no prefix and were"
    return f"{hosts} dealt to {traffic.attachments} attachments in turn"


def say_places(traffic: Traffic) -> str:
    """That places of hosts are invented, where that decides who shares links; empty if they are not."""
    if traffic.dealt or traffic.sides is None:
        return say_dealt(traffic)
    sides = traffic.sides
    loose = sides.loose_bytes / max(sides.bytes, 1)
    if loose < _LOOSE:
        return ""
    return f"nothing says which way round {percent(loose)} of the traffic goes, of hosts that talk to nobody else"


def places_invented(said: str) -> list[str]:
    """What invented places mean, beside other limits; `said` as `say_places` says it."""
    return [f"{said}: who shares which link is invented"] if said else []


def capture_warnings(trace: Trace, timeouts_ns: Sequence[int]) -> tuple[str, ...]:
    """What is doubtful about a capture where these timeouts matter, in words."""
    return say_doubtful([Finding.model_validate(each) for each in for_timeouts(trace.info, timeouts_ns)])


def capture_doubts(source: Trace | WorkloadFile, scenario: ValidScenario) -> tuple[str, ...]:
    """The same of what a study is of, under a scenario's fixed timeouts; nothing of flow lists."""
    return () if isinstance(source, WorkloadFile) else capture_warnings(source, scenario.fixed_timeouts_ns)


def say_doubtful(found: Sequence[Finding]) -> tuple[str, ...]:
    """The warnings and errors of findings, in words; not that loads compress gaps, which answers say themselves."""
    doubtful = [each for each in found if each.severity != "info" and each.code != "compressed_gaps"]
    return tuple(f"{each.code.replace('_', ' ')} ({each.count:,}): {each.detail}; {each.effect}" for each in doubtful)


def say_gap(found: Sequence[Finding]) -> str:
    """That a capture is hardly more than one gap, so that its loads mean nothing; empty if it is not."""
    return next((f"{each.detail}: {each.effect}" for each in found if each.code == "idle_gap"), "")


def dealt_findings(traffic: Traffic) -> list[Finding]:
    """That hosts were dealt to attachments in turn, if so, and what then does not enter the network."""
    if not traffic.dealt:
        return []
    inside = traffic.excluded.get("same_attachment", 0)
    left_out = f"; {inside:,} packets came to lie between hosts of one attachment and are left out" if inside else ""
    return [
        Finding(
            code="hosts_dealt",
            severity="warning",
            count=traffic.dealt,
            detail=say_dealt(traffic),
            effect=f"which hosts share links is invented, not measured{left_out}; give [[attachments]] with prefixes",
        )
    ]


def path_findings(traffic: Traffic) -> list[Finding]:
    """That no two ends have more than one path between them, if so."""
    slots = traffic.network.group_slots()
    if not slots or max(map(len, slots)) > 1:
        return []
    return [
        Finding(
            code="one_path",
            severity="warning",
            count=len(slots),
            detail="there is one path between every two ends",
            effect="no policy has a choice: what differs between them is SRv6's headers",
        )
    ]


def event_findings(scenario: ValidScenario, extent: Extent) -> list[Finding]:
    """That events come when nothing is sent any more, if so, at the highest load."""
    load = max(one.rate for one in scenario.offered)
    last_ns = (extent.last_ns - extent.first_ns) / load
    late = sum(any(event.at_ns > last_ns for event in spec.events()) for spec in scenario.events)
    if not late:
        return []
    at_load = "" if load == 1 else f" at load {say_number(float(load))}"
    return [
        Finding(
            code="late_events",
            severity="warning",
            count=late,
            detail=f"events come after the last packet, {float(last_ns) / 1e9:.6g} s after the first{at_load}",
            effect="what happens to links then changes nothing in the forecast",
        )
    ]


def size_findings(traffic: Traffic, scenario: ValidScenario) -> list[Finding]:
    """That nobody checked whether steered packets fit the links, if so."""
    if len(traffic.packets.flow) == 0:
        return []
    largest, steered = srv6_overhead(traffic)
    if scenario.network.mtu is not None or steered == largest:
        return []
    return [
        Finding(
            code="mtu_unchecked",
            severity="info",
            count=len(np.unique(traffic.packets.flow[traffic.packets.ip_bytes == largest])),
            detail=f"flows have packets of {largest} bytes that become up to {steered} bytes with SRv6",
            effect=f"links must carry an MTU of {steered} bytes; network.mtu has that checked",
        )
    ]


def open_loop_findings(asked: Asked | None) -> list[Finding]:
    """That part of a trace whose senders react leaves as captured, if so, and why."""
    if asked is None or not asked.open_loop:
        return []
    packets = sum(packets for _, _, packets in asked.open_loop)
    reasons = ", ".join(f"{why} ({packets:,})" for why, _, packets in asked.open_loop)
    return [
        Finding(
            code="open_loop",
            severity="info",
            count=packets,
            detail=f"packets of {sum(flows for _, flows, _ in asked.open_loop):,} flows leave as captured: {reasons}",
            effect="they share links with the others, and do not react to what happens to them",
        )
    ]


def side_findings(sides: Sides | None) -> list[Finding]:
    """That the traffic does not settle which side hosts are at, if so, and the prefixes that would."""
    if sides is None:
        return []
    shown = [f'"{prefix}"' for prefix in sides.left[:_MOST_PREFIXES]]
    more = len(sides.left) - len(shown)
    chosen = (
        f"network.left.prefixes = [{', '.join(shown)}{f', and {more} more of forecast.json' if more else ''}], with "
        'network.right.prefixes = ["0.0.0.0/0", "::/0"], is what was chosen: change it to who is where'
    )
    found = []
    if sides.together:
        share = sides.together_bytes / max(sides.bytes, 1)
        found.append(
            Finding(
                code="hosts_together",
                severity="warning",
                count=sides.together,
                detail=f"flows, {100 * share:.3g} % of the bytes, are between hosts of one side: hosts that talk in "
                "rings of odd length cannot all be across",
                effect=f"they are left out, as they do not cross the paths; {chosen}",
            )
        )
    if sides.groups > 1:
        found.append(
            Finding(
                code="sides_chosen",
                severity="warning" if sides.undecided else "info",
                count=sides.groups,
                detail="groups of hosts have no traffic with each other, so it does not say which hosts share a side; "
                "subnets and who opens conversations decided",
                effect=f"traffic may share a direction that in truth does not; {chosen}",
            )
        )
    return found
