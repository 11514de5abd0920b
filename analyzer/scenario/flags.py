"""The scenario that a command line means: a file, or the short flags."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError


def scenario_of(file: Path | None, flags: dict[str, Any]) -> ValidScenario:
    """The scenario in `file`, else that of the flags (None: not given). Raises InputError naming the flag."""
    given = {name: value for name, value in flags.items() if value is not None}
    if file is not None:
        if given:
            raise InputError(f"--{next(iter(given))} and --scenario exclude each other; write it into the file")
        return read_scenario(file)
    lists = {"policy": "policies", "timeout": "timeouts", "load": "load"}
    fields = {lists.get(name, name): value for name, value in given.items()}
    for name in lists.values():
        if name in fields:
            fields[name] = [part.strip() for part in fields[name].split(",")]
    if "load" in fields:
        fields["load"] = [_number("load", part) for part in fields["load"]]
    prefixes = {name: _prefixes(name, fields.pop(name)) for name in ("only", "without") if name in fields}
    if prefixes:
        fields["traffic"] = prefixes
    if "seeds" in fields:
        fields["seeds"] = list(range(1, fields["seeds"] + 1))
    if "transport" in fields:
        fields["transport"] = {"control": fields["transport"]}
    if "paths" not in fields:
        raise InputError("give the network: --paths 4x10Gbps, or --scenario FILE")
    return short_scenario(**fields)


def _prefixes(flag: str, text: str) -> list[str]:
    try:
        return [str(ipaddress.ip_network(part.strip())) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--{flag}: {error}; give prefixes such as 10.0.0.0/8") from None


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{flag} {text!r} is not a number") from None
