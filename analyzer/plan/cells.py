"""Runs the cells that a search asks for, each once: over one trace or workload, or from the store."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.forecast.findings import say_places
from segcast.analyzer.forecast.loads import offering_of
from segcast.analyzer.forecast.run import Prepared, prepared
from segcast.analyzer.forecast.runner import CellRunner
from segcast.analyzer.keys import chosen_of, code, digest_of, identity_of
from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.pooled import Sample
from segcast.analyzer.statistics.pools import samples_of
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.trace import Trace

Progress = Callable[[int, int], None]

SAMPLES: Final = "samples"
"""In a row of `Cells.rows`: the samples that were asked for, by metric. It is no column of the summary."""

_IMMATERIAL: Final[dict[str, Any]] = {"packets": "none", "seeds": (1,), "slo": None, "cost": None}
"""What of a scenario is nothing to a cell's row."""


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A policy and its flowlet timeout; each is made once."""

    policy: PolicyChoice
    timeout: TimeoutChoice | None

    @property
    def label(self) -> str:
        """Both, as tables and sentences call them."""
        return self.policy.label if self.timeout is None else f"{self.policy.label}, {self.timeout.label}"


def variants_of(scenario: ValidScenario) -> list[Variant]:
    """The policies of a scenario with their timeouts, in its order. Raises InputError as `plan_cells` does."""
    found: dict[str, Variant] = {}
    for cell in plan_cells(scenario):
        variant = Variant(cell.policy, cell.timeout)
        found.setdefault(variant.label, variant)
    return list(found.values())


class Cells:
    """Rows of the summary of cells over one trace or workload, in any scenario for it."""

    def __init__(
        self,
        source: Trace | WorkloadFile,
        store: CellStore,
        progress: Progress | None = None,
        *,
        threads: int | None = None,
        samples: Collection[str] = (),
    ) -> None:
        """`progress` is told the cells done and all asked for so far, several times a second.

        Of the metrics `samples` (see `sample_table`) rows have the values as well, under SAMPLES.
        """
        self._samples = tuple(samples)
        self._source = source
        self._store = store
        self._progress = progress
        self._threads = threads or usable_cores()
        self._identity = identity_of(source)
        self._prepared: dict[str, Prepared] = {}
        self.ran = 0
        """Cells that were run, not found in the store."""
        self.done = 0
        """Cells of which the rows were given."""
        self._asked = 0

    def rows(self, scenario: ValidScenario, asks: Sequence[tuple[Variant, int]]) -> list[dict[str, Any]]:
        """Rows of variants and seeds, in their order, at the scenario's first load.

        Raises InputError if the scenario does not fit the trace.
        """
        asked = _single(scenario)
        text = asked.model_copy(update={"policies": (), "timeouts": ()}).to_toml()
        one = asked.offered[0]
        text += f"{one.rate} {one.flows}"
        keys = [self._key(text, variant, seed) for variant, seed in asks]
        self._asked += len(asks)
        found = [self._kept(key) for key in keys]
        missing = [number for number, row in enumerate(found) if row is None]
        self.done += len(asks) - len(missing)
        self._tell()
        if missing:
            plans = [CellPlan(asks[n][0].policy, asks[n][0].timeout, one, asks[n][1], False, False) for n in missing]
            for number, row in zip(missing, self._run(asked, plans), strict=True):
                self._keep(keys[number], row)
                found[number] = row
        return [row for row in found if row is not None]

    def _kept(self, key: str) -> dict[str, Any] | None:
        """A row of the store, if all is there that is asked for."""
        row = self._store.get(key)
        if row is None or not self._samples:
            return row
        kept = {metric: self._store.get(digest_of(SAMPLES, metric, key)) for metric in self._samples}
        packed = {metric: each for metric, each in kept.items() if each is not None}
        return row | {SAMPLES: _unpacked(packed)} if len(packed) == len(kept) else None

    def _keep(self, key: str, row: Mapping[str, Any]) -> None:
        self._store.put(key, {name: value for name, value in row.items() if name != SAMPLES})
        for metric, sample in row.get(SAMPLES, {}).items():
            self._store.put(digest_of(SAMPLES, metric, key), _packed(sample))

    def runner(self, scenario: ValidScenario, folder: Path) -> tuple[CellRunner, Offered]:
        """What runs cells as `rows` has them run, on the same packets, writing into `folder`; and what is offered."""
        asked = _single(scenario)
        return self._ready(asked, self._threads)(asked, folder), asked.offered[0]

    def share(self, scenario: ValidScenario) -> float | None:
        """Utilisation of the busiest link, evenly spread, at what the scenario offers first; None if nothing says it.

        Where only packets are faster it is known from that of load 1, which is kept in the store as rows are.
        """
        one = scenario.offered[0]
        asked = scenario.model_copy(update={"load": (1.0,), **_IMMATERIAL})
        key = digest_of("share", code(), self._identity, asked.to_toml(), str(one.flows))
        if (kept := self._store.get(key)) is None:
            grown = scenario if one.flows != 1 else asked
            found = offering_of(self._source, grown).share(one._replace(rate=Fraction(1)))
            kept = {"share": None if found is None else found[0]}
            self._store.put(key, kept)
        share: float | None = kept["share"]
        return share if share is None else share * float(one.rate)

    def places(self, scenario: ValidScenario) -> str:
        """That places of hosts are invented, in words; empty if they are not. Kept in the store as rows are."""
        asked = _single(scenario)
        key = digest_of("places", code(), self._identity, asked.to_toml(), str(asked.offered[0].flows))
        if (kept := self._store.get(key)) is None:
            with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
                kept = {"said": say_places(self._ready(asked, 1)(asked, Path(folder)).traffic)}
            self._store.put(key, kept)
        said: str = kept["said"]
        return said

    def _run(self, scenario: ValidScenario, plans: list[CellPlan]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
            runner = self._ready(scenario, len(plans))(scenario, Path(folder))
            runner.only_summary = not self._samples
            for result in runner.results(plans, self._threads, self._tell):
                rows.append(result.summary)
                if self._samples:
                    own = samples_of(result.samples)
                    rows[-1] = result.summary | {SAMPLES: {name: own.get(name, _NONE) for name in self._samples}}
                self.ran += 1
                self.done += 1
                self._tell()
        return rows

    def _ready(self, scenario: ValidScenario, cells: int) -> Prepared:
        """What runs cells of a scenario; the trace is read anew only where more than the load is another."""
        unloaded = f"{scenario.model_copy(update={'load': (1.0,)}).to_toml()}{scenario.offered[0].flows}"
        if unloaded not in self._prepared:
            self._prepared.clear()  # one at a time: a trace's packets are large
            self._prepared[unloaded] = prepared(self._source, scenario, None, min(cells, self._threads))
        return self._prepared[unloaded]

    def _key(self, text: str, variant: Variant, seed: int) -> str:
        """What a cell's row depends on, as a digest."""
        return digest_of(code(), self._identity, text, chosen_of(variant.policy, variant.timeout), seed)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.done, self._asked)


_NONE: Final = Sample(np.empty(0, np.int64), np.empty(0, np.int64))


def _packed(sample: Sample) -> dict[str, str]:
    """A sample as text: the differences of its two columns, each packed."""
    columns = (np.diff(column, prepend=0).astype("<i8").tobytes() for column in sample)
    return dict(zip(sample._fields, (base64.b64encode(zlib.compress(one)).decode() for one in columns), strict=True))


def _unpacked(packed: Mapping[str, Mapping[str, str]]) -> dict[str, Sample]:
    def column(text: str) -> Any:
        return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8"))

    return {metric: Sample(column(each["values"]), column(each["upto"])) for metric, each in packed.items()}


def _single(scenario: ValidScenario) -> ValidScenario:
    """The scenario at its first load, with nothing that does not change a cell's row."""
    traffic = scenario.traffic
    if not traffic.resample:
        traffic = traffic.model_copy(update={"resamples": 0, "block": None})
    return scenario.model_copy(update={"load": scenario.load[:1], "traffic": traffic, **_IMMATERIAL})
