"""Sweeps: every cell of every variant of a scenario, into one folder of tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow.parquet as pq

from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.tails import pooled_rows
from segcast.analyzer.sweep.batches import Batch, Execution, Source, batches_of, check_source
from segcast.analyzer.sweep.costs import Pace, counted, kind_of, said_left
from segcast.analyzer.sweep.deciding import Decided, answer_of, decide_all, limits_of
from segcast.analyzer.sweep.document import StatedField, SweepDocument
from segcast.analyzer.sweep.fields import written
from segcast.analyzer.sweep.local import LocalExecution
from segcast.analyzer.sweep.tables import CHOICES, COMPARED, SWEPT, VARIANTS, rows_table
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
from segcast.traces.trace import trace_name
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
_LONG_SECONDS: Final = 10

Progress = Callable[[int, int, str], None]
Say = Callable[[str], object]


def sweep(
    source: Source,
    scenario: ValidScenario,
    out: str | Path,
    progress: Progress | None = None,
    *,
    store: CellStore | None = None,
    threads: int | None = None,
    execution: Execution | None = None,
    finish: Callable[[Path], object] | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Run every cell of every variant, and write the folder `out`; returns the content of sweep.json.

    Each cell that has ended is kept in `store`, by default in the user's cache: what was interrupted goes on from
    there, and a sweep that is asked again runs nothing. `execution` runs the cells, by default this machine on
    `threads`; the tables do not depend on it. `finish` is called with the complete folder before it gets its name,
    `say` with what a user wants to know meanwhile. `progress` is told the cells done, all, and the time left in words,
    several times a second; what it raises ends the sweep. Raises InputError.
    """
    check_source(source, scenario)
    inputs: list[str | Path] = [source.path] if isinstance(source, WorkloadFile) else [source.folder]
    kept = CellStore() if store is None else store
    try:
        with new_folder(Path(out), marker="sweep.json", inputs=inputs) as folder:
            batches = batches_of(source, scenario, kept)
            ways = execution or LocalExecution(source, kept, threads)
            rows = _Cells(batches, kept, say or _silent).run(ways, progress or _silent)
            kept.flush()
            document = _written(source, scenario, batches, rows, folder)
            if finish is not None:
                finish(folder)
    finally:
        if store is None:
            kept.close()
    return document.as_dict()


def _silent(*_: object) -> None:
    """Says nothing."""


class _Rows(NamedTuple):
    """Rows of the summary, batch by batch in order of its cells, and what seeds have together: rows of POOLED."""

    summary: list[list[dict[str, Any]]]
    pooled: list[list[dict[str, Any]]]


class _Cells:
    """The rows of all cells, from the store or run."""

    def __init__(self, batches: Sequence[Batch], store: CellStore, say: Say) -> None:
        self._batches, self._store, self._say = batches, store, say
        self._keys = [key for batch in batches for key in batch.keys]
        self._found = store.get_many(self._keys)
        self._warned = False

    def run(self, execution: Execution, progress: Progress) -> _Rows:
        """Run what is not kept."""
        found, total = self._found, len(self._keys)
        left = [batch.only(places) for batch in self._batches if (places := _missing(batch, found))]
        cells = f"{total:,} cells" + (f" of {len(self._batches):,} variants" if len(self._batches) > 1 else "")
        if found:
            self._say(f"{cells}, {len(found):,} kept from before")
        elif total > 1:
            self._say(cells)
        self._warn()

        waiting = counted((batch, list(range(len(batch.keys)))) for batch in left)
        kinds = {key: kind_of(batch, place) for batch in left for place, key in enumerate(batch.keys)}
        pace, told = Pace(), False

        def tick() -> None:
            progress(len(found), total, pace.words(waiting))

        tick()
        try:
            for ran in execution.run(left, tick):
                found[ran.key] = ran.row
                waiting[kinds[ran.key]] -= 1
                pace.ended(kinds[ran.key])
                self._warn()
                tick()
                if not told and pace.steady:
                    told = True
                    if (seconds := pace.left(waiting) or 0) >= _LONG_SECONDS:
                        self._say(f"{len(found):,} of {total:,} cells done; {said_left(seconds)}")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {self._said()}") from None
        rows = [[found[key] for key in batch.keys] for batch in self._batches]
        return _Rows(rows, [pooled_rows(some) for some in rows])

    def _warn(self) -> None:
        """Say once that cells cannot be kept, if so."""
        if self._store.failed and not self._warned:
            self._warned = True
            self._say(
                f"{self._store.failed}; cells that end from now on are in the tables, but lost if this command is "
                "interrupted before those are written: make room, or name another --store"
            )

    def _said(self) -> str:
        """How many cells are done, and how many of them are kept."""
        with contextlib.suppress(InputError):
            self._store.flush()
        done, kept = len(self._found), self._store.kept_of(self._found)
        said = f"{done:,} of {len(self._keys):,} cells are done"
        if kept == done:
            return f"{said} and kept: the same command goes on from there"
        if not kept:
            return f"{said}, and none could be kept"
        return f"{said}, {kept:,} of them kept: the same command goes on from those"


def _missing(batch: Batch, found: dict[str, Any]) -> list[int]:
    return [place for place, key in enumerate(batch.keys) if key not in found]


def _written(
    source: Source,
    scenario: ValidScenario,
    batches: Sequence[Batch],
    rows: _Rows,
    folder: Path,
) -> SweepDocument:
    """Write the tables, the scenario and the document; gives that back."""
    is_list = isinstance(source, WorkloadFile)
    decided = decide_all(batches, rows.summary, rows.pooled, is_list)
    named = [(batch.variant, row) for batch, some in zip(batches, rows.summary, strict=True) for row in some]
    _write(folder, SWEPT, [{"variant": variant.name, **row} for variant, row in named])
    _write(folder, CHOICES, decided.choices)
    _write(folder, COMPARED, decided.comparisons)
    values = [
        {"variant": batch.variant.name, "field": field, "value": written(value)}
        for batch in batches
        for field, value in batch.variant.values.items()
    ]
    _write(folder, VARIANTS, values)
    fields = {field: [written(value) for value in each] for field, each in (scenario.sweep or {}).items()}
    document = SweepDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        answer=answer_of(decided, fields),
        but=limits_of(decided),
        budgets=decided.budgets,
        source=source.path.name if isinstance(source, WorkloadFile) else trace_name(source),
        kind="workload" if is_list else "trace",
        reacts=is_list or any(batch.scenario.transport is not None for batch in batches),
        fields=[StatedField(field=field, values=each) for field, each in fields.items()],
        variants=len(batches),
        cells=len(named),
        seeds=list(dict.fromkeys(scenario.seeds)),
        loads=sorted({case.load for case in decided.cases}),
        baseline=decided.baseline,
        cases=decided.cases,
        kept=_kept(decided, scenario),
    )
    (folder / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
    (folder / "sweep.json").write_text(json_text(document), encoding="utf-8")
    return document


def _kept(decided: Decided, scenario: ValidScenario) -> bool | None:
    if scenario.slo is None:
        return None
    return any(case.verdict not in ("none", "lost") for case in decided.cases)


def _write(folder: Path, table: Table, rows: list[dict[str, Any]]) -> None:
    pq.write_table(rows_table(table, rows), folder / f"{table.name}.parquet", compression="zstd")
