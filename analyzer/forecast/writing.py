"""Makes the document of a forecast, which becomes forecast.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xxhash

from segcast.analyzer.answers.candidates import Candidate, Circumstances
from segcast.analyzer.answers.decision import Decision, decide
from segcast.analyzer.answers.stated import stated_decision
from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.compare import compare
from segcast.analyzer.forecast.document import (
    SCHEMA_VERSION,
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
    StatedValidation,
    StatedVariant,
)
from segcast.analyzer.forecast.findings import (
    dealt_findings,
    event_findings,
    open_loop_findings,
    path_findings,
    say_gap,
    say_places,
    side_findings,
    size_findings,
)
from segcast.analyzer.forecast.loads import share_findings
from segcast.analyzer.forecast.resamples import say_resamples
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.traffic import with_traffic
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.traffic.offered import growth_findings
from segcast.analyzer.traffic.prepare import Extent, Traffic
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.document import Finding
from segcast.traces.quality.findings import for_timeouts
from segcast.traces.trace import Trace, trace_name
from segcast.traces.units import write_duration
from segcast.traces.version import VERSION


def origin_entry(
    trace: Trace | WorkloadFile, scenario: ValidScenario, traffic: Traffic, extent: Extent, asked: Asked | None = None
) -> ForecastTrace:
    """What forecast.json says of the trace or the workload; `extent` is what it sends, `asked` if senders react."""
    grown = [*share_findings(scenario), *growth_findings(scenario, traffic.growth, reacts=asked is not None)]
    ground = [*dealt_findings(traffic), *path_findings(traffic)]
    findings = [*ground, *grown, *event_findings(scenario, extent), *side_findings(traffic.sides)]
    shared: dict[str, Any] = {
        "flows": extent.flows,
        "hosts": len(traffic.hosts),
        "duration_ns": extent.last_ns - extent.first_ns,
        "reacts": asked is not None,
        "messages": None if asked is None else asked.own,
        "connections": None if asked is None else asked.connections,
    }
    if isinstance(trace, WorkloadFile):
        folder = str(trace.path.resolve().parent)
        return ForecastTrace(
            kind="workload", name=trace.path.stem, folder=folder, findings=findings, sources=sources_of(trace), **shared
        )
    return ForecastTrace(
        name=trace_name(trace),
        folder=str(trace.folder.resolve()),
        layer=trace.layer,
        packets=extent.packets,
        findings=[
            *ground,
            *(Finding.model_validate(finding) for finding in for_timeouts(trace.info, scenario.fixed_timeouts_ns)),
            *grown,
            *event_findings(scenario, extent),
            *size_findings(traffic, scenario),
            *open_loop_findings(asked),
            *side_findings(traffic.sides),
        ],
        sources=sources_of(trace),
        **shared,
    )


def sources_of(trace: Trace | WorkloadFile) -> list[ForecastSource]:
    """The captures of a trace, or the flow list, with their digests."""
    if isinstance(trace, WorkloadFile):
        data = trace.path.read_bytes()
        return [ForecastSource(path=str(trace.path), bytes=len(data), xxh128=xxhash.xxh128_hexdigest(data))]
    return [ForecastSource(path=str(one.path), bytes=one.bytes, xxh128=one.xxh128) for one in trace.sources]


def forecast_document(
    origin: ForecastTrace,
    scenario: ValidScenario,
    traffic: Traffic,
    extent: Extent,
    rows: tuple[Sequence[dict[str, Any]], ...],
    validated: Validated | None = None,
) -> ForecastDocument:
    """What forecast.json says; `rows` are those of SUMMARY, POOLED and RESAMPLES, `extent` is what is sent."""
    summary, pooled, drawn = rows
    baseline_row = next((row for row in summary if row["policy"] == "ecmp"), summary[0])
    baseline = baseline_row["policy"]
    comparisons = compare(summary, baseline)
    if drawn:
        comparisons = with_traffic(comparisons, summary, drawn)
    beyond = (say_resamples(scenario, extent, origin.kind) if drawn else "", validated)
    decision = _decision(origin, scenario, traffic, (summary, comparisons, pooled), baseline, beyond)
    best = decision.spoken
    return ForecastDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        answer=decision.do,
        answered=None if best is None else _loaded(best),
        decision=stated_decision(decision),
        baseline=StatedVariant(policy=baseline, timeout=baseline_row["timeout"], timeout_ns=baseline_row["timeout_ns"]),
        comparisons=[StatedComparison.model_validate(row) for row in comparisons],
        validated=_stated(validated),
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


def _stated(validated: Validated | None) -> StatedValidation | None:
    if validated is None:
        return None
    return StatedValidation(folder=validated.name, holds=validated.holds, p99=dict(validated.p99))


def _offered(scenario: ValidScenario, growth: Growth | None) -> list[OfferedEntry]:
    """The loads of a forecast, ascending."""
    return [
        OfferedEntry(
            load=float(one.load),
            rate=float(one.rate),
            growth=float(one.flows),
            year=one.year,
            share=one.share,
            bytes=None if growth is None else round(growth.share_of_bytes(one.flows), 6),
        )
        for one in scenario.offered
    ]


def _decision(
    origin: ForecastTrace,
    scenario: ValidScenario,
    traffic: Traffic,
    rows: tuple[Sequence[dict[str, Any]], ...],
    baseline: str,
    beyond: tuple[str, Validated | None],
) -> Decision:
    """What to do, of the policies that can be chosen; `rows` of SUMMARY, of comparisons and of POOLED.

    `beyond` seeds: what resamples there are, and what is known of the model's error.
    """
    otherwise = otherwise_of(scenario, rows[0], baseline)
    circumstances = Circumstances(
        baseline,
        reacts=origin.reacts,
        slo=None if scenario.slo is None else scenario.slo.slo,
        gap=say_gap(origin.findings),
        dealt=say_places(traffic),
        paths=max(map(len, traffic.network.group_slots()), default=0),
        resampled=beyond[0],
        validated=beyond[1],
        unlearning=unlearning_of(scenario),
    )
    summary, comparisons, pooled = ([row for row in some if row["policy"] not in otherwise] for some in rows)
    return decide(summary, comparisons, circumstances, pooled)


def otherwise_of(scenario: ValidScenario, summary: Sequence[dict[str, Any]], baseline: str) -> set[str]:
    """Labels of policies that are no advice: what they would do if their hosts knew otherwise, beside as they know."""
    otherwise = {choice.label for choice in scenario.policies if choice.steering}
    if all(row["policy"] in otherwise or row["policy"] == baseline for row in summary):
        return set()
    return otherwise


def unlearning_of(scenario: ValidScenario) -> frozenset[str]:
    """Labels of policies whose hosts never learn of a dead link."""
    return frozenset(
        choice.label
        for choice in scenario.policies
        if choice.policy.steered and not choice.policy.learns and not scenario.steering_of(choice).suspect_after
    )


def _loaded(one: Candidate) -> LoadedVariant:
    policy, rule, timeout_ns = one.key
    timeout = rule if timeout_ns is None else write_duration(timeout_ns)
    named: dict[str, Any] = {"policy": policy, "timeout": timeout, "timeout_ns": timeout_ns}
    return LoadedVariant(load=one.load, growth=one.growth, year=one.year, share=one.share, **named)


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
