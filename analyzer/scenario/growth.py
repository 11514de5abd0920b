"""How much more, or less, a scenario offers to the network than the trace: more connections, or faster ones."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from segcast.analyzer.values import Model, Prefix, Seed
from segcast.traces.protocols import ICMP, ICMPV6, TCP, UDP

LEAST_FACTOR: Final = 0.001
MOST_LOAD: Final = 1000
LEAST_SHARE: Final = Fraction(1, 10_000)
MOST_SHARE: Final = Fraction(10)
MOST_GROWTH: Final = 100_000
MOST_YEARS: Final = 30
PROTOCOLS: Final = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6, "sctp": 132}


def listed(value: object) -> object:
    """A single value as a list of it."""
    return value if isinstance(value, list | tuple) else [value]


def millionths(value: float) -> float:
    """The value itself, which must be whole millionths, so that every factor is an exact fraction."""
    if round(value, 6) != value:
        raise ValueError(f"{value} has more than six decimals")
    return value


def _percent(text: object) -> Fraction:
    match = re.fullmatch(r"\s*([+-]?\d{1,6}(?:\.\d{1,4})?)\s*%\s*", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a share such as "30%"')
    return Fraction(match[1]) / 100


def _of_network(text: str) -> str:
    share = _percent(text)
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise ValueError(
            f"{text} of the busiest link is not within {float(100 * LEAST_SHARE):g}% to {float(100 * MOST_SHARE):g}%"
        )
    return f"{float(100 * share):.8g}%"


def load_of(value: object) -> float | str:
    """A load as scenarios say it: a factor, or a share of the busiest link, which stays text. Raises ValueError."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        return _of_network(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'{value!r} is neither a factor, such as 1.5, nor a share of the busiest link, such as "50%"')
    if not value >= LEAST_FACTOR:
        raise ValueError(f"must be {LEAST_FACTOR:g} or more")
    if value > MOST_LOAD:
        raise ValueError(f'must be {MOST_LOAD} or less; a share of the busiest link, such as "50%", may need more')
    return millionths(float(value))


def share_of(load: str) -> Fraction:
    """The part of the busiest link that a load like `50%` asks for."""
    return _percent(load)


def _rate_of_growth(text: object) -> str:
    rate = _percent(text)
    if not -1 < rate <= 10 or not rate:
        raise ValueError(f"{text} a year is not above -100% and at most 1000%, and not 0%")
    return f"{float(100 * rate):g}%"


def _application(text: str) -> str:
    name, _, port = text.lower().partition("/")
    known = name in PROTOCOLS or (name.isdecimal() and int(name) < 256)
    if not known or (port and not (port.isdecimal() and int(port) < 65536)):
        raise ValueError(f'{text!r} is not a protocol and a port, such as "tcp/443"; there are {", ".join(PROTOCOLS)}')
    return f"{name}/{int(port)}" if port else name


Factors = Annotated[
    tuple[Annotated[float, Field(ge=LEAST_FACTOR, le=MOST_GROWTH), AfterValidator(millionths)], ...],
    BeforeValidator(listed),
    Field(min_length=1, max_length=100),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": LEAST_FACTOR, "maximum": MOST_GROWTH},
                {"type": "array", "items": {"type": "number", "minimum": LEAST_FACTOR, "maximum": MOST_GROWTH}},
            ]
        }
    ),
]
_LOAD: Final = {
    "anyOf": [
        {"type": "number", "minimum": LEAST_FACTOR, "maximum": MOST_LOAD},
        {"type": "string", "pattern": r"^\s*\+?\d{1,6}(\.\d{1,4})?\s*%\s*$", "examples": ["50%"]},
    ]
}
Loads = Annotated[
    tuple[Annotated[float | str, BeforeValidator(load_of)], ...],
    BeforeValidator(listed),
    Field(min_length=1, max_length=100),
    WithJsonSchema({"anyOf": [*_LOAD["anyOf"], {"type": "array", "items": _LOAD}]}),
]
PerYear = Annotated[str, BeforeValidator(_rate_of_growth), WithJsonSchema({"type": "string", "examples": ["30%"]})]


class Step(NamedTuple):
    """A factor of growth, and the year that it is of, where growth is given by the year."""

    factor: Fraction
    year: int | None = None


