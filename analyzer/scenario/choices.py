"""Which policies and flowlet timeouts a scenario runs: by name, or by name with a label and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema

from segcast.analyzer.detectors.registry import Detector, detectors, find_detector
from segcast.analyzer.policies.registry import Parameters, Policy, find_policy, policies
from segcast.analyzer.toml_keys import WrongKey
from segcast.analyzer.values import DURATION_SCHEMA, Model, explained
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant
from segcast.traces.units import duration_ns, write_duration

FIXED: Final = "fixed"
LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9 ._+=/%()-]{0,63}"


class Choice(Model):
    """A policy or detector by name; tables know it by its `label`, which is empty until it is settled."""

    name: str
    label: str = Field("", pattern=f"^({LABEL})?$")
    parameters: dict[str, Any] = Field(default_factory=dict)


class PolicyChoice(Choice):
    """A policy to run; `steering` holds the keys in which its hosts differ from the scenario's."""

    steering: dict[str, Any] = Field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """The policy of that name, from the registry."""
        return find_policy(self.name)

    def built(self) -> Parameters:
        """The values of its parameters, which were checked when the scenario was read."""
        return self.policy.parameters.model_validate(self.parameters)


class TimeoutChoice(Choice):
    """A flowlet timeout to run: fixed at `timeout_ns`, or a detector."""

    timeout_ns: int | None = None

    @property
    def detector(self) -> Detector:
        """The detector of that name, from the registry."""
        return find_detector(self.name)

    def built(self) -> Parameters:
        """The values of its parameters, which were checked when the scenario was read."""
        return self.detector.parameters.model_validate(self.parameters)


def _parted(value: object, keys: Sequence[str] = ("name", "label")) -> object:
    """The fields of Choice for a name, or for a table such as `{name, label, hash = "crc32"}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict):
        known = {key: value[key] for key in keys if key in value}
        return known | {"parameters": {key: value[key] for key in value if key not in keys}}
    return value


def _policy(value: object) -> object:
    return _parted(value, ("name", "label", "steering"))


def _timed(value: object) -> object:
    if isinstance(value, str) and not re.match(r"[a-z]", value):
        try:
            timeout_ns = duration_ns(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return {"name": FIXED, "label": write_duration(timeout_ns), "timeout_ns": timeout_ns}
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{value!r} needs quotes and a unit")
    parted = _parted(value)
    if isinstance(parted, dict) and parted.get("name") == FIXED:
        raise ValueError('write a fixed timeout as a duration, such as "100us"')
    return parted


def _joined(choice: Choice) -> Any:
    """A choice in the shortest form that a scenario may write it in."""
    if choice.name == FIXED:
        return choice.label
    steering = getattr(choice, "steering", {})
    if not choice.parameters and not steering and choice.label in ("", choice.name):
        return choice.name
    label = {"label": choice.label} if choice.label else {}
    return {"name": choice.name, **label, **({"steering": steering} if steering else {}), **choice.parameters}


def _json_schema(kind: str, *others: dict[str, Any], **keys: dict[str, Any]) -> WithJsonSchema:
    table = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": f"name of the {kind}"},
            "label": {"type": "string", "pattern": f"^{LABEL}$", "description": "what tables and figures call it"},
            **keys,
        },
        "required": ["name"],
        "description": f"a {kind} with a label or parameters of its own",
    }
    return WithJsonSchema({"anyOf": [*others, {"type": "string", "description": f"name of a {kind}"}, table]})


_STEERING: Final = {"type": "object", "description": "keys of steering that differ for this policy, hosts excepted"}
PolicyField = Annotated[
    PolicyChoice, BeforeValidator(_policy), PlainSerializer(_joined), _json_schema("policy", steering=_STEERING)
]
TimeoutField = Annotated[
    TimeoutChoice,
    BeforeValidator(_timed),
    PlainSerializer(_joined),
    _json_schema("rule for timeouts", DURATION_SCHEMA.json_schema or {}),
]

Chosen = TypeVar("Chosen", bound=Choice)


def settled_policies(given: Sequence[PolicyChoice]) -> tuple[PolicyChoice, ...]:
    """The policies with all parameters and labels. Raises WrongKey."""
    known = {name: policy.parameters for name, policy in policies().items()}
    return _settled(given, "policies", "policy", known, f"{', '.join(known)}; of your own: --plugin FILE")


def settled_timeouts(given: Sequence[TimeoutChoice]) -> tuple[TimeoutChoice, ...]:
    """The timeouts with all parameters and labels. Raises WrongKey."""
    known = {name: detector.parameters for name, detector in detectors().items()}
    there = ", ".join(name for name in known if name != FIXED) + "; of your own: --plugin FILE"
    return _settled(given, "timeouts", "flowlet timeout", known, f"a duration{', ' if there else ''}{there}")


def _settled(
    given: Sequence[Chosen], key: str, what: str, known: Mapping[str, type[BaseModel]], there: str
) -> tuple[Chosen, ...]:
    names = [name for name, _ in {(choice.name, repr(choice)) for choice in given}]
    found: dict[str, Chosen] = {}
    for number, choice in enumerate(given):
        parameters = known.get(choice.name)
        if parameters is None:
            raise WrongKey((key, number), f"unknown {what} {choice.name!r}{meant(choice.name, known)}; known: {there}")
        try:
            checked = parameters.model_validate(choice.parameters).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            place, message = explained(error, parameters)
            if place and place[0] not in parameters.model_fields:
                there = ", ".join(parameters.model_fields) or "none"
                message = f"{choice.name} has no such parameter; it has {there}"
            raise WrongKey((key, number, *place), message) from None
        label = choice.label or _default_label(choice, names.count(choice.name) > 1)
        whole = choice.model_copy(update={"label": label, "parameters": checked})
        if found.setdefault(label, whole) != whole:
            raise WrongKey((key, number), f"a second {what} is called {label!r}; give it a label of its own")
    return tuple(found.values())


def _default_label(choice: Choice, several: bool) -> str:
    if not several or not choice.parameters:
        return choice.name
    text = " ".join([choice.name, *(f"{key}={value}" for key, value in choice.parameters.items())])
    return text if re.fullmatch(LABEL, text) else choice.name
