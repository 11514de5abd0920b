"""Events: what happens to links in the course of a scenario, such as failures, recoveries, and changes of rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from segcast.analyzer.network.fabric import Event
from segcast.analyzer.values import Duration, Model, Rate


class FlapSpec(Model):
    """A link that goes down and comes up again, several times."""

    period: Duration = Field(description="from one failure to the next; down for the first half of it", ge=2)
    times: int = Field(description="how many failures", ge=1, le=10_000)


class EventSpec(Model):
    """Something that happens to links, in both directions: one of `state`, `rate` and `flap`."""

    at: Duration = Field(description="when, from the first packet that enters the network")
    link: str = Field(description="name or pattern (*, ?, [seq]) of links")
    state: Literal["down", "up"] | None = Field(default=None, description="it fails, or works again at its own rate")
    rate: Rate | None = Field(default=None, description="it has this rate from then on, and is up if it was down")
    flap: FlapSpec | None = Field(default=None, description="it fails and recovers several times")

    @model_validator(mode="after")
    def _one(self) -> EventSpec:
        if sum(given is not None for given in (self.state, self.rate, self.flap)) != 1:
            raise ValueError("give one of state, rate and flap")
        if self.rate == 0:
            raise ValueError('a rate of 0: write state = "down"')
        return self

    def events(self) -> Iterator[Event]:
        """The single changes it stands for, in order of time."""
        if self.flap is not None:
            for time in range(self.flap.times):
                start_ns = self.at + time * self.flap.period
                yield Event(start_ns, self.link, 0)
                yield Event(start_ns + self.flap.period // 2, self.link, None)
        elif self.rate is not None:
            yield Event(self.at, self.link, self.rate)
        else:
            yield Event(self.at, self.link, 0 if self.state == "down" else None)
