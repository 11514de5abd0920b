"""Writes the packets of a cell whose senders react as a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from segcast.analyzer.forecast.reading import origin_of, read_forecast_table
from segcast.analyzer.metrics.messages import MESSAGES
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.schema import SENT_PACKETS
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.reading import read_workload
from segcast.replay.export.frames import Ends, records_of
from segcast.replay.export.segments import segments_of
from segcast.replay.rewrite.pcap import FILE_HEADER
from segcast.traces.disk.folders import new_file
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError

BEGIN_NS: Final = 946_684_800 * 10**9
"""2000-01-01: when a list's time 0 is said to be, since a list has no date."""

_LATEST_NS: Final = 2**32 * 10**9
_ROWS: Final = 1 << 16
_AGAIN: Final = "run segcast forecast again"


def export_cell(folder: Path, cell: str, out: Path) -> dict[str, Any]:
    """Write the packets of a cell of a flow list's forecast as the pcap `out`, as their senders saw them leave.

    Returns what was written. Raises InputError if there is no such cell, or the list has changed since.
    """
    if out.suffix.lower() != ".pcap":
        raise InputError(f"{out}: name a file that ends in .pcap")
    attached, header_bytes = _attached(folder)
    packets = _packets_of(folder, cell)
    flows = len(attached.plan.keys)
    segments = segments_of(packets, header_bytes, flows, _asked(folder, cell, attached))
    if len(segments.flow) and int(segments.send_ns[-1]) + BEGIN_NS >= _LATEST_NS:
        raise InputError(f"{folder}: cell {cell} goes on for more years than a pcap has seconds for")
    assert attached.plan.words is not None
    version = np.array([":" in address for address in attached.addresses])
    hosts = np.stack([attached.ends.reshape(-1), attached.ends[:, ::-1].reshape(-1)], axis=1)
    ends = Ends(attached.plan.words, version[hosts[:, 0]], hosts)
    resized = 0
    with new_file(out) as aside, aside.open("wb") as opened:
        opened.write(FILE_HEADER)
        for begin in range(0, len(segments.flow), _ROWS):
            records, others = records_of(segments, ends, slice(begin, begin + _ROWS), BEGIN_NS)
            opened.write(records)
            resized += others
    return {
        "pcap": str(out),
        "cell": cell,
        "packets": len(segments.flow),
        "connections": len(attached.ends),
        "payload_bytes": int(segments.payload_bytes.sum()),
        "resized": resized,
        "first_ns": int(segments.send_ns[0]) + BEGIN_NS if len(segments.flow) else None,
    }


def _attached(folder: Path) -> tuple[AttachedWorkload, int]:
    """The list on its network as the forecast had it, and the bytes of its packets' headers."""
    origin = origin_of(folder)
    if origin.kind != "workload":
        raise InputError(
            f"{folder}: is the forecast of a trace, which is a capture already; "
            "give the forecast of a flow list (segcast workload makes one of a trace)"
        )
    source = origin.sources[0]
    path = Path(source.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the list of {folder} cannot be read: {error.strerror}; {_AGAIN}") from None
    if xxhash.xxh128_hexdigest(data) != source.xxh128:
        raise InputError(f"{path}: is not the list of {folder} any more; {_AGAIN}")
    scenario = read_scenario(folder / "scenario.toml")
    header_bytes = (scenario.transport or TransportSpec()).header
    return attach(read_workload(path), scenario), header_bytes


def _packets_of(folder: Path, cell: str) -> pa.Table:
    kept = sorted(file.stem for file in (folder / "packets").glob("*.parquet"))
    if cell not in kept:
        there = ", ".join(kept) or "none; run segcast forecast with --packets first"
        raise InputError(f"{folder}: no packets of a cell {cell!r}; kept: {there}")
    return read_table(folder / "packets" / f"{cell}.parquet", SENT_PACKETS, mend=_AGAIN)


def _asked(folder: Path, cell: str, attached: AttachedWorkload) -> tuple[NDArray[np.int64], ...]:
    """Flow and bytes of each message, in the order of asking."""
    table = pl.from_arrow(read_forecast_table(folder, MESSAGES))
    assert isinstance(table, pl.DataFrame)
    rows = table.filter(pl.col("cell") == cell)
    row = pc.index_in(rows["flow"].to_arrow().cast(pa.string()), attached.workload.flow)  # growth leaves out, or adds
    if row.null_count:
        raise InputError(f"{folder / MESSAGES.name}.parquet: has other flows than the list; {_AGAIN}")
    order = row.to_numpy()[rows["start_ns"].arg_sort(nulls_last=True).to_numpy()]
    return attached.flow_of_row[order], attached.workload.bytes[order]
