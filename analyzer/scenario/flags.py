"""The scenario that a command line means: a file, or the short flags."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.reading import read_scenario, with_growth, with_resamples
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError


def scenario_of(file: Path | None, flags: dict[str, Any], *, swept: bool = False) -> ValidScenario:
    """The scenario in `file`, else that of the flags (None: not given). Raises InputError naming the flag.

    `swept`: it may say what a sweep varies.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    growth = growth_of(given.pop("growth", None), given.pop("until", None))
    drawn: dict[str, Any] = {name: given.pop(name) for name in ("resamples", "block") if name in given}
    if file is not None:
        if given:
            raise InputError(
                f"--{next(iter(given)).replace('_', '-')} and --scenario exclude each other; write it into the file"
            )
        read = read_scenario(file, swept=swept)
        read = read if growth is None else with_growth(read, growth)
        return with_resamples(read, drawn) if drawn else read
    lists = {"policy": "policies", "timeout": "timeouts", "load": "load"}
    fields = {lists.get(name, name): value for name, value in given.items()}
    for name in lists.values():
        if name in fields:
            fields[name] = [part.strip() for part in fields[name].split(",")]
    if "load" in fields:
        fields["load"] = [part if part.endswith("%") else _number("load", part) for part in fields["load"]]
    prefixes = {name: _prefixes(name, fields.pop(name)) for name in ("only", "without") if name in fields}
    if prefixes:
        fields["traffic"] = prefixes
    if drawn:
        fields["traffic"] = {**fields.get("traffic", {}), **drawn}
    if growth is not None:
        fields["growth"] = growth
    if "seeds" in fields:
        fields["seeds"] = list(range(1, fields["seeds"] + 1))
    if "transport" in fields:
        fields["transport"] = {"control": fields["transport"]}
    if "paths" in fields and "leaf_spine" in fields:
        raise InputError("--paths and --leaf-spine exclude each other; give one network")
    if "paths" not in fields and "leaf_spine" not in fields:
        raise InputError("give the network: --paths 4x10Gbps, --leaf-spine 16x4x25Gbps, or --scenario FILE")
    return short_scenario(**fields)


def growth_of(text: str | None, until: str | None) -> dict[str, Any] | None:
    """What `--growth` and `--until` say, as the table of a scenario; None if nothing."""
    if text is None:
        if until is not None:
            raise InputError("--until says how far growth a year goes on; give --growth, such as 30%/y")
        return None
    yearly, years = re.fullmatch(r"\s*(\S+%)\s*/\s*y\s*", text), re.fullmatch(r"\s*(\d{1,3})\s*y\s*", until or "")
    if yearly is None:
        if until is not None:
            raise InputError(f"--until belongs to growth a year, such as --growth 30%/y, and --growth is {text!r}")
        return {"factor": [_number("growth", part) for part in text.split(",")]}
    if years is None:
        raise InputError(
            f"--growth {text!r}: needs --until, such as --until 5y"
            if until is None
            else f"--until {until!r}: give years, such as 5y"
        )
    return {"per_year": yearly[1], "years": int(years[1])}


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
