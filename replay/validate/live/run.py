"""`segcast validate` of forecasts whose senders react against live runs of the same lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.validate.live.document import SCHEMA_VERSION, LiveValidationDocument
from segcast.replay.validate.live.figures import (
    FIGURES,
    RANKED,
    changes_of,
    figures_of,
    forecast_of,
    rates_of,
    shares_of,
)
from segcast.replay.validate.live.pairs import CellPair, pair_cells
from segcast.replay.validate.live.reasons import reasons_of
from segcast.replay.validate.live.tables import LIVE_FIGURES
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import FORECAST, LIVE, LIVE_VALIDATION, new_folder
from segcast.traces.errors import InputError
from segcast.traces.version import VERSION

DEFAULT_TOLERANCE: Final = 0.1


def is_live(folders: Sequence[Path]) -> bool:
    """Whether a live run is among these folders."""
    return any((folder / LIVE.marker).is_file() for folder in folders)


def validate_live(
    folders: Sequence[Path],
    out: Path,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Compare live runs with forecasts of their lists, both among `folders`, write `out`; returns the document.

    `tolerance` is of p50 and p95 of completion times. `finish` is called with the complete folder before it gets its
    name. Raises InputError if something is missing.
    """
    runs = [folder for folder in folders if (folder / LIVE.marker).is_file()]
    forecasts = [folder for folder in folders if folder not in runs]
    if not forecasts:
        raise InputError("no forecast was given: name those of the lists that the live run sent")
    strange = next((folder for folder in forecasts if not (folder / FORECAST.marker).is_file()), None)
    if strange is not None:
        raise InputError(f"{strange}: is neither a forecast nor a live run; a live run is compared with forecasts")
    scenario = read_scenario(forecasts[0] / "scenario.toml")
    for folder in (*forecasts[1:], *runs):
        other = read_scenario(folder / "scenario.toml")
        for part in ("network", "attachments", "srv6"):
            if getattr(other, part) != getattr(scenario, part):
                raise InputError(f"{folder}: has another {part} than {forecasts[0]}; compare what was sent through one")
    pairs, notes = pair_cells(forecasts, runs)
    network = network_of(forecasts[0], scenario).network
    by_policy: dict[tuple[str, str | None], list[CellPair]] = {}
    for pair in pairs:
        by_policy.setdefault((pair.policy, pair.timeout), []).append(pair)
    order = [choice.label for choice in scenario.policies]
    ordered = dict(sorted(by_policy.items(), key=lambda item: [*order, item[0][0]].index(item[0][0])))
    policies = [
        {
            "policy": policy,
            "timeout": timeout,
            "cells": len(own),
            "flows": sum(pair.measured.summary["messages"] for pair in own),
            "unfinished": sum(pair.measured.summary["unfinished"] for pair in own),
            "draws": max(len(pair.forecast) for pair in own),
            "figures": figures_of(own, tolerance),
            "rates": rates_of(own),
            "paths": shares_of(own, network),
        }
        for (policy, timeout), own in ordered.items()
    ]
    names = {kind: label_of(*kind) for kind in ordered}
    changes = [
        {"of": names[b], "to": names[a], **change}
        for a, b in itertools.combinations(ordered, 2)
        for change in changes_of(ordered[b], ordered[a])
    ]
    ranking = {metric: _ranking({names[kind]: own for kind, own in ordered.items()}, metric) for metric in RANKED}
    reasons = [reason for kind, own in ordered.items() for reason in reasons_of(names[kind], own)]
    document = LiveValidationDocument.model_validate(
        {
            "segcast": VERSION,
            "schema_version": SCHEMA_VERSION,
            **_verdict(policies, changes, tolerance),
            "ranking": ranking,
            "ranking_words": _ranking_words(changes),
            "tolerance": tolerance,
            "policies": policies,
            "changes": changes,
            "reasons": reasons,
            "findings": list(dict.fromkeys(notes)),
            "forecasts": [str(folder.resolve()) for folder in forecasts],
            "runs": [str(folder.resolve()) for folder in runs],
        }
    )
    with new_folder(out, marker=LIVE_VALIDATION.marker, inputs=folders) as folder:
        rows = [
            {"policy": policy["policy"], "timeout": policy["timeout"], **row}
            for policy in policies
            for row in policy["figures"]
        ]
        content = pa.Table.from_pylist(rows, schema=LIVE_FIGURES.arrow_schema())
        pq.write_table(content, folder / f"{LIVE_FIGURES.name}.parquet", compression="zstd")
        (folder / LIVE_VALIDATION.marker).write_text(json_text(document), encoding="utf-8")
        if finish is not None:
            finish(folder)
    return document.as_dict()


def label_of(policy: str, timeout: str | None) -> str:
    """A policy and its timeout in words."""
    return policy if timeout is None else f"{policy}, {timeout}"


def _ranking(of: dict[str, list[CellPair]], metric: str) -> dict[str, list[str]]:
    figure = FIGURES[metric]

    def mean(name: str, *, measured: bool) -> float:
        values = [pair.measured.fct_ns if measured else forecast_of(pair) for pair in of[name]]
        found = [figure(times) for times in values if len(times)]
        return sum(found) / len(found) if found else float("inf")

    return {
        "measured": sorted(of, key=lambda name: mean(name, measured=True)),
        "forecast": sorted(of, key=lambda name: mean(name, measured=False)),
    }


def _verdict(policies: Sequence[dict[str, Any]], changes: Sequence[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    """Whether it holds, and a sentence that says so, the worst first."""
    judged = [(policy, row) for policy in policies for row in policy["figures"] if row["verdict"] is not None]
    held, failed, silent = (
        [each for each in judged if each[1]["verdict"] == said] for said in ("holds", "fails", "says nothing")
    )
    opposite = [change for change in changes if change["verdict"] == "opposite"]
    more = f"; {len(silent)} of {len(judged)} checks say nothing, their intervals are too wide" if silent else ""
    within = f"p50 and p95 of completion times within {100 * tolerance:g} %"
    if failed:
        policy, row = max(failed, key=lambda each: abs(each[1]["error"]))
        name = label_of(policy["policy"], policy["timeout"])
        worst = f"{row['metric'].split('_')[1]} of {name} is off by {100 * row['error']:+.0f} %"
        answer = f"{len(failed)} of {len(judged)} checks fail ({within}): {worst}{more}"
    elif opposite:
        first = opposite[0]
        answer = (
            f"The order of policies is not as forecast: {first['of']} against {first['to']} is measured the other way"
        )
    elif not held:
        answer = f"Nothing can be said of {within}: intervals are too wide, or there are none for want of lists"
    else:
        answer = f"The forecast holds: {within} in all {len(held)} checks that say something{more}"
    return {"holds": bool(held) and not failed and not opposite, "answer": answer}


def _ranking_words(changes: Sequence[dict[str, Any]]) -> str:
    if not changes:
        return "One policy was measured, so there is no ranking to check."
    counts = {said: sum(change["verdict"] == said for change in changes) for said in ("same", "open", "opposite")}
    words = f"Of {len(changes)} differences between policies {counts['same']} are measured as forecast"
    if counts["open"]:
        words += f", {counts['open']} are within chance as measured"
    return f"{words}, {counts['opposite']} are the other way round."
