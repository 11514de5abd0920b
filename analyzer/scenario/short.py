"""The scenario of a command line's short flags: `--paths 4x10Gbps`, parallel paths of one link each, or a fabric."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import Place, written
from segcast.analyzer.topologies.parallel import MOST_PATHS
from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns, rate_bps, size_bytes

_COMMAND_LINE: Final = "command line"


def short_scenario(
    *,
    paths: str | None = None,
    leaf_spine: str | None = None,
    delay: str = "5us",
    buffer: str | None = "512KiB",
    ecn: str | None = None,
    burst: str | None = None,
    **others: Any,
) -> ValidScenario:
    """The scenario of the short flags: `paths` like "4x10Gbps" or "2x10Gbps,2x25Gbps", one link each.

    Or `leaf_spine` like "16x4x25Gbps": leaves, spines and the rate of all links. `others` are fields of Scenario.
    Raises InputError naming the flag.
    """
    link = _without_none({"delay": delay, "buffer": buffer, "ecn": ecn, "burst": burst})
    network = _paths(paths or "", link) if leaf_spine is None else _leaf_spine(leaf_spine, link)
    _check_flag("delay", duration_ns, delay)
    for name, size in (("buffer", buffer), ("ecn", ecn), ("burst", burst)):
        if size is not None:
            _check_flag(name, size_bytes, size)
    return validated({"network": network, **_without_none(others)}, _on_command_line)


def _leaf_spine(text: str, link: dict[str, Any]) -> dict[str, Any]:
    """`[network]` of a fabric like "16x4x25Gbps"."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*x\s*(\d{1,9})\s*x\s*(\S.*)", text)
    if match is None:
        raise InputError(f"--leaf-spine {text!r}: write it like 16x4x25Gbps: leaves, spines, rate of links")
    _check_flag("leaf-spine", rate_bps, match[3])
    links = {"rate": match[3], **link}
    return {"kind": "leaf-spine", "leaves": int(match[1]), "spines": int(match[2]), "links": links}


def _paths(paths: str, link: dict[str, Any]) -> dict[str, Any]:
    """`[network]` of parallel paths like "2x10Gbps,2x25Gbps"."""
    specs: list[dict[str, Any]] = []
    for part in paths.split(","):
        match = re.fullmatch(r"\s*(?:(\d+)\s*x)?\s*(\S.*)", part)
        if match is None:
            raise InputError(f"--paths {paths!r}: write it like 4x10Gbps or 2x10Gbps,2x25Gbps")
        count = int((match[1] or "1")[:9])
        if count == 0:
            raise InputError(f"--paths {paths!r}: the number of paths must be at least 1")
        if len(specs) + count > MOST_PATHS:
            raise InputError(f"--paths {paths!r}: more than {MOST_PATHS} paths; give at most {MOST_PATHS}")
        _check_flag("paths", rate_bps, match[2])
        for _ in range(count):
            number = len(specs)
            links = [{"name": f"path{number}", "rate": match[2], **link}]
            specs.append({"segments": [f"fd00:0:{number + 0x1000:x}::1"], "links": links})
    return {"paths": specs}


def _on_command_line(place: Place) -> str:
    flags = {"policies": "--policy", "timeouts": "--timeout", "load": "--load", "growth": "--growth"}
    return flags.get(str(place[0]), f"{_COMMAND_LINE}: {written(place)}")


def _check_flag(name: str, parse: Callable[[str], int], text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        raise InputError(f"--{name}: {error}") from None


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
