"""The scenario model: what a forecast runs, as a TOML file or the command line's short flags say it."""

from __future__ import annotations

import functools
import operator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import tomli_w
from pydantic import Discriminator, Field, Tag

from segcast.analyzer.engine.steering import Ties
from segcast.analyzer.scenario.choices import PolicyChoice, PolicyField, TimeoutChoice, TimeoutField
from segcast.analyzer.scenario.cost import CostSpec
from segcast.analyzer.scenario.events import EventSpec, GroupsField
from segcast.analyzer.scenario.growth import (
    GrowthSpec,
    Loads,
    Offered,
    Step,
)
from segcast.analyzer.scenario.srv6 import Srv6Spec
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.scenario.sweeping import Values
from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.slo import SloSpec
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, topologies
from segcast.analyzer.values import Duration, Model, Seed
from segcast.traces.errors import InputError

_KINDS: Final = topologies()
FIRST_KIND: Final = next(kind for kind, topology in _KINDS.items() if topology.is_default)
"""The kind of a network that does not say its kind."""


def _kind_of(value: Any) -> str | None:
    return value.get("kind", FIRST_KIND) if isinstance(value, dict) else getattr(value, "kind", None)


if TYPE_CHECKING:
    NetworkSpec = NetworkBase
else:
    NetworkSpec = Annotated[
        functools.reduce(operator.or_, (Annotated[topology.spec, Tag(kind)] for kind, topology in _KINDS.items())),
        Discriminator(
            _kind_of,
            custom_error_type="network_kind",
            custom_error_message=f"there are {', '.join(_KINDS)}",
        ),
    ]


class Scenario(Model):
    """Everything a forecast depends on besides the trace."""

    policies: Annotated[tuple[PolicyField, ...], Field(min_length=1)] = Field(
        tuple(PolicyChoice(name=name, label=name) for name in ("ecmp", "random", "inflight")),
        description="policies [ecmp, random, inflight]: a name, or a table of name, label and parameters",
    )
    timeouts: Annotated[tuple[TimeoutField, ...], Field(min_length=1, max_length=100)] = Field(
        (TimeoutChoice(name="fixed", label="100us", timeout_ns=100_000),),
        description="timeouts [100us]: a duration, a rule's name, or a table of name, label and parameters",
    )
    load: Loads = Field(
        (1.0,),
        description="factors of the offered rate [1]: the trace's time is compressed by them; one or several, from "
        '0.001 to 1000; or shares such as "50%" of the busiest link, of traffic spread evenly: with `growth` by flows '
        "they are had by copies of connections, else by rate",
    )
    growth: GrowthSpec | None = Field(default=None, description="more connections than the trace has, or fewer")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=10_000)] = Field(
        tuple(range(1, 11)), description="a cell is run with each of them [1 to 10]"
    )
    interval: Annotated[Duration, Field(ge=1000)] = Field(
        default=10_000_000, description="of load over time and its balance"
    )
    packets: Literal["none", "first", "all"] = Field(default="first", description="seeds whose packets are kept")
    network: NetworkSpec = Field(description="links and paths")
    traffic: TrafficSpec = Field(default=TrafficSpec(), description="which packets of the trace enter it")
    attachments: tuple[AttachmentSpec, ...] = Field(default=(), description="who is behind which node")
    unassigned: Literal["spread", "exclude"] = Field(
        default="spread",
        description="hosts in no prefix: dealt to the attachments in turn, by their first packet, or left out",
    )
    events: Annotated[tuple[EventSpec, ...], Field(max_length=10_000)] = Field(
        default=(), description="what happens to links"
    )
    groups: GroupsField = Field(
        default={}, description="shared-risk groups: what fails together, nodes and links by name or pattern"
    )
    detection: Duration = Field(
        default=1_000_000, description="until the fabric's routing knows that a link is down or up"
    )
    ties: Ties = Field(
        default="hash",
        description="what arrives from several links at one instant: in order of a hash of the seed, or of the links",
    )
    transport: TransportSpec | None = Field(
        default=None, description="senders that react, for workloads; none: packets leave as the trace has them"
    )
    steering: SteeringSpec = Field(default=SteeringSpec(), description="the sending hosts")
    slo: SloSpec | None = Field(default=None, description="budgets that an answer must keep")
    cost: CostSpec | None = Field(default=None, description="prices, for answers in money")
    srv6: Srv6Spec = Field(default=Srv6Spec(), description="how steered packets are encapsulated")
    sweep: Annotated[dict[str, Values], Field(max_length=20)] | None = Field(
        default=None,
        description="for `segcast sweep`: fields, and the values that each takes, a list or a range of from, to, steps",
    )

    @property
    def kind(self) -> str:
        """The kind of its network."""
        return next(kind for kind, topology in _KINDS.items() if topology.spec is type(self.network))

    @property
    def fixed_timeouts_ns(self) -> tuple[int, ...]:
        """The timeouts that are fixed; others are rules."""
        return tuple(t.timeout_ns for t in self.timeouts if t.timeout_ns is not None)

    @property
    def growth_spec(self) -> GrowthSpec:
        """How what is offered grows; nothing does unless the scenario says."""
        return self.growth or GrowthSpec()

    @property
    def grows(self) -> bool:
        """Whether any cell has other connections than the trace."""
        return any(one.flows != 1 for one in self.offered)

    @property
    def offered(self) -> tuple[Offered, ...]:
        """What cells are offered, least first: every load with every factor of growth, each once.

        Raises InputError if a load is a share of the network's that nobody has looked up: see `forecast.loads`.
        """
        found = [self._offered(load, step) for load in self.load for step in self.growth_spec.steps]
        once = {one.what: one for one in reversed(found)}
        return tuple(sorted(once.values(), key=lambda one: (one.load, one.rate)))

    def _offered(self, load: float | str, step: Step) -> Offered:
        if not isinstance(load, str):
            factor = Fraction(repr(load))
            if self.growth_spec.by == "rate":
                return Offered(factor * step.factor, Fraction(1), step.year)
            return Offered(factor, step.factor, step.year)
        factor = self.factor_of(load) * step.factor
        share = load if step.factor == 1 else f"{load} x {float(step.factor):g}"
        if self.growth is None or self.growth.by == "rate":
            return Offered(factor, Fraction(1), step.year, share)
        return Offered(Fraction(1), factor, step.year, share)

    def factor_of(self, load: str) -> Fraction:
        """The factor that brings the busiest link to a share like `50%`. Raises InputError if it is not known."""
        raise InputError(f"load {load}: is known only of a trace or a flow list on the network; give a factor")

    @property
    def loads(self) -> tuple[Fraction, ...]:
        """The loads of cells, exactly: how much more is offered than the trace has. Ascending."""
        return tuple(dict.fromkeys(one.load for one in self.offered))

    def steering_of(self, policy: PolicyChoice) -> SteeringSpec:
        """How the hosts know what is in flight, if they run this policy."""
        return self.steering.but(policy.steering) if policy.steering else self.steering

    @property
    def records(self) -> bool:
        """Whether acknowledgements of the trace decide for any policy."""
        return any(self.steering_of(choice).ack == "recorded" for choice in self.policies)

    def to_toml(self) -> str:
        """The whole scenario as text that `read_scenario` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True), multiline_strings=False)
