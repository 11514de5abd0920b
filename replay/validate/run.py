"""`segcast validate`: a forecast against measurements of it: the sending, the model, and both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.engine.link_by_link import LinkModel, as_sent, link_model
from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.forecast.reading import read_document, read_schedule, read_summary
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import LOST
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.measure.document import DOCUMENT as MEASUREMENT
from segcast.replay.measure.document import MeasurementDocument
from segcast.replay.schema import COMPARISONS, CURVES, DEPARTURES, MEASURED
from segcast.replay.validate.compare import (
    MOST_BASE_NS,
    Base,
    Fate,
    base_delays,
    compare,
    curves,
    ranking,
    shifted,
    unlikely,
)
from segcast.replay.validate.departures import departures
from segcast.replay.validate.document import DOCUMENT, SCHEMA_VERSION, ValidationDocument
from segcast.replay.validate.tolerances import Tolerances
from segcast.traces.disk.documents import json_text, read_shape
from segcast.traces.disk.folders import new_folder
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
from segcast.traces.units import write_size
from segcast.traces.version import VERSION

AS_SENT: Final = "as-sent"
END_TO_END: Final = "end-to-end"

_AGAIN: Final = "run segcast measure again"
_NAMED: Final = 6

Judge = Literal["as-sent", "end-to-end", "both"]
Progress = Callable[[int, int], None]


def validate(
    forecast: Path,
    measurements: Sequence[Path],
    out: Path,
    *,
    tolerances: Tolerances | None = None,
    judge: Judge = "as-sent",
    scenario: Path | None = None,
    burst_bytes: int | None = None,
    finish: Callable[[Path], object] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare measurements with the forecast, write the folder `out`; returns the content of validation.json.

    `judge`: which comparison must be within the tolerances. `scenario`: instead of the forecast's own, whose links the
    packets as sent go through (a calibrated one); `burst_bytes`: what every link lets pass at once after an idle time,
    instead of what the scenario says, or where it says nothing, what a testbed built. `finish` is called with the
    complete folder before it gets its name.
    Raises InputError if something is missing, or a measurement is of another forecast.
    """
    tolerances = tolerances or Tolerances()
    read_document(forecast)  # refused first if it is no forecast
    model = read_scenario(forecast / "scenario.toml" if scenario is None else scenario)
    network = _network(forecast, model)
    summary = {row["cell"]: row for row in read_summary(forecast).to_pylist()}
    policies: list[dict[str, Any]] = []
    tables: dict[str, list[dict[str, Any]]] = {DEPARTURES.name: [], COMPARISONS.name: [], CURVES.name: []}
    with new_folder(out, marker=DOCUMENT, inputs=[forecast, *measurements]) as folder:
        for number, measurement in enumerate(measurements):
            document = _document(measurement)
            if document.cell not in summary:
                raise InputError(
                    f"{measurement}: measures cell {document.cell!r}, which {forecast} has not; give the forecast that "
                    f"was replayed ({document.forecast})"
                )
            row = summary[document.cell]
            label = _label(row, [policy["policy"] for policy in policies])
            names = {"policy": label, "cell": document.cell}
            models, notes = _models(network, burst_bytes, document.burst_bytes)
            document.findings.extend(notes)
            found = _one(forecast, measurement, document, row["timeout_ns"], (network, models), tolerances)
            for name, rows in found.pop("tables").items():
                tables[name] += [{**names, **entry} for entry in rows]
            policies.append({**names, "measurement": str(measurement.resolve()), **found})
            if progress is not None:
                progress(number + 1, len(measurements))
        for table in (DEPARTURES, COMPARISONS, CURVES):
            _write(folder, table, tables[table.name])
        validation = ValidationDocument.model_validate(
            verdict(policies, tables[COMPARISONS.name], tolerances, judge)
            | {"forecast": str(forecast.resolve()), "tolerances": tolerances, "policies": policies}
            | {"departures": tables[DEPARTURES.name], "comparisons": tables[COMPARISONS.name]}
        )
        (folder / DOCUMENT).write_text(json_text(validation), encoding="utf-8")
        if finish is not None:
            finish(folder)
    return validation.as_dict()


def _network(forecast: Path, scenario: ValidScenario) -> Network:
    """The network that packets as sent go through. Raises InputError where links would differ between packets."""
    if scenario.events:
        raise InputError(
            "scenario: events change links, which a forecast of packets as sent does not know; remove them"
        )
    if scenario.network.host_links is not None:
        raise InputError(
            "scenario: network.host_links is not known to forecasts of packets as sent; remove it for the replay"
        )
    return network_of(forecast, scenario).network


