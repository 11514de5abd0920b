"""Cells of live runs, each with the cells of forecasts that say what it should have shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.forecast.reading import origin_of, read_forecast_table, read_summary
from segcast.analyzer.metrics.messages import MESSAGES
from segcast.analyzer.schema import LINKS
from segcast.replay.live.document import read_live, read_live_table
from segcast.replay.live.tables import LIVE_FLOWS, LIVE_LINKS, LIVE_SUMMARY
from segcast.traces.errors import InputError

HASHED: Final = "host-ecmp"
"""The policy whose choices depend on seed and five-tuple alone."""


class CellFacts(NamedTuple):
    """A cell, measured or forecast: its row of the summary, times of flows that arrived in ns, bytes by link."""

    summary: dict[str, Any]
    fct_ns: NDArray[np.float64]
    carried_bytes: dict[str, int]
    flows: pl.DataFrame


class CellPair(NamedTuple):
    """A cell that was measured, and what was forecast of it: the same cell, or all draws of the policy on its list."""

    policy: str
    timeout: str | None
    digest: str
    seed: int
    measured: CellFacts
    forecast: list[CellFacts]


def pair_cells(forecasts: Sequence[Path], runs: Sequence[Path]) -> tuple[list[CellPair], list[str]]:
    """The pairs, and notes of what was compared how. Raises InputError where a cell has no forecast of its list.

    A forecast is of a run's list if the digests of their bytes are equal. Policies are paired by label and timeout.
    `host-ecmp` hashes five-tuples alike in both, so it is compared seed by seed. What others draw depends on the order
    of events, or on another hash: all seeds of the forecast are draws of theirs.
    """
    known: dict[str, tuple[Path, list[CellFacts]]] = {}
    for folder in forecasts:
        digest = _list_of(folder)
        if digest in known:
            raise InputError(f"{folder}: is of the flow list of {known[digest][0]}, too; give one forecast of each")
        known[digest] = folder, _cells(folder, read_summary, read_forecast_table, (MESSAGES, LINKS))
    pairs: list[CellPair] = []
    notes: list[str] = []
    for run in runs:
        document = read_live(run)
        digests = {seed: each.xxh128 for each in document.lists for seed in each.seeds}
        names = {each.xxh128: each.path for each in document.lists}
        measured = _cells(run, lambda of: read_live_table(of, LIVE_SUMMARY), read_live_table, (LIVE_FLOWS, LIVE_LINKS))
        for cell in measured:
            row = cell.summary
            digest = digests.get(row["seed"], "")
            if digest not in known:
                name = names.get(digest, "a list that live.json does not name")
                raise InputError(
                    f"{run}: {row['cell']} sent {name}, of which no forecast was given; "
                    "run segcast forecast on that list"
                )
            folder, cells = known[digest]
            alike = [each for each in cells if _same(each.summary, row)]
            if not alike:
                name = ", ".join(filter(None, (row["policy"], row["timeout"])))
                raise InputError(f"{folder}: has no cell of {name} at load 1, which {run} measured; forecast it, too")
            own = [each for each in alike if each.summary["seed"] == row["seed"]]
            hashed = row["policy"] == HASHED
            draws = own if own and hashed else alike
            if hashed and not own:
                notes.append(f"{row['cell']}: compared with seeds of the forecast that are not its own")
            pairs.append(CellPair(row["policy"], row["timeout"], digest, row["seed"], cell, draws))
        notes += [f"{run.name}: {finding}" for finding in document.findings]
    return pairs, notes


def _list_of(folder: Path) -> str:
    origin = origin_of(folder)
    if origin.kind != "workload" or not origin.reacts:
        raise InputError(f"{folder}: is of no flow list; a live run is compared with the forecast of the list it sent")
    return origin.sources[0].xxh128


def _cells(folder: Path, summary: Any, table: Any, tables: tuple[Any, Any]) -> list[CellFacts]:
    flows, links = (pl.DataFrame(pl.from_arrow(table(folder, each))) for each in tables)
    times = {name[0]: part for name, part in flows.partition_by("cell", as_dict=True).items()}
    carried = {name[0]: part for name, part in links.partition_by("cell", as_dict=True).items()}
    found = []
    for row in summary(folder).to_pylist():
        own, of = times.get(row["cell"]), carried.get(row["cell"])
        if own is None or of is None:
            raise InputError(f"{folder}: has no flows or links of {row['cell']}; make it again")
        fct_ns = own["fct_ns"].drop_nulls().to_numpy().astype(np.float64)
        found.append(CellFacts(row, fct_ns, dict(zip(of["name"], of["carried_bytes"], strict=True)), own))
    return found


def _same(forecast: dict[str, Any], measured: dict[str, Any]) -> bool:
    timeouts = {
        (row["timeout_ns"], None if row["timeout_ns"] is not None else row["timeout"]) for row in (forecast, measured)
    }
    return bool(forecast["load"] == 1 and forecast["policy"] == measured["policy"] and len(timeouts) == 1)
