"""What `segcast policies --json` prints."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Shape


class ExplainedParameter(Shape):
    """A parameter of a policy or flowlet timeout."""

    name: str = Field(description="its name")
    default: Any = Field(description="its value unless given")
    minimum: Number | None = Field(None, description="the least; absent without")
    maximum: Number | None = Field(None, description="the largest; absent without")
    choices: list[Any] | None = Field(None, description="what it may be; absent where it is a number")
    description: str = Field(description="what it means")


class Explained(Shape):
    """A policy or a flowlet timeout."""

    summary: str = Field(description="what it does")
    learns: bool = Field(description="whether it follows what returns from the network")
    source: str = Field(description="where it comes from")
    parameters: list[ExplainedParameter] = Field(description="its parameters")


class ExplainedPolicy(Explained):
    """A policy."""

    policy: str = Field(description="its name")
    granularity: str = Field(description="what it chooses for: `flow`, `flowlet`, `packet`, or `asked` at each packet")
    steered: bool = Field(description="whether hosts carry it out by segment lists; else switches do")


class ExplainedTimeout(Explained):
    """A flowlet timeout."""

    timeout: str = Field(description="its name")


class PoliciesDocument(Shape):
    """All policies and flowlet timeouts."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Count = Field(description="version of this document")
    policies: list[ExplainedPolicy] = Field(description="the policies, by name")
    timeouts: list[ExplainedTimeout] = Field(description="the flowlet timeouts that are not fixed, by name")
