"""The cells of a sweep: those of each variant, with the keys under which the store has their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, NamedTuple, Protocol

from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.forecast.loads import with_known_loads
from segcast.analyzer.keys import chosen_of, code, digest_of, identity_of
from segcast.analyzer.network.model import check_link
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.growth import KnownLoad
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.fields import SweptVariant, variants_of
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS
from segcast.analyzer.workload.recorded.run import MESSAGE_COLUMNS
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace

Source = Trace | WorkloadFile
MOST_CELLS: Final = 1_000_000
_IMMATERIAL: Final[dict[str, Any]] = {
    "packets": "none",
    "seeds": (1,),
    "slo": None,
    "cost": None,
    "policies": (),
    "timeouts": (),
}
"""What of a scenario is nothing to a cell's row, or has its own place in the key."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells of one variant, in their order; `keys` are those of their rows."""

    variant: SweptVariant
    scenario: ValidScenario
    plans: tuple[CellPlan, ...]
    keys: tuple[str, ...]

    def only(self, places: Sequence[int]) -> Batch:
        """The same with only these of the cells."""
        return Batch(
            self.variant,
            self.scenario,
            tuple(self.plans[place] for place in places),
            tuple(self.keys[place] for place in places),
        )

    def said(self, place: int) -> str:
        """A cell in words."""
        name = self.plans[place].name
        return f"{name} of {self.variant.name}" if self.variant.name else name


class Ran(NamedTuple):
    """A cell that has run: its key and its row, which the store has."""

    key: str
    row: dict[str, Any]


class Execution(Protocol):
    """What runs cells and keeps their rows in the store, each once it has ended."""

    def run(self, batches: Sequence[Batch], tick: Callable[[], object]) -> Iterator[Ran]:
        """Cells as they end, in any order; `tick` is called several times a second, and ends all by raising."""
        ...


def batches_of(source: Source, scenario: ValidScenario, store: CellStore) -> list[Batch]:
    """All cells of a sweep, variant by variant. Raises InputError for what cannot run, before anything does."""
    identity = identity_of(source)
    found, cells = [], 0
    for variant in variants_of(scenario):
        variant.scenario.check_sids()
        _check_links(scenario, variant)
        known = _with_loads(source, identity, variant.scenario, store)
        # Nothing but its row is kept of a cell.
        plans = tuple(plan_cells(known.model_copy(update={"packets": "none"})))
        cells += len(plans)
        if cells > MOST_CELLS:
            raise scenario.wrong(("sweep",), f"more than {MOST_CELLS:,} cells; sweep fewer values, or give fewer seeds")
        found.append(Batch(variant, known, plans, tuple(_keys(identity, known, plans))))
    return found


def _check_links(scenario: ValidScenario, variant: SweptVariant) -> None:
    """Raise InputError for links that there cannot be; a cell would, after those before it."""
    for link in variant.scenario.fabric().links:
        try:
            check_link(link)
        except InputError as error:
            where = scenario.place_of(("sweep",) if variant.name else ("network",))
            raise InputError(f"{where}: {f'with {variant.name}: ' if variant.name else ''}{error}") from None


def _keys(identity: str, scenario: ValidScenario, plans: Sequence[CellPlan]) -> Iterator[str]:
    traffic = scenario.traffic
    if not traffic.resample:
        traffic = traffic.model_copy(update={"resamples": 0, "block": None})
    changes = {**_IMMATERIAL, "traffic": traffic}
    if scenario.growth is None:  # else what is copied is for all factors together
        changes["load"] = (1.0,)
    text = digest_of(code(), identity, scenario.model_copy(update=changes).to_toml(), "sweep")
    chosen: dict[tuple[str, str], list[Any]] = {}
    for plan in plans:
        name = plan.policy.label, "" if plan.timeout is None else plan.timeout.label
        if name not in chosen:
            chosen[name] = chosen_of(plan.policy, plan.timeout)
        offered = plan.offered
        yield digest_of(text, chosen[name], f"{offered.rate} {offered.flows} {offered.year}", plan.seed)


def _with_loads(source: Source, identity: str, scenario: ValidScenario, store: CellStore) -> ValidScenario:
    """The scenario with the factors of loads that are shares of a link, which are kept as rows are."""
    if not scenario.unknown_shares:
        return scenario
    text = scenario.model_copy(update=_IMMATERIAL).to_toml()
    key = digest_of(code(), identity, text, "known loads")
    kept = store.get(key)
    if kept is None:
        known = with_known_loads(source, scenario)
        store.put(key, {load: [str(one.factor), one.share, one.link] for load, one in known.known_loads.items()})
        return known
    return scenario.with_known(
        {load: KnownLoad(Fraction(factor), share, link) for load, (factor, share, link) in kept.items()}
    )


def needed_columns(scenario: ValidScenario) -> list[str]:
    """The columns of a trace's packets that some cell of a sweep needs."""
    fields = tuple(scenario.sweep or ())
    needed = set(TRAFFIC_COLUMNS)
    if scenario.records or any(field.startswith("steering") for field in fields):
        needed |= set(RELEASE_COLUMNS)
    if scenario.transport is not None or any(field.startswith("transport") for field in fields):
        needed |= set(MESSAGE_COLUMNS)
    return sorted(needed)


def check_source(source: Source, scenario: ValidScenario) -> None:
    """Raise InputError for what a sweep does not do."""
    if scenario.slo is not None:
        scenario.slo.slo.check_mode(isinstance(source, WorkloadFile) or scenario.transport is not None)
    for key in ("resamples", "resample"):
        if getattr(scenario.traffic, key):
            raise InputError(f"{scenario.place_of(('traffic', key))}: a sweep is of the trace itself; leave it out")
