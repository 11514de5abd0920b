"""A failure study: every single failure of a kind, under every policy, as a folder with the answer and two tables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.forecast.compare import load_label
from segcast.analyzer.forecast.findings import capture_doubts, places_invented, say_places
from segcast.analyzer.forecast.loads import share_findings, with_known_loads
from segcast.analyzer.forecast.resamples import check_no_resamples
from segcast.analyzer.keys import chosen_of, code, digest_of, identity_of
from segcast.analyzer.parallel import in_order, usable_cores
from segcast.analyzer.plan.failures.cells import Moments, ReactingStudy, RecordedStudy, Timing, study_of
from segcast.analyzer.plan.failures.document import FailedLoad, FailedVariant, FailuresDocument
from segcast.analyzer.plan.failures.kinds import Failure, Failures, Kind, failures_of
from segcast.analyzer.plan.failures.stages import never_learns, stages_of
from segcast.analyzer.plan.failures.tables import (
    FAILURES,
    LINKS_AT_WORST,
    STAGES,
    Case,
    broken,
    failure_row,
    link_rows,
    stage_rows,
)
from segcast.analyzer.plan.failures.words import Told, answer, limits, says
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import Slo
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
from segcast.traces.trace import Trace
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
MOST_CELLS: Final = 1_000_000
_FEW_PACKETS: Final = 1000

Progress = Callable[[int, int], None]
Item = tuple[CellPlan, Failure | None]


@dataclass(frozen=True, slots=True)
class AskedFailures:
    """What is to fail: a kind, and up to how many pairs (0: none).

    `at_ns` is when, from the first packet on; None: at a busy moment of the second quarter. Budgets hold over the whole
    run and in the last stage, or (`settled`) in the latter.
    """

    kind: Kind
    pairs: int = 0
    at_ns: int | None = None
    slo: Slo | None = None
    judge: Literal["whole", "settled"] = "whole"


def study_failures(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    asked: AskedFailures,
    out: str | Path,
    progress: Progress | None = None,
    *,
    store: CellStore | None = None,
    threads: int | None = None,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Try every failure and write the folder `out`; returns the content of failures.json.

    Each failure is a run of the whole traffic in which it happens, and each policy, timeout, load and seed has one run
    without. Cells that ran are kept in `store`, by default in the user's cache, as they end: a study that was
    interrupted goes on from there. `finish` is called with the complete folder before it gets its name. Raises
    InputError.
    """
    slo = asked.slo or (scenario.slo.slo if scenario.slo is not None else None)
    if slo is not None:
        slo.check_mode(isinstance(source, WorkloadFile) or scenario.transport is not None)
    check_no_resamples(scenario, "a failure study")
    scenario = with_known_loads(source, scenario)
    inputs: list[str | Path] = [source.path] if isinstance(source, WorkloadFile) else [source.folder]
    kept = CellStore() if store is None else store
    try:
        with new_folder(Path(out), marker="failures.json", inputs=inputs) as folder:
            with tempfile.TemporaryDirectory(prefix="segcast-") as room:
                study = _Study(source, scenario, asked, slo, kept, progress, threads or usable_cores(), Path(room))
                study.run()
            document = study.write(folder)
            (folder / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
            (folder / "failures.json").write_text(json_text(document), encoding="utf-8")
            if finish is not None:
                finish(folder)
    finally:
        if store is None:
            kept.close()
    return document.as_dict()


Variant = tuple[str, str | None, int | None, Fraction]


def _variant(plan: CellPlan) -> Variant:
    timeout = plan.timeout
    if timeout is None:
        return plan.policy.label, None, None, plan.load
    return plan.policy.label, timeout.label, timeout.timeout_ns, plan.load


class _Study:
    """The cells of a study, and what came of them."""

    def __init__(
        self,
        source: Trace | WorkloadFile,
        scenario: ValidScenario,
        asked: AskedFailures,
        slo: Slo | None,
        store: CellStore,
        progress: Progress | None,
        threads: int,
        room: Path,
    ) -> None:
        self._source = source
        self._scenario = scenario
        self._asked = asked
        self._slo = slo
        self._store = store
        self._progress = progress
        self._threads = threads
        self._plans = plan_cells(scenario)
        self._runner: RecordedStudy | ReactingStudy = study_of(source, scenario, room)
        network = self._runner.network
        self._failures: Failures = failures_of(scenario, network, self._runner.edges, asked.kind, asked.pairs)
        self._total = len(self._plans) * (1 + len(self._failures.tried))
        if self._total > MOST_CELLS:
            raise InputError(
                f"{len(self._failures.tried):,} failures of {len(self._plans):,} cells each are {self._total:,} runs; "
                f"at most {MOST_CELLS:,} are made: give fewer seeds, policies, loads or pairs"
            )
        self._metrics = frozenset(budget.metric for budget in slo.budgets) if slo is not None else frozenset()
        self._runner.want(self._metrics)
        self._base = digest_of(
            code(),
            identity_of(source),
            scenario.model_copy(
                update={"policies": (), "timeouts": (), "slo": None, "seeds": (1,), "packets": "none", "load": (1.0,)}
            ).to_toml(),
            sorted(self._metrics),
        )
        self.ran = 0
        self._done = 0
        self._shares = {plan.load: plan.offered.share for plan in self._plans}
        self._at: dict[Fraction, tuple[int, int, int]] = {}
        self._until: dict[tuple[Variant, int], int] = {}
        self._cases: dict[Variant, list[Case]] = {}

    def run(self) -> None:
        """Run all cells: first those without a failure, with which the others are compared."""
        for load in dict.fromkeys(plan.load for plan in self._plans):
            self._at[load] = self._moments(next(plan for plan in self._plans if plan.load == load))
        for plan in self._plans:
            if _variant(plan) not in self._cases:
                self._cases[_variant(plan)] = [Case(None), *(Case(failure) for failure in self._failures.tried)]
        place: dict[str | None, int] = {None: 0}
        place |= {failure.name: number for number, failure in enumerate(self._failures.tried, 1)}
        intact: list[Item] = [(plan, None) for plan in self._plans]
        for (plan, _), figures in self._figures(intact):
            self._until[_variant(plan), plan.seed] = figures["last_ns"] + 1
            self._cases[_variant(plan)][0].add(figures)
        failing: list[Item] = [(plan, failure) for failure in self._failures.tried for plan in self._plans]
        for (plan, failure), figures in self._figures(failing):
            self._cases[_variant(plan)][place[failure and failure.name]].add(figures)

    def _moments(self, plan: CellPlan) -> tuple[int, int, int]:
        """When the first packet is sent, when things fail, and when the last packet is sent. Raises InputError."""
        key = digest_of(self._base, "moments", self._named(plan))
        found = self._store.get(key)
        if found is None:
            found = self._runner.moments(plan)._asdict()
            self._store.put(key, found)
        first_ns, busy_ns, last_ns = Moments(**found)
        after_ns = busy_ns - first_ns if self._asked.at_ns is None else self._asked.at_ns
        if after_ns >= last_ns - first_ns:
            raise InputError(
                f"--at: the traffic lasts {(last_ns - first_ns) / 1e9:.6g} s, so nothing would fail before it ends"
            )
        return first_ns, first_ns + after_ns, last_ns

    def _figures(self, items: Sequence[Item]) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Figures of cells in their order, from the store or run now."""
        for item, figures in zip(items, in_order(self._one, items, self._threads, self._tell), strict=True):
            self._done += 1
            yield item, figures
        self._tell()

    def _one(self, item: Item) -> dict[str, Any]:
        plan, failure = item
        _, at_ns, last_ns = self._at[plan.load]
        until_ns = last_ns + 1
        if failure is not None:
            until_ns = self._until[_variant(plan), plan.seed]
        elif self._runner.reacts:
            until_ns = 1 << 62
        stages = stages_of(self._scenario, plan.policy, last_ns - at_ns)
        links = None if failure is None else list(failure.links)
        key = digest_of(self._base, self._named(plan), links, at_ns, until_ns)
        figures = self._store.get(key)
        if figures is None:
            figures = self._runner.figures(plan, failure, Timing(at_ns, stages, until_ns))
            self._store.put(key, figures)
            self.ran += 1
        return figures

    def _named(self, plan: CellPlan) -> list[Any]:
        offered = [str(plan.offered.rate), str(plan.offered.flows)]
        return [*chosen_of(plan.policy, plan.timeout), *offered, plan.seed]

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)

    def write(self, folder: Path) -> FailuresDocument:
        """Write the tables, and return the document."""
        names = [link.name for link in self._scenario.fabric().links]
        of_stages: list[dict[str, Any]] = []
        of_links: list[dict[str, Any]] = []
        of_failures: list[dict[str, Any]] = []
        told = []
        for variant, (intact, *cases) in self._cases.items():
            named = (*variant[:3], float(variant[3]), self._shares[variant[3]])
            stated = dict(zip(("policy", "timeout", "timeout_ns", "load", "share"), named, strict=True))
            spans_ns = [row["last_ns"] - self._at[variant[3]][1] for row in intact.rows]
            rows = [failure_row(case, intact, stated, spans_ns, self._slo) for case in cases]
            told.append(self._told(stated, rows, intact))
            of_failures += rows
            of_stages += [row for case in (intact, *cases) for row in stage_rows(case, stated)]
            of_links += link_rows(names, cases, intact, stated)
        for table, content in ((STAGES, of_stages), (FAILURES, of_failures), (LINKS_AT_WORST, of_links)):
            _write(folder, table, content)
        return self._document(told)

    def _told(self, stated: dict[str, Any], rows: Sequence[dict[str, Any]], intact: Case) -> Told:
        policy = next(plan.policy for plan in self._plans if plan.policy.label == stated["policy"])
        steering = self._scenario.steering_of(policy)
        over_all, after = broken(self._slo, intact)
        already = over_all if self._asked.judge == "whole" else after
        return Told(
            stated,
            rows,
            tuple(budget.text for budget in already),
            never_learns(self._scenario, policy),
            policy.policy.steered and steering.suspect_after > 0,
            steering.suspect_for,
        )

    def _document(self, told: Sequence[Told]) -> FailuresDocument:
        asked, scenario, reacts = self._asked, self._scenario, self._runner.reacts
        pairs = sum(" + " in failure.name for failure in self._failures.tried)
        failing = [one.failing(asked.judge) for one in told]
        return FailuresDocument(
            segcast=VERSION,
            schema_version=SCHEMA_VERSION,
            source=_named(self._source),
            reacts=reacts,
            kind=asked.kind,
            tried=len(self._failures.tried),
            pairs=pairs,
            all_pairs=self._failures.pairs,
            idle=list(self._failures.idle),
            detection_ns=scenario.detection,
            slo=None if self._slo is None else self._slo.text,
            judge=asked.judge,
            holds=not any(failing) and not any(one.intact for one in told),
            answer=answer(told, asked.kind, self._slo, asked.judge, reacts),
            but=[
                *places_invented(say_places(self._runner.traffic)),
                *limits(self._failures, asked.kind, self._limits()),
                *capture_doubts(self._source, self._scenario),
            ],
            loads=[
                FailedLoad(load=float(load), share=self._shares[load], at_ns=at - first, until_ns=last - first)
                for load, (first, at, last) in self._at.items()
            ],
            variants=[
                FailedVariant(
                    **one.variant,
                    says=says(one, asked.kind, scenario.detection, reacts),
                    never_learns=one.never_learns,
                    broken=len(broken_by),
                    broken_after=sum(bool(row["broken_after"]) for row in one.rows),
                    broken_intact=list(one.intact),
                )
                for one, broken_by in zip(told, failing, strict=True)
            ],
            seeds=len(dict.fromkeys(scenario.seeds)),
            cells=self._total,
            ran=self.ran,
        )

    def _limits(self) -> list[str]:
        """What limits the answer, beside what was not tried."""
        found = [finding.detail for finding in share_findings(self._scenario)]
        moment = "when the most is sent in its second quarter" if self._asked.at_ns is None else "as asked"
        for load, (first, at, last) in self._at.items():
            of_load = f" at {load_label(float(load), share=self._shares[load])}" if len(self._at) > 1 else ""
            found.append(
                f"everything fails {(at - first) / 1e9:.4g} s into {(last - first) / 1e9:.4g} s of traffic{of_load}, "
                f"{moment}; what the hole costs depends on what is sent just then"
            )
            if last - at <= self._scenario.detection:
                found.append(
                    f"the traffic ends {(last - at) / 1e9:.4g} s after that{of_load}, before routing knows "
                    "(detection): nothing here says what comes later"
                )
        few = min(stage["delivered"] for cases in self._cases.values() for stage in cases[0].stages[-1:])
        if few < _FEW_PACKETS:
            found.append(f"only {few:.0f} packets in the last stage: too few to tell a p99")
        found.append("routing is taken to learn everywhere at once, without loops while it converges")
        if not self._runner.reacts:
            found.append(
                "packets leave as captured, however many are lost: nobody sends again or slows down; [transport] in "
                "the scenario lets senders react, and gives completion times"
            )
        seeds = len(dict.fromkeys(self._scenario.seeds))
        found.append(
            f"means over {seeds} seed{'' if seeds == 1 else 's'}, which are the policies' draws; the highest of many "
            "means is high by chance, too"
        )
        return found


def _named(source: Trace | WorkloadFile) -> str:
    """Where a source is: a capture that was ingested on the way is itself, not the trace in the cache."""
    if isinstance(source, WorkloadFile):
        return str(source.path)
    return str(source.sources[0].path if len(source.sources) == 1 else source.folder)


def _write(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    content = pa.Table.from_pylist(list(rows), schema=table.arrow_schema())
    pq.write_table(content, folder / f"{table.name}.parquet", compression="zstd")
