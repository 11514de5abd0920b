"""How sending hosts know what is in flight, as a scenario says it: for all policies, or for one of them otherwise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from segcast.analyzer.engine.steering import Ack, Scope, Steering
from segcast.analyzer.engine.unseen import SHARES
from segcast.analyzer.values import Duration, Model, Prefix


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is not a share, 0 to 1")
    if round(value * SHARES) / SHARES != value:
        raise ValueError(f"{value} has more than six decimals")
    return value


Share = Annotated[float, AfterValidator(_share)]


class SteeringSpec(Model):
    """The sending hosts, and how they know what is in flight (docs/model.md, In-flight bytes)."""

    hosts: tuple[Prefix, ...] = Field(
        default=(), description="prefixes whose addresses are one host; others are one each"
    )
    ack: Ack = Field(default="modelled", description="when bytes leave the in-flight count")
    scope: Scope = Field(default="pair", description="who shares a counter")
    suspect_after: int = Field(
        default=0, ge=0, le=1_000_000, description="timeouts in a row that make a path suspect; 0: none do"
    )
    suspect_for: Duration = Field(default=10_000_000, description="for how long")
    loss_timeout: Duration = Field(
        default=10_000_000, description="a packet without acknowledgement counts as lost then"
    )
    ack_loss: Share = Field(default=0.0, description="share of modelled acknowledgements that get lost, 0 to 1")
    ack_late: Duration = Field(default=0, description="how much later than modelled acknowledgements return")
    unseen: Share = Field(
        default=0.0, description="share of packets whose TCP header the host does not see, if ack is recorded"
    )

    @model_validator(mode="after")
    def _fits(self) -> SteeringSpec:
        if self.ack != "modelled" and (self.ack_loss or self.ack_late):
            raise ValueError('ack_loss and ack_late need ack = "modelled"')
        if self.ack != "recorded" and self.unseen:
            raise ValueError('unseen needs ack = "recorded"')
        return self

    def steering(self) -> Steering:
        """What the engine needs of it."""
        return Steering(
            self.loss_timeout,
            self.ack,
            self.scope,
            self.suspect_after,
            self.suspect_for,
            round(self.ack_loss * SHARES),
            self.ack_late,
        )

    def but(self, other: dict[str, Any]) -> SteeringSpec:
        """The same hosts with other values for some keys. Raises pydantic's ValidationError."""
        return SteeringSpec.model_validate(self.model_dump(mode="json") | other)