def _models(network: Network, given: int | None, built: int | None) -> tuple[list[LinkModel], list[str]]:
    """The links with the burst that was given, else with their own, else with that of the buckets built; and a note."""
    if given is not None or not built or all(link.burst_bytes for link in network.links):
        return [link_model(link, given) for link in network.links], []
    note = (
        f"links without a burst were built as token buckets of {write_size(built)}: packets as sent go through those "
        "(--burst changes it), the forecast as planned does not"
    )
    return [link_model(link, link.burst_bytes or built) for link in network.links], [note]


def _document(measurement: Path) -> MeasurementDocument:
    file = measurement / MEASUREMENT
    missing = f"{file}: not found, so this is no measurement; make one with segcast measure"
    return read_shape(file, MeasurementDocument, missing, _AGAIN)


def _label(row: dict[str, Any], taken: Sequence[str]) -> str:
    """The policy, with its cell where it has been measured already."""
    return row["policy"] if row["policy"] not in taken else f"{row['cell']} ({len(taken) + 1})"


def _one(
    forecast: Path,
    measurement: Path,
    document: MeasurementDocument,
    timeout_ns: int | None,
    through: tuple[Network, Sequence[LinkModel]],
    tolerances: Tolerances,
) -> dict[str, Any]:
    """What one measurement shows, and its rows of the tables."""
    network, models = through
    rows = _joined(forecast, measurement, document.cell)
    if int(rows["path_id"].max() or 0) >= len(network.paths):  # type: ignore[arg-type]
        raise InputError(f"{measurement}: names a path that the scenario has not; give the forecast that was replayed")
    senders = [
        {"host": host, **_departures(rows.filter(pl.col("sender") == number), timeout_ns)}
        for number, host in enumerate(document.senders)
    ]
    sent = rows.filter(pl.col("send_ns").is_not_null()).sort("send_ns", maintain_order=True)
    if len(sent) == 0:
        raise InputError(
            f"{measurement}: no packet was seen leaving, so there is nothing to compare; measure a run again"
        )
    measured = _fate(sent, "path_id", "send_ns", "receive_ns")
    planned = _fate(sent, "path_id_forecast", "send_ns_forecast", "receive_ns_forecast")
    ways = [path.links for path in network.paths]
    again = as_sent(models, ways, measured.path, measured.send_ns, _ints(sent["frame_bytes"]))
    predicted = measured._replace(receive_ns=again.receive_ns)
    bases = base_delays(len(network.paths), measured, predicted, again.queue_ns)
    doubts = [
        said
        for path, base in enumerate(bases)
        if base is not None
        and (said := unlikely(path, base, sum(network.links[link].delay_ns for link in ways[path]), tolerances))
    ]
    predicted, planned = shifted(predicted, bases), shifted(planned, bases)
    comparisons = compare(AS_SENT, predicted, measured, tolerances) + compare(END_TO_END, planned, measured, tolerances)
    sources = {"measured": measured, "as-sent": predicted, "forecast": planned}
    p99 = {name: (nearest_ranks(fate.delays(), (0.99,)) or [None])[0] for name, fate in sources.items()}
    return {
        "packets": document.packets,
        "base_delay_ns": {str(path): _base(base) for path, base in enumerate(bases) if base is not None},
        "delay_p99_ns": p99,
        "findings": doubts + document.findings,
        "tables": {
            DEPARTURES.name: senders,
            COMPARISONS.name: comparisons,
            CURVES.name: [row for name, fate in sources.items() for row in curves(name, fate)],
        },
    }


def _base(base: Base) -> dict[str, Any]:
    return {"delay_ns": base.delay_ns, "packets": base.packets, "idle": base.idle}


def _joined(forecast: Path, measurement: Path, cell: str) -> pl.DataFrame:
    """The measured packets, each with its fate in the forecast."""
    measured = pl.from_arrow(read_table(measurement / "packets.parquet", MEASURED, mend=_AGAIN))
    schedule = pl.from_arrow(read_schedule(forecast, cell))
    assert isinstance(measured, pl.DataFrame)
    assert isinstance(schedule, pl.DataFrame)
    rows = measured.join(schedule, on=["file", "frame_number"], how="left", suffix="_forecast", maintain_order="left")
    strange = rows.filter(pl.col("send_ns_forecast").is_null() | (pl.col("flow_id") != pl.col("flow_id_forecast")))
    if len(strange):
        raise InputError(
            f"{measurement}: {len(strange)} of its packets are not those of {forecast}; give the forecast that was "
            "replayed, or measure the run again"
        )
    return rows


