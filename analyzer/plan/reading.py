"""Plan folders, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segcast.analyzer.plan.document import PlanDocument
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import PLAN
from segcast.traces.errors import InputError

_AGAIN: Final = "make it anew with segcast plan"


def read_plan(folder: Path) -> PlanDocument:
    """The document of a plan folder. Raises InputError."""
    file = folder / PLAN.marker
    document = read_shape(file, PlanDocument, f"{folder}: no plan: it has no {PLAN.marker}", _AGAIN)
    if not document.edges:
        raise InputError(f"{file}: names no policy; {_AGAIN}")
    return document
