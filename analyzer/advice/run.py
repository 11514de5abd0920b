"""Advice on a trace or workload: candidates are run beside the baseline, seed by seed, and a verdict drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.advice.decide import Case, Decision, decide, mean_of
from segcast.analyzer.advice.document import AdviceDocument, Evidence, Role, Skew, StatedStep, Tried
from segcast.analyzer.advice.ground import Ground, survey
from segcast.analyzer.advice.other_traffic import Drawn, doubted, over_resamples, with_other_traffic
from segcast.analyzer.advice.settings import ELSEWHERE_NS, settings_of
from segcast.analyzer.advice.words import (
    answer_words,
    budget_words,
    limits_of,
    reasons_of,
    timeout_of,
    verdict_words,
)
from segcast.analyzer.answers.candidates import Candidate, Circumstances
from segcast.analyzer.answers.validated import Validated, say_covers
from segcast.analyzer.forecast.findings import capture_warnings
from segcast.analyzer.forecast.loads import with_known_loads
from segcast.analyzer.forecast.resamples import check_resampled, say_draws
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.plan.cells import Cells, Progress, Variant, variants_of
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.choices import FIXED, PolicyChoice, TimeoutChoice, settled_policies
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.schema import Column, Table
from segcast.traces.trace import Trace, trace_name
from segcast.traces.units import write_duration
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
LADDER_NS: Final = (16_000, 50_000, 100_000, 256_000, 500_000, 1_000_000)
"""Flowlet timeouts that are tried, beside the scenario's own."""
BEYOND_NS: Final = tuple(step * 10**power for power in (6, 7, 8) for step in (2, 5, 10))
"""Timeouts for paths that lie further apart than these."""
FIRST_SEEDS: Final = 10
MOST_SEEDS: Final = 40
"""Seeds of each candidate; twice as many are run, and again, while chance alone keeps the verdict open."""
CANDIDATES: Final = Table(
    "candidates",
    "a cell that was run: what its policy stands for, and its row of `summary`",
    (
        Column("role", pa.string(), "`baseline`, `hash`, `flowlets` or `spray`"),
        Column("resample", pa.uint32(), "number of the resample that it ran over; null: the traffic itself", True),
        *SUMMARY.columns,
    ),
)
_ORACLES: Final = ("least-queue", "safe")
MENDED: Final = "ecmp mended"
SWITCHES: Final = "conga"
"""What stands for switches that choose by load, as SONiC's ARS and Junos' DLB do."""