def _departures(rows: pl.DataFrame, timeout_ns: int | None) -> dict[str, Any]:
    return departures(
        _ints(rows["planned_ns"]), _ints(rows["send_ns"].fill_null(-1)), _ints(rows["flow_id"]), timeout_ns
    )


def _fate(rows: pl.DataFrame, path: str, send: str, receive: str) -> Fate:
    received = _ints(rows[receive].fill_null(LOST))
    return Fate(_ints(rows["flow_id"]), _ints(rows[path]), _ints(rows[send]), received)


def _ints(column: pl.Series) -> NDArray[np.int64]:
    values: NDArray[np.int64] = column.cast(pl.Int64).to_numpy(writable=True)
    return values


def verdict(
    policies: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]], tolerances: Tolerances, judge: Judge
) -> dict[str, Any]:
    """Whether the forecast held, in a word, a sentence and what speaks most against it."""
    judged: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for row in comparisons:
        is_judged = row["holds"] is not None and judge in ("both", row["comparison"])
        (judged if is_judged else others).append(row)
    failed = [row for row in judged if not row["holds"]]
    p99 = {
        policy["policy"]: (policy["delay_p99_ns"]["forecast"], policy["delay_p99_ns"]["measured"])
        for policy in policies
        if None not in (policy["delay_p99_ns"]["forecast"], policy["delay_p99_ns"]["measured"])
    }
    order = ranking(p99, tolerances)
    bases = [base["delay_ns"] for policy in policies for base in policy["base_delay_ns"].values()]
    apart = sum(abs(delay_ns) > MOST_BASE_NS for delay_ns in bases)
    holds = bool(judged) and not failed and not apart and not (order and order["swapped"])
    return {
        "segcast": VERSION,
        "schema_version": SCHEMA_VERSION,
        "holds": holds,
        "judged": judge,
        "checks": {"judged": len(judged), "failed": len(failed)},
        "answer": _answer(judge, len(judged), len(failed), apart, order),
        "ranking": order,
        "ranking_words": ranking_words(order),
        "disagreements": sorted(judged, key=lambda row: (row["holds"], -_times(row)))[:_NAMED],
        "unjudged": sorted(filter(_tolerated, others), key=lambda row: -_times(row))[:_NAMED],
        "findings": [f"{policy['policy']}: {finding}" for policy in policies for finding in policy["findings"]],
    }


def _tolerated(row: dict[str, Any]) -> bool:
    """Whether a row has a tolerance of its path."""
    return bool(row["allowed"]) and row["path_id"] is not None


def _times(row: dict[str, Any]) -> float:
    """By how many times the tolerance a row is off."""
    return float(np.inf) if not row["allowed"] else abs(row["error"]) / float(row["allowed"])


_MEANT: Final = {
    "as-sent": "the forecast of packets as they were sent",
    "end-to-end": "the forecast",
    "both": "the forecast, as planned and as sent,",
}


def _answer(judge: Judge, judged: int, failed: int, apart: int, order: dict[str, Any] | None) -> str:
    what = _MEANT[judge]
    if judged == 0:
        return f"Nothing could be judged: no path has enough packets for {what}"
    if failed:
        return f"{failed} of {judged} checks fail: {what} is off by more than the tolerances"
    if apart:
        return f"Not to be believed: {apart} base delays are more than a second: of another run, or clocks that differ"
    held = f"{what[:1].upper()}{what[1:]} holds in all {judged} checks"
    return held + (", but the order of policies does not" if order and order["swapped"] else "")


def ranking_words(order: dict[str, Any] | None) -> str:
    """Whether the planner's ranking of policies survives, as a sentence."""
    if order is None:
        return "One policy was measured, so there is no ranking to check."
    if order["swapped"]:
        pairs = "; ".join(f"{worse} is measured better than {better}" for better, worse in order["swapped"])
        return f"The planner's ranking by p99 delay does not survive: {pairs}."
    measured = ", ".join(order["measured"])
    if order["measured"] == order["forecast"]:
        return f"The planner's ranking by p99 delay survives: {measured}, best first."
    return (
        f"The planner's ranking by p99 delay survives within the tolerance: forecast {', '.join(order['forecast'])}, "
        f"measured {measured}."
    )


def _write(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    content = pa.Table.from_pylist(list(rows), schema=table.arrow_schema())
    pq.write_table(content, folder / f"{table.name}.parquet", compression="zstd")
