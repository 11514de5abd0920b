"""Events: what happens to links in the course of a scenario, such as failures, recoveries, and changes of rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from segcast.analyzer.network.events import Event, What
from segcast.analyzer.values import Duration, Model, Rate

_MOST_GROUPS: Final = 10_000

GroupsField = Annotated[
    dict[str, Annotated[tuple[str, ...], Field(min_length=1, max_length=_MOST_GROUPS)]], Field(max_length=_MOST_GROUPS)
]


class FlapSpec(Model):
    """A link that goes down and comes up again, several times."""

    period: Duration = Field(description="from one failure to the next; down for the first half of it", ge=2)
    times: int = Field(description="how many failures", ge=1, le=10_000)


class EventSpec(Model):
    """Something that happens to a link, a node or a group, in both directions: one of `state`, `rate` and `flap`."""

    at: Duration = Field(description="when, from the first packet that enters the network")
    link: str | None = Field(default=None, description="name or pattern (*, ?, [seq]) of links")
    node: str | None = Field(default=None, description="instead of `link`: a node, or a pattern, with all its links")
    group: str | None = Field(default=None, description="instead of both: a group of `[groups]`")
    state: Literal["down", "up"] | None = Field(default=None, description="it fails, or works again at its own rate")
    rate: Rate | None = Field(default=None, description="it has this rate from then on, and is up if it was down")
    flap: FlapSpec | None = Field(default=None, description="it fails and recovers several times")

    @model_validator(mode="after")
    def _one(self) -> EventSpec:
        if sum(given is not None for given in (self.link, self.node, self.group)) != 1:
            raise ValueError("give one of link, node and group")
        if sum(given is not None for given in (self.state, self.rate, self.flap)) != 1:
            raise ValueError("give one of state, rate and flap")
        if self.rate == 0:
            raise ValueError('a rate of 0: write state = "down"')
        return self

    @property
    def named(self) -> tuple[What, str]:
        """What it happens to: a link, a node or a group, and its name."""
        if self.link is not None:
            return "link", self.link
        return ("node", self.node) if self.node is not None else ("group", str(self.group))

    def events(self) -> Iterator[Event]:
        """The single changes it stands for, in order of time."""
        if self.flap is not None:
            for time in range(self.flap.times):
                start_ns = self.at + time * self.flap.period
                yield Event(start_ns, *self.named, 0)
                yield Event(start_ns + self.flap.period // 2, *self.named, None)
        elif self.rate is not None:
            yield Event(self.at, *self.named, self.rate)
        else:
            yield Event(self.at, *self.named, 0 if self.state == "down" else None)
