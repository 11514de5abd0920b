"""The catalogue of `segcast policies`: all policies and flowlet timeouts with their parameters."""

from __future__ import annotations

from typing import Any

from segcast.analyzer.detectors.registry import detectors
from segcast.analyzer.policies.registry import Parameters, policies


def catalogue() -> dict[str, Any]:
    """`policies` and `timeouts`, each a list of rows by name, fit for JSON."""
    return {
        "policies": [
            {
                "policy": policy.name,
                "summary": policy.summary,
                "granularity": policy.granularity,
                "steered": policy.steered,
                "learns": policy.learns,
                "source": policy.source,
                "parameters": _explained(policy.parameters),
            }
            for policy in policies().values()
        ],
        "timeouts": [
            {
                "timeout": detector.name,
                "summary": detector.summary,
                "learns": detector.learns,
                "source": detector.source,
                "parameters": _explained(detector.parameters),
            }
            for detector in detectors().values()
        ],
    }


def _explained(parameters: type[Parameters]) -> list[dict[str, Any]]:
    """Name, default, `minimum` and `maximum` or `choices`, and meaning of each parameter."""
    rows = []
    for name, schema in parameters.model_json_schema()["properties"].items():
        row = {"name": name, "default": schema["default"]}
        row |= {bound: schema[bound] for bound in ("minimum", "maximum") if bound in schema}
        row |= {"choices": schema["enum"]} if "enum" in schema else {}
        rows.append(row | {"description": schema["description"]})
    return rows
