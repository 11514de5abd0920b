"""Which packets of the trace a scenario is about."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from segcast.analyzer.values import Duration, Model, Prefix

FEWEST_RESAMPLES: Final = 10
MOST_RESAMPLES: Final = 1000


class TrafficSpec(Model):
    """What enters the network of the trace's packets."""

    link_scope: Literal["exclude", "include"] = Field(
        default="exclude",
        description="packets that no router forwards: link-local, loopback, multicast, broadcast, without an address",
    )
    only: tuple[Prefix, ...] = Field(
        default=(), description="flows from or to these prefixes alone; none given: all flows"
    )
    without: tuple[Prefix, ...] = Field(default=(), description="no flows from or to these prefixes")
    resamples: Annotated[int, Field(ge=0, le=MOST_RESAMPLES)] = Field(
        default=0,
        description="besides the trace itself, so many resampled ones are run, to say how far results are of its own "
        "chance: whole connections, drawn anew by blocks of time [0, else at least 10]",
    )
    block: Annotated[Duration, Field(ge=1000)] | None = Field(
        default=None, description="length of those blocks; none given: a twentieth of the trace"
    )
    resample: Annotated[int, Field(ge=0, le=MOST_RESAMPLES)] = Field(
        default=0, description="in place of the trace itself, its resample of this number alone [0: the trace]"
    )

    @model_validator(mode="after")
    def _enough(self) -> TrafficSpec:
        if 0 < self.resamples < FEWEST_RESAMPLES:
            raise ValueError(f"resamples: {self.resamples} say nothing; give at least {FEWEST_RESAMPLES}")
        if self.resample and self.resamples:
            raise ValueError("give resamples, or the number of one resample")
        return self
