"""What `probes.json` and the report of a calibration hold, declared once: written from these models, and read back."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from segcast.traces.disk.documents import Count, Printed, Shape, Whole

PROBES_FILE: Final = "probes.json"
SCHEMA_VERSION: Final = 1

SINGLE: Final = "single"
RATE: Final = "rate"
OVERFLOW: Final = "overflow"


class Train(Shape):
    """Packets of one size on one path, sent one after the other."""

    path_id: Count = Field(description="the path")
    kind: str = Field(description="`single` (spaced), `rate` (back to back) or `overflow` (more than buffers hold)")
    ip_bytes: Count = Field(description="size of the IP packets, without SRv6")
    packets: Count = Field(description="how many there are")
    first_ns: Count = Field(description="planned time of the first")
    last_ns: Count = Field(description="planned time of the last")


class ProbesDocument(Shape):
    """Which train of probes is sent when, and on which path."""

    schema_version: Count = Field(0, description="version of this document")
    groups: list[list[str]] = Field(description="attachments (from, to) of each group of paths")
    duration_ns: Count = Field(0, description="how long sending takes")
    packets: Count = Field(0, description="packets of all trains")
    trains: list[Train] = Field(description="the trains, in order of time")


class LinkEstimate(Shape):
    """A value and its interval."""

    value: float = Field(description="the estimate")
    low: float = Field(description="lower bound, at 95 %")
    high: float = Field(description="upper bound")


class PathEstimate(Shape):
    """What probes say of a path."""

    rate_bps: LinkEstimate = Field(description="rate of its slowest link")
    overhead_bytes: LinkEstimate = Field(description="what a frame takes there besides its own bytes")
    base_delay_ns: LinkEstimate = Field(description="delay of a small packet through the idle path")
    burst_bytes: LinkEstimate = Field(description="what the path lets pass at once after an idle time")
    buffer_bytes: LinkEstimate | None = Field(description="what its queue holds; null if nothing was dropped")
    probes: list[Count] = Field(description="packets sent and received")


class _ProbedPath(Shape):
    path_id: Count = Field(description="the path")
    links: list[str] = Field(description="names of its links, in order")


class CalibratedPath(PathEstimate, _ProbedPath):
    """A path, and what probes say of it."""


class CalibrationDocument(Shape):
    """What probes say of the paths of a scenario."""

    segcast: str = Field(description="version of Segcast that found it")
    schema_version: Count = Field(description="version of this document")
    scenario: str = Field(description="the calibrated scenario that was written")
    paths: list[CalibratedPath] = Field(description="the paths that were probed")
    overrides: list[dict[str, Any]] = Field(description="what the scenario overrides, as `network.overrides` has it")


class WrittenProbesDocument(Printed):
    """Probe trains that were written."""

    packets: Count = Field(description="their packets")
    duration_ns: Whole = Field(description="how long sending takes")
    folder: str = Field(description="folder that has them")
    trains: Count = Field(description="trains")
