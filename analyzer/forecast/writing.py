"""Makes the document of a forecast, which becomes forecast.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xxhash

from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.compare import FCT_HEADLINE, HEADLINE, answer, answered, compare
from segcast.analyzer.forecast.document import (
    ChangeEntry,
    ForecastDocument,
    ForecastSource,
    ForecastTrace,
    LinkEntry,
    LoadedVariant,
    NetworkEntry,
    OfferedEntry,
    PathEntry,
    StatedComparison,
    StatedGroup,
    StatedSides,
    StatedVariant,
)
from segcast.analyzer.forecast.unfinished import unfinished_answer
from segcast.analyzer.network.sides import Sides
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.traffic.offered import growth_findings
from segcast.analyzer.traffic.prepare import Extent, Traffic, srv6_overhead
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.document import Finding
from segcast.traces.quality.findings import for_timeouts
from segcast.traces.trace import Trace, trace_name
from segcast.traces.units import say_number
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 2
_MOST_PREFIXES: Final = 4


def origin_entry(
    trace: Trace | WorkloadFile, scenario: ValidScenario, traffic: Traffic, extent: Extent, asked: Asked | None = None
) -> ForecastTrace:
    """What forecast.json says of the trace or the workload; `extent` is what it sends, `asked` if senders react."""
    grown = growth_findings(scenario, traffic.growth, reacts=asked is not None)
    findings = [*grown, *_event_findings(scenario, extent), *_side_findings(traffic.sides)]
    shared: dict[str, Any] = {
        "flows": extent.flows,
        "hosts": len(traffic.hosts),
        "duration_ns": extent.last_ns - extent.first_ns,
        "reacts": asked is not None,
        "messages": None if asked is None else len(asked.names),
        "connections": None if asked is None else asked.connections,
    }
    if isinstance(trace, WorkloadFile):
        data = trace.path.read_bytes()
        source = ForecastSource(path=str(trace.path), bytes=len(data), xxh128=xxhash.xxh128_hexdigest(data))
        folder = str(trace.path.resolve().parent)
        return ForecastTrace(
            kind="workload", name=trace.path.stem, folder=folder, findings=findings, sources=[source], **shared
        )
    return ForecastTrace(
        name=trace_name(trace),
        folder=str(trace.folder.resolve()),
        layer=trace.layer,
        packets=extent.packets,
        findings=[
            *(Finding.model_validate(finding) for finding in for_timeouts(trace.info, scenario.fixed_timeouts_ns)),
            *grown,
            *_event_findings(scenario, extent),
            *_size_findings(traffic, scenario),
            *_open_loop_findings(asked),
            *_side_findings(traffic.sides),
        ],
        sources=[
            ForecastSource(path=str(source.path), bytes=source.bytes, xxh128=source.xxh128) for source in trace.sources
        ],
        **shared,
    )


def forecast_document(
    origin: ForecastTrace, scenario: ValidScenario, traffic: Traffic, extent: Extent, summary: Sequence[dict[str, Any]]
) -> ForecastDocument:
    """What forecast.json says; `summary` are the rows of SUMMARY, `extent` what is sent."""
    baseline_row = next((row for row in summary if row["policy"] == "ecmp"), summary[0])
    baseline = baseline_row["policy"]
    comparisons = compare(summary, baseline)
    # What a policy would do if its hosts knew otherwise is no advice, where it also runs as they know.
    otherwise = {choice.label for choice in scenario.policies if choice.steering}
    advised = [row for row in comparisons if row["policy"] not in otherwise] or comparisons
    headline = FCT_HEADLINE if origin.reacts else HEADLINE
    best, said = answered(advised, headline), answer(advised, headline) + _unfinished(summary)
    if (left := unfinished_answer([row for row in summary if row["policy"] not in otherwise], baseline)) is not None:
        said, best = left
    return ForecastDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        answer=said,
        answered=None if best is None else LoadedVariant.model_validate(best),
        baseline=StatedVariant(policy=baseline, timeout=baseline_row["timeout"], timeout_ns=baseline_row["timeout_ns"]),
        comparisons=[StatedComparison.model_validate(row) for row in comparisons],
        cells=len(summary),
        seeds=list(dict.fromkeys(scenario.seeds)),
        loads=[float(load) for load in scenario.loads],
        offered=_offered(scenario, traffic.growth),
        trace=origin,
        excluded=traffic.excluded,
        network=_network_entry(traffic, scenario.kind, extent.first_ns),
        sids=scenario.sid_table(scenario.between(traffic.groups)),
        sides=traffic.sides
        and StatedSides(
            left=list(traffic.sides.left), groups=traffic.sides.groups, flows_together=traffic.sides.together
        ),
    )


def _offered(scenario: ValidScenario, growth: Growth | None) -> list[OfferedEntry]:
    """The loads of a forecast, ascending."""
    return [
        OfferedEntry(
            load=float(one.load),
            rate=float(one.rate),
            growth=float(one.flows),
            year=one.year,
            bytes=None if growth is None else round(growth.share_of_bytes(one.flows), 6),
        )
        for one in scenario.offered
    ]


def _unfinished(summary: Sequence[dict[str, Any]]) -> str:
    """How many messages are in no completion time, if any are."""
    unfinished, messages = (sum(row.get(name) or 0 for row in summary) for name in ("unfinished", "messages"))
    return f"; {unfinished:,} of {messages:,} flows did not finish and are in no time" if unfinished else ""


def _event_findings(scenario: ValidScenario, extent: Extent) -> list[Finding]:
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


def _size_findings(traffic: Traffic, scenario: ValidScenario) -> list[Finding]:
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


def _open_loop_findings(asked: Asked | None) -> list[Finding]:
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


def _side_findings(sides: Sides | None) -> list[Finding]:
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


def _network_entry(traffic: Traffic, kind: str, first_ns: int) -> NetworkEntry:
    network = traffic.network
    slots = {path_id: slot for group in network.group_slots() for slot, path_id in enumerate(group)}
    links = network.links
    return NetworkEntry(
        kind=kind,
        minimum_frame_bytes=network.minimum_frame_bytes,
        detection_ns=network.detection_ns,
        groups=[
            StatedGroup.model_validate({"group": n, "from": a, "to": b}) for n, (a, b) in enumerate(traffic.groups)
        ],
        links=[
            LinkEntry.model_validate({name: getattr(link, name) for name in LinkEntry.model_fields}) for link in links
        ],
        changes=[
            ChangeEntry(at_ns=change.time_ns - first_ns, link=links[change.link].name, rate_bps=change.rate_bps)
            for change in network.changes
        ],
        paths=[
            PathEntry(
                path_id=path_id,
                group=path.group,
                slot=slots[path_id],
                links=[links[link].name for link in path.links],
                rate_bps=min((links[link].rate_bps for link in path.links), default=None),
                delay_ns=sum(links[link].delay_ns for link in path.links),
                srv6_bytes=path.srv6_bytes,
            )
            for path_id, path in enumerate(network.paths)
        ],
    )
