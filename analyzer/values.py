"""The types of a scenario's values: quantities with units, addresses, and the models they stand in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from segcast.traces.errors import InputError
from segcast.traces.refusals import meant, nearest, plainly
from segcast.traces.units import duration_ns, rate_bps, size_bytes, write_duration, write_rate, write_size


def _quantity(parse: Callable[[str], int]) -> BeforeValidator:
    def read(value: object) -> int:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} needs quotes and a unit")
        try:
            return parse(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(read)


def _ipv6(value: str) -> str:
    return str(ipaddress.IPv6Address(value))


def _prefix(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _ipv6_prefix(value: str) -> str:
    return str(ipaddress.IPv6Network(value))


def _mac(value: str) -> str:
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", value.lower()):
        raise ValueError(f"{value!r} is not a MAC address such as 02:00:00:00:00:01")
    return value.lower()


def _text(example: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, "examples": [example]})


DURATION_SCHEMA: Final = _text("100us", "a duration with its unit: ns, us, ms, s")
Duration = Annotated[int, _quantity(duration_ns), PlainSerializer(write_duration), DURATION_SCHEMA]
Size = Annotated[
    int,
    _quantity(size_bytes),
    PlainSerializer(write_size),
    _text("512KiB", "a size with its unit: B, kB, KiB, MB, MiB"),
]
Difference = Annotated[
    int,
    _quantity(lambda text: -size_bytes(text[1:]) if text.startswith("-") else size_bytes(text)),
    PlainSerializer(lambda value: f"-{write_size(-value)}" if value < 0 else write_size(value)),
    _text("-12B", "a size with its unit, which may be below 0"),
]
Rate = Annotated[
    int, _quantity(rate_bps), PlainSerializer(write_rate), _text("25Gbps", "a rate with its unit: bps, Mbps, Gbps")
]
Sid = Annotated[str, AfterValidator(_ipv6)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Ipv6Prefix = Annotated[str, AfterValidator(_ipv6_prefix)]
Mac = Annotated[str, AfterValidator(_mac)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^*?\[\]\x00-\x1f\x7f]+$")]
"""The name of a node, a link or an attachment; patterns match it, so it holds none of their signs."""


class Model(BaseModel):
    """Base of everything in a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    @classmethod
    def instead_of(cls, unknown: Mapping[str, object]) -> str:
        """What to write in place of keys that this table does not have, as TOML; empty where nothing is known."""
        return ""


def explained(error: ValidationError, model: type[BaseModel]) -> tuple[tuple[int | str, ...], str]:
    """Where in the `model` the first error is, and a message that says what is wrong there.

    An unknown key comes first, as a missing one may be what it was meant to be. A list that is too short only because
    an element of it is wrong is no error of its own.
    """
    errors = error.errors()
    places = [each["loc"] for each in errors]
    errors = [
        each
        for each in errors
        if each["type"] != "too_short"
        or not any(len(place) > len(each["loc"]) and place[: len(each["loc"])] == each["loc"] for place in places)
    ]
    first = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    place, message = first["loc"], plainly(first)
    if first["type"] == "extra_forbidden":
        keys = _keys(model, place[:-1])
        beside = [each for each in errors if each["type"] == "extra_forbidden" and each["loc"][:-1] == place[:-1]]
        instead = _instead(model, place[:-1], {str(each["loc"][-1]): each["input"] for each in beside})
        hint = f"; write {instead}" if instead else meant(str(place[-1]), keys)
        message = f"unknown key {place[-1]!r}{hint}"
        covered = [name for name in keys if instead.startswith(f"{name} = ") or name == nearest(str(place[-1]), keys)]
        errors = [each for each in errors if each["loc"] not in [(*place[:-1], name) for name in covered]]
        errors = [each for each in errors if not instead or each is first or each not in beside]
    return place, message + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")


def _instead(model: type[BaseModel], place: Sequence[int | str], unknown: Mapping[str, object]) -> str:
    """What a table at a place of a model says to write instead of unknown keys."""
    said = [found.instead_of(unknown) for found in _tables(model, place) if issubclass(found, Model)]
    return next(filter(None, said), "")


def _keys(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The keys that a table at a place of a model may have."""
    return [key for found in _tables(model, place) for key in found.model_fields]


def _tables(model: type[BaseModel], place: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that a table at a place of a model may be of."""
    models, keyed = [model], False
    for part in place:
        if tagged := [found for found in models if _kind(found) == part]:
            models = tagged  # the kind of a network, by which pydantic tells models apart
        elif keyed:
            keyed = False  # a name of the user's own, under which one of the models stands
        elif isinstance(part, str):
            fields = [found.model_fields[part] for found in models if part in found.model_fields]
            models = [found for field in fields for found in _models(field.annotation)]
            keyed = any(get_origin(field.annotation) is dict for field in fields)
    return models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _kind(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return None if kind is None else next(iter(get_args(kind.annotation)), None)
