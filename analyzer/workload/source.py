"""A flow list that a forecast is made of, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from segcast.analyzer.workload.reading import is_workload, read_workload
from segcast.analyzer.workload.table import Workload
from segcast.traces.captures.remote import is_url
from segcast.traces.ingest.opening import checked_layer, open_trace
from segcast.traces.objects.mirror import fetched, is_trace_url, mirrored
from segcast.traces.trace import Trace


@dataclass(frozen=True, slots=True, repr=False)
class WorkloadFile:
    """A workload and the file that it was read from, or written to; then with what was said of it as it was made."""

    path: Path
    workload: Workload
    document: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<WorkloadFile {self.path.name}: {len(self.workload):,} flows>"


def open_workload(file: str | Path) -> WorkloadFile:
    """Read a flow list. Raises InputError."""
    path = Path(file)
    return WorkloadFile(path, read_workload(path))


def open_source(
    path: str | Path,
    *,
    layer: str | None = None,
    say: Callable[[str], None] | None = None,
    columns: Sequence[str] | None = None,
) -> Trace | WorkloadFile:
    """A flow list, or a trace: a folder of one, or captures, which are ingested on the way. Raises InputError.

    What lies in an object store is read by way of a copy in the user's cache; `columns` are those of packets that are
    needed, if not all.
    """
    if isinstance(path, str) and is_url(path):
        if is_trace_url(path):
            return checked_layer(mirrored(path, columns), layer)
        if urlsplit(path).path.lower().endswith((".csv", ".parquet")):
            return open_workload(fetched(path))
    return open_workload(path) if is_workload(path) else open_trace(path, layer=layer, say=say)