@dataclass(slots=True)
class _Asked:
    """Cells of one scenario and what they stand for; `found` has the rows of each variant, seed by seed.

    `own_ns` are the flowlet timeouts that the scenario had before others were tried beside them.
    """

    cells: Cells
    scenario: ValidScenario
    own_ns: tuple[int, ...]
    found: dict[Variant, list[dict[str, Any]]] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, those of the baseline first."""
        return [row for rows in self.found.values() for row in rows]

    def run(self, first: int, stop: int) -> None:
        """Run further seeds of every variant."""
        wanted = [(variant, seed + 1) for variant in self.found for seed in range(first, stop)]
        rows = iter(self.cells.rows(self.scenario, wanted))
        for own in self.found.values():
            own += [next(rows) for _ in range(first, stop)]


def advise(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    out: str | Path,
    progress: Progress | None = None,
    *,
    ladder_ns: Sequence[int] | None = None,
    most_seeds: int = MOST_SEEDS,
    store: CellStore | None = None,
    threads: int | None = None,
    finish: Callable[[Path], object] | None = None,
    validated: Validated | None = None,
) -> dict[str, Any]:
    """Find whether flowlets are worth it at the scenario's first load, and write the folder `out`.

    Returns the content of advice.json. Timeouts are those of `ladder_ns` and the scenario's own; without any LADDER_NS,
    and some above the skew of paths. Policies are the scenario's that move flowlets, by hosts and by switches, else
    `inflight` and `conga`. Cells are kept in `store`, by default in the user's cache. `finish` is called with the
    complete folder before it gets its name. If the scenario has resamples, what is advised is asked of each of them,
    and not advised if its gain may be this traffic's own chance. `validated` is what replays measured of the model,
    which is then said. Raises InputError.
    """
    reacts = isinstance(source, WorkloadFile) or scenario.transport is not None
    if scenario.slo is not None:
        scenario.slo.slo.check_mode(reacts)
    if scenario.traffic.resample:
        raise scenario.wrong(("traffic", "resample"), "advice is of the trace itself; leave it out")
    check_resampled(source, scenario)
    scenario = with_known_loads(source, scenario.model_copy(update={"load": scenario.load[:1]}))
    asked = _asked(scenario, LADDER_NS if ladder_ns is None else ladder_ns)
    baseline = variants_of(asked)[0]
    inputs: list[str | Path] = [source.path] if isinstance(source, WorkloadFile) else [source.folder]
    kept = CellStore() if store is None else store
    try:
        with new_folder(Path(out), marker="advice.json", inputs=inputs) as folder:
            cells = Cells(source, kept, progress, threads=threads)
            trace = None if isinstance(source, WorkloadFile) else source
            timeouts_ns = sorted({*asked.fixed_timeouts_ns, *ELSEWHERE_NS, *(BEYOND_NS if ladder_ns is None else ())})
            ground = survey(cells, asked, baseline, timeouts_ns, trace, lambda: progress and progress(0, 1))
            if ladder_ns is None:
                asked = _asked(asked, _beyond(ground.skew))
            variants = [baseline, *variants_of(asked)[1:]]
            if ground.mend is not None:
                variants.append(_mended(baseline, ground.mend))
            tried = _Asked(cells, asked, scenario.fixed_timeouts_ns, {each: [] for each in variants}, _roles(variants))
            case, decision = _decided(tried, ground, reacts, most_seeds)
            drawn = _drawn(tried, decision)
            if drawn:
                decision = with_other_traffic(decision, case, drawn)
            kind = "workload" if trace is None else "trace"
            covers = say_covers(say_draws(scenario, kind) if drawn else "", validated)
            document = _document(source, tried, ground, case, decision, covers)
            cells_of = [*((None, row) for row in tried.rows), *((one.resample, one.row) for one in drawn)]
            rows = [{"role": tried.roles[row["policy"]], "resample": number, **row} for number, row in cells_of]
            pq.write_table(
                pa.Table.from_pylist(rows, schema=CANDIDATES.arrow_schema()),
                folder / "candidates.parquet",
                compression="zstd",
            )
            (folder / "scenario.toml").write_text(asked.to_toml(), encoding="utf-8")
            (folder / "advice.json").write_text(json_text(document), encoding="utf-8")
            if finish is not None:
                finish(folder)
    finally:
        if store is None:
            kept.close()
    return document.as_dict()


def _asked(scenario: ValidScenario, ladder_ns: Sequence[int]) -> ValidScenario:
    """The scenario with the baseline first, then what steers flowlets at every timeout, and spray."""
    # What hosts would do if they knew otherwise is no advice, and neither is what no host can know.
    own = [choice for choice in scenario.policies if choice.name not in _ORACLES and not choice.steering]
    ecmp = [choice for choice in own if choice.name == "ecmp"][:1]
    flowlets = [choice for choice in own if choice.policy.granularity == "flowlet"]
    hosts, switches = ([choice for choice in flowlets if choice.policy.steered is by] for by in (True, False))
    spray = [choice for choice in own if choice.name == "spray"][:1]
    lacking = [
        *([] if ecmp else ["ecmp"]),
        *([] if hosts else ["inflight"]),
        *([] if switches else [SWITCHES]),
        *([] if spray else ["spray"]),
    ]
    made = {choice.name: choice for choice in settled_policies([PolicyChoice(name=name, label="") for name in lacking])}
    policies = (
        *(ecmp or [made["ecmp"]]),
        *(hosts or [made["inflight"]]),
        *(switches or [made[SWITCHES]]),
        *(spray or [made["spray"]]),
    )
    fixed_ns = sorted({*ladder_ns, *scenario.fixed_timeouts_ns})
    rules = [each for each in scenario.timeouts if each.timeout_ns is None and each.name not in _ORACLES]
    timeouts = [TimeoutChoice(name=FIXED, label=write_duration(ns), timeout_ns=ns) for ns in fixed_ns]
    return scenario.model_copy(update={"policies": policies, "timeouts": (*timeouts, *rules)})


def _beyond(skew: Skew) -> list[int]:
    """Timeouts above the skews of paths, empty and as queues were, if they are longer than what is tried anyway."""
    found = []
    for bound_ns in (skew.base_ns, skew.p50_ns or 0, skew.p99_ns or 0):
        above = [each for each in BEYOND_NS if each > bound_ns >= LADDER_NS[-1]]
        found += above[:1]
    return sorted(set(found))


def _mended(baseline: Variant, mend: dict[str, str]) -> Variant:
    choice = baseline.policy
    parameters = {**choice.parameters, **mend}
    return Variant(choice.model_copy(update={"label": MENDED, "parameters": parameters}), None)


def _roles(variants: Sequence[Variant]) -> dict[str, Role]:
    """What policies stand for, by label; the baseline is the first."""
    roles: dict[str, Role] = {}
    for variant in variants:
        name = variant.policy.name
        roles[variant.policy.label] = {"ecmp": "hash", "spray": "spray"}.get(name, "flowlets")  # type: ignore[assignment]
    roles[variants[0].policy.label] = "baseline"
    return roles


def _decided(tried: _Asked, ground: Ground, reacts: bool, most_seeds: int) -> tuple[Case, Decision]:
    """Run seeds in stages until something other than chance decides."""
    policies = [variant.policy for variant in tried.found]
    scenario = tried.scenario
    circumstances = Circumstances(
        policies[0].label,
        reacts=reacts,
        slo=None if scenario.slo is None else scenario.slo.slo,
        dealt=ground.dealt,
        unlearning=frozenset(
            choice.label
            for choice in policies
            if choice.policy.steered and not choice.policy.learns and not scenario.steering_of(choice).suspect_after
        ),
        tolerant=frozenset(label for label, role in tried.roles.items() if role == "spray"),
    )
    switches = frozenset(choice.label for choice in policies if not choice.policy.steered)
    first, stop = 0, min(FIRST_SEEDS, most_seeds)
    while True:
        tried.run(first, stop)
        case = Case(
            tried.rows, tried.roles, circumstances, ground.paths, ground.skew.base_ns, ground.effective, switches
        )
        decision = decide(case)
        if not decision.open or stop >= most_seeds:
            return case, decision
        first, stop = stop, min(2 * stop, most_seeds)


def _drawn(tried: _Asked, decision: Decision) -> list[Drawn]:
    """Cells of the baseline, and of those whose gains are in question, over resamples; none if none are asked for."""
    wanted = {decision.base.key, *(one.key for one in doubted(decision))}
    variants = [each for each in tried.found if (each.policy.label, *_timed(each)) in wanted]
    if not tried.scenario.traffic.resamples or len(variants) < 2:
        return []
    return over_resamples(tried.cells, tried.scenario, variants, len(tried.found[variants[0]]))


def _document(
    source: Trace | WorkloadFile, tried: _Asked, ground: Ground, case: Case, decision: Decision, covers: str
) -> AdviceDocument:
    chosen = decision.chosen
    evidence = _evidence(tried, ground, case, decision)
    choices = list({variant.policy.label: variant.policy for variant in tried.found}.values())
    warnings = ground.warnings
    if isinstance(source, Trace):
        timeout_ns = None if chosen is None else chosen.key[2]
        warnings += capture_warnings(source, tried.own_ns if timeout_ns is None else [timeout_ns])
    return AdviceDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        source=str(source.path if isinstance(source, WorkloadFile) else source.folder),
        name=source.path.stem if isinstance(source, WorkloadFile) else trace_name(source),
        verdict=verdict_words(decision, case),
        kind=decision.kind,
        why=decision.why,
        policy=None if chosen is None else chosen.policy,
        timeout=None if chosen is None or chosen.name == chosen.policy else timeout_of(chosen),
        timeout_ns=None if chosen is None else chosen.key[2],
        alike=[one.name for one in decision.alike],
        answer=answer_words(evidence, decision, case),
        because=reasons_of(evidence, decision, case),
        but=limits_of(evidence, decision, case, warnings, covers),
        budgets=budget_words(case),
        covers=covers,
        needs=list(decision.needs),
        steps=[
            StatedStep(
                kind=step.kind,
                name=step.best.name,
                against=step.against.name,
                change=step.best.change,
                low=step.best.low,
                high=step.best.high,
            )
            for step in decision.steps
        ],
        settings=settings_of(evidence, decision, tried.scenario, choices),
        evidence=evidence,
        cells=tried.cells.done,
        ran=tried.cells.ran,
    )


def _evidence(tried: _Asked, ground: Ground, case: Case, decision: Decision) -> Evidence:
    reacts, base = case.circumstances.reacts, decision.base
    baseline = next(iter(tried.found.values()))
    flows = int(baseline[0]["messages"]) if reacts else ground.flows
    order = {(v.policy.label, *_timed(v)): number for number, v in enumerate(tried.found)}
    there = sorted(decision.there, key=lambda one: order[one.key])
    share = tried.cells.share(tried.scenario.model_copy(update={"growth": None, "load": (1.0,)}))
    longest = max(*ELSEWHERE_NS, *tried.scenario.fixed_timeouts_ns)
    return Evidence(
        reacts=reacts,
        metric=case.circumstances.headline,
        load=base.load,
        offered=base.offered,
        utilisation=mean_of(baseline, "utilisation_max") or 0.0,
        srv6=ground.srv6,
        share=None if share is None else share * base.load,
        waiting=decision.waiting,
        paths=ground.paths,
        flows=flows,
        effective_flows=ground.effective if reacts else base.means.get("effective_flows") or 0.0,
        packets=int(baseline[0]["packets"]),
        seeds=len(baseline),
        resamples=0 if all(one.traffic_low is None for one in there) else tried.scenario.traffic.resamples,
        tried=[_tried(one, case.roles[one.policy], decision, flows, case.switches) for one in there],
        skew=ground.skew,
        supply=[each for each in ground.supply if each.timeout_ns <= longest],
        hash=ground.hash,
    )


def _timed(variant: Variant) -> tuple[str | None, int | None]:
    """The rest of a candidate's key: the label of its rule, or what its timeout is fixed at."""
    if variant.timeout is None:
        return None, None
    fixed = variant.timeout.timeout_ns
    return (variant.timeout.label, None) if fixed is None else (None, fixed)


def _tried(one: Candidate, role: Role, decision: Decision, flows: int, switches: frozenset[str]) -> Tried:
    _, rule, timeout_ns = one.key
    needless = one.means.get("needless")
    return Tried(
        role=role,
        by="switches" if one.policy in switches else "hosts",
        policy=one.policy,
        timeout=rule if timeout_ns is None else write_duration(timeout_ns),
        timeout_ns=timeout_ns,
        value=one.value,
        change=_finite(one.change),
        low=_finite(one.low),
        high=_finite(one.high),
        traffic_low=_finite(one.traffic_low),
        traffic_high=_finite(one.traffic_high),
        standing=decision.words[one.key],
        broken=list(one.broken),
        reordered=one.mean("reordered_ratio"),
        displaced=one.mean("displaced_ratio"),
        dropped=one.mean("drop_ratio"),
        unfinished=one.means.get("unfinished"),
        needless=None if needless is None else needless / max(flows, 1),
        flowlets=one.mean("flowlets") / max(flows, 1),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
