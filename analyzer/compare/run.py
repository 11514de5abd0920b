"""Comparing two forecasts: what they were asked, the traffic, results seed by seed, and who keeps budgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.analyzer.answers.candidates import Circumstances
from segcast.analyzer.compare.differences import differences, scenario_of
from segcast.analyzer.compare.document import ComparedForecast, CompareDocument, StatedKept
from segcast.analyzer.compare.pairing import Results, changes, results_of
from segcast.analyzer.compare.words import answer_of, limits_of
from segcast.analyzer.compare.writing import write_compared
from segcast.analyzer.forecast.compare import FCT_HEADLINE, HEADLINE, NamedVariant
from segcast.analyzer.forecast.document import ForecastDocument, LoadedVariant
from segcast.analyzer.forecast.reading import read_document, read_forecast_table, read_summary
from segcast.analyzer.schema import POOLED
from segcast.analyzer.slo import Slo, parse_slo
from segcast.traces.disk.folders import COMPARISON
from segcast.traces.errors import InputError
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1


class _Read(NamedTuple):
    """A forecast folder, read."""

    folder: Path
    document: ForecastDocument
    scenario: dict[str, Any]
    summary: list[dict[str, Any]]
    pooled: list[dict[str, Any]]

    @property
    def reacts(self) -> bool:
        return self.document.trace.reacts

    def results(self, slo: Slo | None) -> Results:
        circumstances = Circumstances(self.document.baseline.policy, reacts=self.reacts, slo=slo)
        return results_of(self.summary, self.pooled, circumstances)


def compare(
    first: str | Path,
    second: str | Path,
    out: str | Path | None = None,
    *,
    slo: str | None = None,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """What differs between two forecast folders; returns the content of compare.json.

    `slo` are budgets, by default those of the second's scenario, else of the first's. The folder `out`, if there is
    one, gets the document, and `finish` is called with it before it gets its name. Raises InputError.
    """
    read = _read(Path(first)), _read(Path(second))
    budgets = _budgets(read, slo)
    document = _document(*read, budgets)
    write_compared(document, out, COMPARISON, [one.folder for one in read], finish)
    return document.as_dict()


def _read(folder: Path) -> _Read:
    document = read_document(folder)
    summary = read_summary(folder).to_pylist()
    pooled = folder / f"{POOLED.name}.parquet"
    return _Read(
        folder,
        document,
        scenario_of(folder),
        summary,
        read_forecast_table(folder, POOLED).to_pylist() if pooled.is_file() else [],
    )


def _budgets(read: tuple[_Read, _Read], given: str | None) -> Slo | None:
    """The budgets that were given, else those of a scenario. Raises InputError if a forecast has no such metric."""
    said = given
    for one in reversed(read):
        spec = one.scenario.get("slo")
        if said is None and isinstance(spec, dict) and isinstance(spec.get("keep"), str):
            said = spec["keep"]
    if said is None:
        return None
    slo = parse_slo(said)
    try:
        for one in read:
            slo.check_mode(one.reacts)
    except InputError as error:
        if given is None:  # they are of the other forecast, whose senders react
            return None
        raise InputError(f"{one.folder}: {error}") from None
    return slo


def _document(first: _Read, second: _Read, slo: Slo | None) -> CompareDocument:
    found = differences((first.document.trace, second.document.trace), (first.scenario, second.scenario))
    same = all(each.of != "traffic" for each in found)
    one, other = first.results(slo), second.results(slo)
    seeds = sorted(set(_seeds(first)) & set(_seeds(second)))
    reacts = first.reacts and second.reacts
    paired = same and bool(seeds)
    kept = [] if slo is None else _kept(one, other)
    document = CompareDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        answer="",
        but=[],
        first=_stated(first),
        second=_stated(second),
        same_traffic=same,
        paired=paired,
        seeds=seeds,
        differences=found,
        only_first=[_variant(each) for each in one.cells if each not in other.cells],
        only_second=[_variant(each) for each in other.cells if each not in one.cells],
        headline=FCT_HEADLINE if reacts else HEADLINE,
        changes=changes(one, other, reacts=reacts, paired=paired),
        slo=None if slo is None else slo.text,
        kept=kept,
        holds=None if slo is None else _holds(kept),
    )
    return document.model_copy(update={"answer": answer_of(document), "but": limits_of(document)})


def _seeds(read: _Read) -> list[int]:
    return list(dict.fromkeys(row["seed"] for row in read.summary))


def _stated(read: _Read) -> ComparedForecast:
    trace = read.document.trace
    return ComparedForecast(
        folder=str(read.folder),
        segcast=read.document.segcast,
        answer=read.document.answer,
        traffic=trace.name,
        packets=trace.packets,
        flows=trace.flows,
        reacts=trace.reacts,
        seeds=_seeds(read),
        cells=len(read.summary),
    )


def _variant(variant: NamedVariant) -> LoadedVariant:
    return LoadedVariant(**variant._asdict())


def _kept(first: Results, second: Results) -> list[StatedKept]:
    """How each variant of either keeps the budgets."""
    everyone = dict.fromkeys([*first.cells, *second.cells])
    return [
        StatedKept(**variant._asdict(), first=_broken(first, variant), second=_broken(second, variant))
        for variant in everyone
    ]


def _broken(results: Results, variant: NamedVariant) -> list[str] | None:
    return list(results.said[variant].broken) if variant in results.said else None


def _holds(kept: list[StatedKept]) -> bool:
    """Whether the second has a policy within the budgets at each of its loads, and breaks none that the first kept."""
    there = [one for one in kept if one.second is not None]
    able = {one.load for one in there if not one.second}
    return able == {one.load for one in there} and not any(one.first == [] and one.second for one in there)
