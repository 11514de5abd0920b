"""What `live-validation.json` holds, declared once."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Shape

SCHEMA_VERSION: Final = 1

Verdict = Literal["holds", "fails", "says nothing"]


class Against(Shape):
    """A figure of a policy, forecast and measured, and how far they are apart over lists."""

    metric: str = Field(description="`fct_p50_ns` and so on; pooled over all flows of all cells")
    measured: Number | None = Field(description="as measured; null without a value")
    forecast: Number | None = Field(description="as forecast")
    error: float | None = Field(
        description="forecast over measured, less 1: the mean of the logarithms of the cells' ratios"
    )
    low: float | None = Field(description="lower bound of that at 95 %, over cells; null with fewer than two")
    high: float | None = Field(description="upper bound")
    allowed: float | None = Field(description="the largest error that is allowed; null where nothing is judged")
    verdict: Verdict | None = Field(
        description="`holds`: within it, known to twice as much; `fails`: the whole interval is beyond it; null: not "
        "judged"
    )


class Rate(Shape):
    """What happened per flow, forecast and measured."""

    metric: str = Field(description="what is counted: retransmissions, drops, flowlets and so on")
    measured: float | None = Field(description="per flow, as measured; null where it is not known")
    forecast: float | None = Field(description="per flow, as forecast")


class PathShare(Shape):
    """A path's share of the bytes of its group, by the link that it alone has."""

    path_id: Count = Field(description="the path")
    link: str = Field(description="that link")
    measured: float = Field(description="share as measured, a mean over cells")
    forecast: float = Field(description="share as forecast")


class LivePolicy(Shape):
    """A policy with its timeout."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(description="label of the flowlet timeout; null without one")
    cells: Count = Field(description="cells of the live run that were compared")
    flows: Count = Field(description="their flows")
    unfinished: Count = Field(description="those that did not arrive when measured")
    draws: Count = Field(description="cells of the forecast that each was compared with: several where seeds differ")
    figures: list[Against] = Field(description="completion times")
    rates: list[Rate] = Field(description="what happened per flow")
    paths: list[PathShare] = Field(description="shares of paths; none where no link is one path's alone")


class PolicyChange(Shape):
    """From one policy to another, in the same lists: by how much a figure changes."""

    metric: str = Field(description="the figure")
    of: str = Field(description="policy, and timeout, that is compared")
    to: str = Field(description="the one it is compared with")
    measured: float = Field(description="relative change as measured, -0.1 for 10 % less")
    measured_low: float | None = Field(description="lower bound at 95 %, paired over lists; null with fewer than two")
    measured_high: float | None = Field(description="upper bound")
    forecast: float = Field(description="relative change as forecast")
    forecast_low: float | None = Field(description="lower bound")
    forecast_high: float | None = Field(description="upper bound")
    verdict: Literal["same", "open", "opposite"] = Field(
        description="`same`: measured in the forecast's direction, beyond chance; `opposite`: in the other; `open`: "
        "measured within chance"
    )


class LiveValidationDocument(Shape):
    """Whether a forecast of senders that react held against real TCP."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    holds: bool = Field(description="whether a judged figure holds, none fails, and no pair of policies is opposite")
    answer: str = Field(description="the verdict as a sentence")
    ranking: dict[str, dict[str, list[str]]] = Field(
        description="by metric the policies, best first, as `measured` and as `forecast`"
    )
    ranking_words: str = Field(description="whether the order is as forecast, as a sentence")
    tolerance: float = Field(description="the largest error of judged completion times")
    policies: list[LivePolicy] = Field(description="the policies")
    changes: list[PolicyChange] = Field(description="every pair of policies")
    reasons: list[str] = Field(description="where differences may come from, by what was counted")
    findings: list[str] = Field(description="what to know before believing the numbers")
    forecasts: list[str] = Field(description="the forecasts' folders, absolute")
    runs: list[str] = Field(description="the live runs' folders, absolute")
