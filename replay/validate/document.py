"""What `validation.json` holds, declared once: a validation is written from these models, and read back by them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from segcast.replay.measure.document import MeasuredPackets
from segcast.replay.validate.tolerances import Tolerances
from segcast.traces.disk.documents import Count, Number, Shape, Whole, read_shape

DOCUMENT: Final = "validation.json"
SCHEMA_VERSION: Final = 1

Row = dict[str, str | bool | int | float | None]


class Checks(Shape):
    """How many comparisons were judged."""

    judged: Count = Field(description="comparisons with a tolerance and enough packets")
    held: Count = Field(description="those within it, whose prediction varies by more than it")
    failed: Count = Field(description="those that are off by more")
    silent: Count = Field(description="those that say nothing: within it, but so would be any other prediction")


class Ranking(Shape):
    """Whether the order of policies is as forecast."""

    metric: str = Field(description="the metric that policies are ordered by")
    forecast: list[str] = Field(description="the policies, best first, as forecast")
    as_sent: list[str] = Field(description="the same as forecast of packets as they were sent")
    measured: list[str] = Field(description="the same as measured")
    swapped: list[list[str]] = Field(description="pairs (better as forecast, better as measured), beyond the tolerance")
    swapped_as_sent: list[list[str]] = Field(description="pairs of the order as sent likewise")
    vanished: list[list[str]] = Field(
        description="pairs (better, worse) that differ by more than the tolerance as forecast, and by less as measured"
    )
    sent: bool = Field(description="whether all schedules were sent as planned, so that the planner's order was tried")


class BaseDelay(Shape):
    """A path's constant delay besides what the model computes."""

    delay_ns: Whole = Field(description="the delay")
    packets: Count = Field(description="packets that it comes from")
    idle: bool = Field(description="whether those met no queue; else it is a low quantile of all")


class DelayP99(Shape):
    """The p99 of one-way delays of all paths together; null if nothing arrived."""

    measured: Number | None = Field(description="as measured")
    as_sent: Number | None = Field(alias="as-sent", description="forecast of packets as they were sent")
    forecast: Number | None = Field(description="the forecast, with the measured base delays added")


class LeftOut(Shape):
    """Packets whose delay says nothing of the links; left out of delays, not of loss."""

    held_up: Count = Field(
        description="those underway while the machine held up a packet that met no other, or a departure"
    )
    exchangeable: Count = Field(description="those with an equal packet underway on another path at the same time")


class ValidatedPolicy(Shape):
    """One measurement against the forecast."""

    policy: str = Field(description="label of the policy, with its cell where it was measured before")
    cell: str = Field(description="cell of the forecast")
    measurement: str = Field(description="the measurement's folder, absolute")
    packets: MeasuredPackets = Field(description="packets by what became of them")
    base_delay_ns: dict[str, BaseDelay] = Field(description="base delays by `path_id`")
    delay_p99_ns: DelayP99 = Field(description="p99 of the one-way delay")
    not_sent: str | None = Field(description="why the schedule counts as not sent as planned; null if it was sent")
    left_out: LeftOut = Field(description="packets left out of delays")
    findings: list[str] = Field(description="what to know before believing the numbers")


class ValidationDocument(Shape):
    """Whether a forecast held, and where it did not."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    holds: bool = Field(
        description="whether in each comparison judged a check holds and none fails, and the order of policies survives"
    )
    judged: Literal["as-sent", "end-to-end", "both"] = Field(description="which comparisons were judged")
    checks: Checks = Field(description="how many comparisons were judged")
    answer: str = Field(description="the verdict as a sentence")
    ranking: Ranking | None = Field(description="whether the order of policies holds; null for a single policy")
    ranking_words: str = Field(description="the same as a sentence")
    disagreements: list[Row] = Field(description="rows of `comparisons` that hold or fail, the furthest off first")
    unjudged: list[Row] = Field(
        description="rows that do neither, though they have a tolerance, the furthest off first"
    )
    findings: list[str] = Field(description="findings of all policies")
    forecast: str = Field(description="the forecast's folder, absolute")
    tolerances: Tolerances = Field(description="the largest errors allowed")
    policies: list[ValidatedPolicy] = Field(description="the measurements, in the order given")
    departures: list[Row] = Field(description="the rows of the `departures` table")
    comparisons: list[Row] = Field(description="the rows of the `comparisons` table")


def read_validation(folder: Path) -> ValidationDocument:
    """What validation.json says. Raises InputError."""
    file = folder / DOCUMENT
    missing = f"{file}: not found, so this is no validation; make one with segcast validate"
    return read_shape(file, ValidationDocument, missing, "run segcast validate again")
