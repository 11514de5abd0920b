"""Reading a scenario from its TOML file, and validating what it says: every error names file, line and key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segcast.analyzer.scenario.choices import PolicyChoice, settled_policies, settled_timeouts
from segcast.analyzer.scenario.growth import GrowthSpec
from segcast.analyzer.scenario.model import FIRST_KIND, Scenario
from segcast.analyzer.scenario.srv6 import with_whole_key_file
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import Origin, Place, Where, WrongKey, key_lines, read_toml
from segcast.analyzer.topologies.registry import topologies
from segcast.analyzer.values import explained
from segcast.traces.errors import InputError


def read_scenario(file: str | Path, *, swept: bool = False) -> ValidScenario:
    """The scenario in a TOML file. Raises InputError with the file, the line and the place in it.

    One that says what is to be swept is read only for who runs sweeps.
    """
    file = Path(file)
    text, data = read_toml(file, "scenario")
    origin = Origin(file, key_lines(text.replace("\r\n", "\n")))
    network = data.get("network")
    if isinstance(network, dict):
        kind = network.get("kind", FIRST_KIND)
        topology = topologies().get(kind) if isinstance(kind, str) else None
        if topology is not None and topology.read_files is not None:
            data, edges = topology.read_files(data, file.parent, origin.where)
            origin = replace(origin, edges=edges)
    read = validated(with_whole_key_file(data, file.parent), origin.where, origin)
    if read.sweep is not None and not swept:
        raise read.wrong(("sweep",), "is what segcast sweep runs; leave it out here")
    return read


def validated(data: dict[str, Any], where: Where, origin: Origin | None = None) -> ValidScenario:
    """The scenario that `data` says; `where` puts a place of it into words, and `origin` is kept for later errors.

    Raises InputError.
    """
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        place, message = explained(error, Scenario)
        if place == ("network",) and any(each["type"] == "network_kind" for each in error.errors()):
            place = ("network", "kind")
        raise InputError(f"{where(_place(place))}: {message}") from None
    try:
        policies = settled_policies(scenario.policies)
        timeouts = settled_timeouts(scenario.timeouts)
    except WrongKey as error:
        raise InputError(f"{where(error.place)}: {error.message}") from None
    for number, choice in enumerate(scenario.policies):
        _check_steering(scenario, choice, lambda key, at=number: where(("policies", at, "steering", *key)))  # type: ignore[misc]
    return ValidScenario.of(scenario, policies, timeouts, origin or Origin())


def with_growth(scenario: ValidScenario, growth: dict[str, Any]) -> ValidScenario:
    """The scenario with another growth than its own; its groups and seed stay. Raises InputError naming the flag."""
    own = scenario.growth.model_dump(include={"by", "seed", "groups"}) if scenario.growth is not None else {}
    try:
        return scenario.model_copy(update={"growth": GrowthSpec.model_validate({**own, **growth})})
    except ValidationError as error:
        raise InputError(f"--growth: {explained(error, GrowthSpec)[1]}") from None


def with_resamples(scenario: ValidScenario, drawn: dict[str, Any]) -> ValidScenario:
    """The scenario with other resamples of the trace than its own. Raises InputError naming the flag."""
    own = scenario.traffic.model_dump(mode="json", exclude_none=True)
    try:
        return scenario.model_copy(update={"traffic": TrafficSpec.model_validate({**own, **drawn})})
    except ValidationError as error:
        raise InputError(f"--{next(iter(drawn))}: {explained(error, TrafficSpec)[1]}") from None


def _check_steering(scenario: Scenario, choice: PolicyChoice, where: Where) -> None:
    if "hosts" in choice.steering:
        raise InputError(f"{where(('hosts',))}: the hosts are the same for all policies; say it in [steering]")
    try:
        scenario.steering_of(choice)
    except ValidationError as error:
        place, message = explained(error, SteeringSpec)
        raise InputError(f"{where(place)}: {message}") from None


def _place(location: tuple[int | str, ...]) -> Place:
    """Where an error is, without what only pydantic calls so: the kind of the network, parameters' own table."""
    if location[0] == "network":
        location = tuple(part for number, part in enumerate(location) if number != 1 or part not in topologies())
    return tuple(part for part in location if part not in ("parameters", "[key]"))
