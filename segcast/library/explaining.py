"""What there is to choose from, and what documents hold."""

from __future__ import annotations

from typing import Any


def policies() -> dict[str, Any]:
    """All policies and flowlet timeouts, their parameters, and where they come from: as `segcast policies --json`."""
    from segcast.analyzer.scenario.catalogue import catalogue

    return catalogue()


def schema(name: str = "scenario") -> dict[str, Any]:
    """The JSON Schema of scenario files, or of a document by its name. Raises InputError naming those there are."""
    from segcast.library.documents import schema_of

    return schema_of(name)
