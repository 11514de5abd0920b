"""A flow list that a forecast is made of, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.table import Workload


@dataclass(frozen=True, slots=True, repr=False)
class WorkloadFile:
    """A workload and the file that it was read from."""

    path: Path
    workload: Workload

    def __repr__(self) -> str:
        return f"<WorkloadFile {self.path.name}: {len(self.workload):,} flows>"


def open_workload(file: str | Path) -> WorkloadFile:
    """Read a flow list. Raises InputError."""
    path = Path(file)
    return WorkloadFile(path, read_workload(path))
