"""Reading a scenario from its TOML file, and validating what it says: every error names file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from segcast.analyzer.scenario.choices import PolicyChoice, settled_policies, settled_timeouts
from segcast.analyzer.scenario.growth import GrowthSpec
from segcast.analyzer.scenario.model import FIRST_KIND, Scenario
from segcast.analyzer.scenario.srv6 import with_whole_key_file
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import Origin, Place, Where, WrongKey, key_lines, read_toml, written
from segcast.analyzer.topologies.registry import topologies
from segcast.analyzer.values import explained
from segcast.traces.errors import InputError

_ANY_NETWORK: Final = {"paths": [{"segments": ["fd00:0:1000::1"], "links": [{"name": "any", "rate": "1Gbps"}]}]}


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


def with_cells(
    scenario: ValidScenario,
    *,
    policies: Sequence[str] | None = None,
    timeouts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> ValidScenario:
    """The scenario with other policies, timeouts and seeds, where they are given; None leaves its own.

    A label of the scenario's own means what it says there. Raises InputError naming the flag.
    """
    flags = {"policies": "--policy", "timeouts": "--timeout", "seeds": "--seeds"}
    given = {"policies": policies, "timeouts": timeouts, "seeds": seeds}
    chosen = {name: list(values) for name, values in given.items() if values is not None}
    made = validated({"network": _ANY_NETWORK, **chosen}, lambda place: flags.get(str(place[0]), written(place)))
    update: dict[str, Any] = {}
    for name in chosen:
        own = {} if name == "seeds" else {choice.label: choice for choice in getattr(scenario, name)}
        update[name] = tuple(own.get(getattr(each, "label", None), each) for each in getattr(made, name))
    return scenario.model_copy(update=update)


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
