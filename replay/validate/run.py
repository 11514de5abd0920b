"""`segcast validate`: a forecast against measurements of it: the sending, the model, and both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.engine.link_by_link import LinkModel, link_model
from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.forecast.reading import check_captured, read_summary
from segcast.analyzer.network.model import Network
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.measure.document import DOCUMENT as MEASUREMENT
from segcast.replay.measure.document import MeasurementDocument
from segcast.replay.schema import COMPARED, COMPARISONS, CURVES, DEPARTURES
from segcast.replay.validate.against import AGAIN, against
from segcast.replay.validate.document import DOCUMENT, SCHEMA_VERSION, ValidationDocument
from segcast.replay.validate.tolerances import Tolerances
from segcast.replay.validate.verdict import Judge, verdict
from segcast.traces.disk.documents import json_text, read_shape
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
from segcast.traces.units import write_size
from segcast.traces.version import VERSION

_REPEATED: Final = ["policy", "cell"]

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
    check_captured(forecast)  # refused first if it is no forecast, or of none that can be measured
    model = read_scenario(forecast / "scenario.toml" if scenario is None else scenario)
    network = _network(forecast, model)
    summary = {row["cell"]: row for row in read_summary(forecast).to_pylist()}
    policies: list[dict[str, Any]] = []
    tables: dict[str, list[dict[str, Any]]] = {DEPARTURES.name: [], COMPARISONS.name: [], CURVES.name: []}
    with (
        new_folder(out, marker=DOCUMENT, inputs=[forecast, *measurements]) as folder,
        pq.ParquetWriter(
            folder / f"{COMPARED.name}.parquet", COMPARED.arrow_schema(), compression="zstd", use_dictionary=_REPEATED
        ) as packets,
    ):
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
            found = against(forecast, measurement, document, row["timeout_ns"], (network, models), tolerances)
            for name, rows in found.pop("tables").items():
                if name == COMPARED.name:
                    packets.write_table(_labelled(rows, names))
                else:
                    tables[name] += [{**names, **entry} for entry in rows]
            policies.append({**names, "measurement": str(measurement.resolve()), **found})
            if progress is not None:
                progress(number + 1, len(measurements))
        for table in (DEPARTURES, COMPARISONS, CURVES):
            _write(folder, table, tables[table.name])
        validation = ValidationDocument.model_validate(
            {"segcast": VERSION, "schema_version": SCHEMA_VERSION}
            | verdict(policies, tables[COMPARISONS.name], tolerances, judge)
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
    return read_shape(file, MeasurementDocument, missing, AGAIN)


def _label(row: dict[str, Any], taken: Sequence[str]) -> str:
    """The policy, with its cell where it has been measured already."""
    return row["policy"] if row["policy"] not in taken else f"{row['cell']} ({len(taken) + 1})"


def _labelled(packets: pa.Table, names: dict[str, str]) -> pa.Table:
    """The packets of one measurement as rows of COMPARED."""
    columns = {
        name: pa.array([value]).take(pa.array(np.zeros(len(packets), np.int64))) for name, value in names.items()
    }
    schema = COMPARED.arrow_schema()
    columns |= {name: packets[name] for name in packets.column_names}
    return pa.table([columns[field.name] for field in schema], names=schema.names).cast(schema)


def _write(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    content = pa.Table.from_pylist(list(rows), schema=table.arrow_schema())
    pq.write_table(content, folder / f"{table.name}.parquet", compression="zstd")
