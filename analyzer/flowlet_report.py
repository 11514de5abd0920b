"""`segcast flowlets`: gaps and flowlets of a trace at a list of timeouts, as one document and, if asked, a table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from analyzer.flowlets import Closed, packet_gaps, profile, split_flowlets
from analyzer.quantiles import nearest_ranks
from traces.errors import InputError
from traces.trace import Trace, trace_name

GAP_QUANTILES: Final = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def flowlet_report(trace: Trace, timeouts_ns: Sequence[int], out: Path | None = None) -> dict[str, Any]:
    """Gap quantiles of all flows together, and a row of PROFILE per timeout; `out` receives a row per flowlet.

    Packets without an IP header have no flow and are left out. Packets count in time order. Raises InputError.
    """
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
    if out is not None:
        _write_flowlets(closed, sorted(set(timeouts_ns)), out)
    gaps = packet_gaps(flow, time_ns, flows)
    ranks = nearest_ranks(gaps[gaps >= 0], GAP_QUANTILES.values())
    return {
        "trace": trace_name(trace),
        "packets": len(flow),
        "flows": flows,
        "gap_ns": dict(zip(GAP_QUANTILES, ranks, strict=True)),
        "timeouts": profile(closed, timeouts_ns, flows).to_pylist(),
    }


def _write_flowlets(closed: Closed, timeouts_ns: Sequence[int], out: Path) -> None:
    table = pa.table(
        {
            "timeout_ns": np.array(timeouts_ns, np.int64)[closed.level],
            "flow_id": closed.flow,
            "first_ns": closed.first_ns,
            "packets": closed.packets,
            "bytes": closed.bytes,
        }
    ).sort_by([("timeout_ns", "ascending"), ("first_ns", "ascending"), ("flow_id", "ascending")])
    aside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.absolute().parent)
        os.close(handle)
        aside = Path(name)
        pq.write_table(table, aside, compression="zstd")
        aside.chmod(0o644)
        aside.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot write the flowlets: {error.strerror}") from None
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)
