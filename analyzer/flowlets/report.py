"""`segcast flowlets`: gaps and flowlets of a trace at a list of timeouts, as one document and, if asked, a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.flowlets.split import Closed, packet_gaps, profile, split_flowlets
from segcast.analyzer.flowlets.trying import Trial, say_trying, trials, worth_trying
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.schema import FLOWLETS
from segcast.traces.disk.folders import new_file, owner_of, real_target
from segcast.traces.disk.parquet import open_table
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace, trace_name

GAP_QUANTILES: Final = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def flowlet_report(trace: Trace, timeouts_ns: Sequence[int], out: Path | None = None) -> dict[str, Any]:
    """Gap quantiles of all flows together, and a row of PROFILE per timeout; `out` receives FLOWLETS.

    Packets without an IP header have no flow and are left out. Packets count in time order. Raises InputError; an
    `out` that exists is replaced if it is such a table, and is never made within a trace or a forecast.
    """
    if out is None:
        return _report(trace, timeouts_ns)[0]
    _refuse_others(out)
    with new_file(out) as file:
        report, closed = _report(trace, timeouts_ns)
        pq.write_table(_table(closed, sorted(set(timeouts_ns))), file, compression="zstd")
    return report


def _report(trace: Trace, timeouts_ns: Sequence[int]) -> tuple[dict[str, Any], Closed]:
    rows = pl.from_arrow(trace.packet_table(["time_ns", "flow_id", "ip_bytes"]))
    assert isinstance(rows, pl.DataFrame)
    rows = rows.drop_nulls()
    if not rows["time_ns"].is_sorted():
        rows = rows.sort("time_ns", maintain_order=True)
    flow = np.ascontiguousarray(rows["flow_id"].to_numpy())
    time_ns = np.ascontiguousarray(rows["time_ns"].to_numpy())
    ip_bytes = np.ascontiguousarray(rows["ip_bytes"].to_numpy())
    flows = trace.flow_count
    closed = split_flowlets(flow, time_ns, ip_bytes, flows, timeouts_ns)
    gaps = packet_gaps(flow, time_ns, flows)
    ranks = nearest_ranks(gaps[gaps >= 0], GAP_QUANTILES.values())
    report = {
        "trace": trace_name(trace),
        "packets": len(flow),
        "flows": flows,
        "gap_ns": dict(zip(GAP_QUANTILES, ranks, strict=True)),
        "timeouts": profile(closed, timeouts_ns, flows).to_pylist(),
        "worth_trying": _worth_trying(trials(flow, time_ns, ip_bytes, flows)),
    }
    return report, closed


def _worth_trying(found: list[Trial]) -> dict[str, Any]:
    return {"timeouts": [one._asdict() for one in worth_trying(found)], "says": say_trying(found)}


def _refuse_others(out: Path) -> None:
    """Raise InputError if `out` lies in a trace or a forecast, or is a file that is no table of flowlets."""
    real = real_target(out)
    owner = owner_of(real)
    if owner is not None:
        kind, folder = owner
        raise InputError(f"{out}: lies in the {kind.name} {folder}, which holds nothing else; choose another place")
    if real.is_file():
        try:
            with open_table(real, FLOWLETS, "") as opened:
                ours = opened.schema_arrow.names == FLOWLETS.names()
        except InputError:
            ours = False
        if not ours:
            raise InputError(f"{out}: exists and is no table of flowlets; remove it or choose another name")


def _table(closed: Closed, timeouts_ns: Sequence[int]) -> pa.Table:
    """FLOWLETS."""
    columns = {
        "timeout_ns": np.array(timeouts_ns, np.int64)[closed.level],
        "flow_id": closed.flow,
        "first_ns": closed.first_ns,
        "packets": closed.packets,
        "bytes": closed.bytes,
    }
    table = pa.table(columns, schema=FLOWLETS.arrow_schema())
    return table.sort_by([("timeout_ns", "ascending"), ("first_ns", "ascending"), ("flow_id", "ascending")])