class GroupSpec(Model):
    """Connections that grow; one must fit all that is given."""

    between: Annotated[tuple[Prefix, ...], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="one end in each of two prefixes, whichever opened it"
    )
    port: Annotated[int, Field(ge=0, le=65535)] | None = Field(default=None, description="a port of either end")
    application: Annotated[str, AfterValidator(_application)] | None = Field(
        default=None, description="protocol and port of either end, such as tcp/443; or a protocol alone"
    )

    @model_validator(mode="after")
    def _something(self) -> GroupSpec:
        if self.between is None and self.port is None and self.application is None:
            raise ValueError("give between, port or application")
        return self

    @property
    def protocol(self) -> int | None:
        """The protocol's number, if an application is given."""
        if self.application is None:
            return None
        name = self.application.partition("/")[0]
        return PROTOCOLS.get(name) if name in PROTOCOLS else int(name)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that an end must have, each of them."""
        of_application = (self.application or "").partition("/")[2]
        given = [self.port] if self.port is not None else []
        return (*given, *([int(of_application)] if of_application else []))


class GrowthSpec(Model):
    """How what is offered grows: by copies of connections, or by compressing the trace's time."""

    by: Literal["flows", "rate"] = Field(
        default="flows",
        description="flows: whole connections are copied, or left out below 1; rate: time is compressed, as by `load`",
    )
    factor: Factors = Field(
        default=(1.0,), description="how much is offered, in parts of the trace; one or several: from 0.001 to 100000"
    )
    per_year: PerYear | None = Field(default=None, description='instead of `factor`: growth in a year, such as "30%"')
    years: Annotated[int, Field(ge=1, le=MOST_YEARS)] | None = Field(
        default=None, description="with `per_year`: how many years to look ahead; this year is run, too"
    )
    seed: Seed = Field(
        default=1, description="decides which connections are copied, or left out, and when copies start"
    )
    groups: tuple[GroupSpec, ...] = Field(
        default=(), description="connections that grow, those of any of these; none given: all"
    )

    @model_validator(mode="after")
    def _one_way(self) -> GrowthSpec:
        if self.per_year is not None and self.factor != (1.0,):
            raise ValueError("give factor, or per_year with years")
        if (self.per_year is None) != (self.years is None):
            raise ValueError("per_year and years belong together")
        if self.by == "rate" and self.groups:
            raise ValueError('groups need by = "flows": the rate is that of all packets')
        worst = max(float(step.factor) for step in self.steps)
        least = min(float(step.factor) for step in self.steps)
        if not LEAST_FACTOR <= least <= worst <= (MOST_GROWTH if self.by == "flows" else MOST_LOAD):
            most = MOST_GROWTH if self.by == "flows" else MOST_LOAD
            raise ValueError(
                f"factors from {least:g} to {worst:g}: at least {LEAST_FACTOR:g}, by {self.by} at most {most}"
            )
        return self

    @property
    def steps(self) -> tuple[Step, ...]:
        """The factors, exactly as written; those of years are rounded to millionths."""
        if self.per_year is None or self.years is None:
            return tuple(Step(Fraction(repr(factor))) for factor in dict.fromkeys(self.factor))
        yearly = 1 + _percent(self.per_year)
        return tuple(Step(Fraction(round(yearly**year, 6)), year) for year in range(self.years + 1))


class Offered(NamedTuple):
    """What a cell is offered: packets `rate` times as fast, of `flows` times the connections; the year, if one is.

    `share` is what was asked for, where that is a share of the network's: `60%`, or `60% x 1.3` with growth.
    """

    rate: Fraction
    flows: Fraction
    year: int | None = None
    share: str | None = None

    @property
    def load(self) -> Fraction:
        """How much more is offered than the trace has."""
        return self.rate * self.flows

    @property
    def what(self) -> tuple[Fraction, Fraction, int | None]:
        """What is sent, in whatever words it was asked."""
        return self.rate, self.flows, self.year


class KnownLoad(NamedTuple):
    """What a load like `50%` came to: its factor, and the busiest link with its utilisation, evenly spread."""

    factor: Fraction
    share: float
    link: str
