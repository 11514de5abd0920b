"""One measurement against the forecast: what its packets show of the sending, of the links, and of both together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.link_by_link import LinkModel, as_sent
from segcast.analyzer.forecast.reading import read_schedule
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import LOST
from segcast.replay.measure.document import MeasurementDocument
from segcast.replay.schema import COMPARED, COMPARISONS, CURVES, DEPARTURES, MEASURED
from segcast.replay.validate.compare import Comparison, Waits, curves
from segcast.replay.validate.departures import departures, not_sent
from segcast.replay.validate.evidence import Evidence, evidence, late_departures, pauses
from segcast.replay.validate.fates import Base, Fate, base_delays, shifted, unlikely
from segcast.replay.validate.tolerances import Tolerances
from segcast.replay.validate.verdict import AS_SENT, END_TO_END, silent_paths
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError

AGAIN: Final = "run segcast measure again"


def against(
    forecast: Path,
    measurement: Path,
    document: MeasurementDocument,
    timeout_ns: int | None,
    through: tuple[Network, Sequence[LinkModel]],
    tolerances: Tolerances,
) -> dict[str, Any]:
    """What one measurement shows: fields of `ValidatedPolicy`, and `tables`: its rows of the tables by their names.

    `through`: the network, and its links as packets as sent go through them. Raises InputError if the measurement is
    not of the forecast.
    """
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
    frame_bytes = _ints(sent["frame_bytes"])
    again = as_sent(models, ways, measured.path, measured.send_ns, frame_bytes)
    predicted = measured._replace(receive_ns=again.receive_ns)
    bases = base_delays(len(network.paths), measured, predicted, again.queue_ns)
    doubts = [
        said
        for path, base in enumerate(bases)
        if base is not None
        and (said := unlikely(path, base, sum(network.links[link].delay_ns for link in ways[path]), tolerances))
    ]
    predicted, planned = shifted(predicted, bases), shifted(planned, bases)
    pauses_ns = pauses([model.rate_bps for model in models], int(frame_bytes.max()))
    exchangeable = sent["exchangeable"].to_numpy()
    late = late_departures(_ints(sent["planned_ns"]), measured.send_ns, _ints(sent["sender"]))
    seen = evidence(measured, ~exchangeable, frame_bytes, ways, pauses_ns, late, tolerances.absolute_ns)
    timed = ~seen.held_up & ~exchangeable
    residual_ns = measured.receive_ns - predicted.receive_ns
    waits = Waits(
        again.queue_ns,
        np.maximum(again.queue_ns + residual_ns, 0),
        ~exchangeable & ~(seen.lone & (again.queue_ns == 0)),
    )
    unsent = not_sent(senders, timeout_ns)
    comparisons = [
        *Comparison(AS_SENT, predicted, measured, timed, waits).rows(tolerances),
        *Comparison(END_TO_END, planned, measured, timed, not_sent=unsent is not None).rows(tolerances),
    ]
    sources = {"measured": measured, AS_SENT: predicted, "forecast": planned}
    p99 = {name: nearest_ranks(fate.on(timed).delays(), (0.99,))[0] for name, fate in sources.items()}
    return {
        "packets": document.packets,
        "base_delay_ns": {str(path): _base(base) for path, base in enumerate(bases) if base is not None},
        "delay_p99_ns": p99,
        "not_sent": unsent,
        "left_out": {"held_up": int(seen.held_up.sum()), "exchangeable": int(exchangeable.sum())},
        "findings": [*_findings(comparisons, unsent, seen, exchangeable), *doubts, *document.findings],
        "tables": {
            DEPARTURES.name: senders,
            COMPARISONS.name: comparisons,
            CURVES.name: [row for name, fate in sources.items() for row in curves(name, fate)],
            COMPARED.name: _packets(sent, measured, predicted, again.queue_ns, seen),
        },
    }


def _findings(
    comparisons: Sequence[dict[str, Any]], unsent: str | None, seen: Evidence, exchangeable: NDArray[np.bool_]
) -> list[str]:
    """What this measurement cannot say, and what was left out of it."""
    found = [said] if (said := silent_paths(comparisons)) else []
    if unsent is not None:
        found.append(f"the schedule was not sent: {unsent}; so end to end this says nothing of the planner")
    if seen.held_up.any():
        found.append(
            f"the machine held up {seen.stalls:,} packets that met no other, by up to {seen.longest_ns / 1e6:.3g} ms, "
            f"and {seen.late:,} departures; {int(seen.held_up.sum()):,} underway meanwhile are left out of delays"
        )
    if exchangeable.any():
        found.append(
            f"{int(exchangeable.sum()):,} packets had an equal one underway on another path: which arrived when is "
            "unknown, so they are left out of delays"
        )
    return found


def _packets(
    sent: pl.DataFrame, measured: Fate, predicted: Fate, queue_ns: NDArray[np.int64], seen: Evidence
) -> pa.Table:
    """The columns of COMPARED but those of the policy."""
    lost, dropped = measured.receive_ns == LOST, predicted.receive_ns == LOST
    delay, as_sent_ns = (fate.receive_ns - fate.send_ns for fate in (measured, predicted))
    columns: dict[str, Any] = {name: sent[name].to_arrow() for name in ("file", "frame_number", "frame_bytes")}
    columns |= {
        "path_id": measured.path,
        "send_ns": measured.send_ns,
        "delay_ns": pa.array(delay, mask=lost),
        "as_sent_ns": pa.array(as_sent_ns, mask=dropped),
        "wait_ns": pa.array(queue_ns, mask=dropped),
        "residual_ns": pa.array(delay - as_sent_ns, mask=lost | dropped),
        "lone": seen.lone,
        "held_up": seen.held_up,
        "exchangeable": sent["exchangeable"].to_arrow(),
    }
    return pa.table(columns)


def _base(base: Base) -> dict[str, Any]:
    return {"delay_ns": base.delay_ns, "packets": base.packets, "idle": base.idle}


def _joined(forecast: Path, measurement: Path, cell: str) -> pl.DataFrame:
    """The measured packets, each with its fate in the forecast."""
    measured = pl.from_arrow(read_table(measurement / "packets.parquet", MEASURED, mend=AGAIN))
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
