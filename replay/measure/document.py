"""What `measurement.json` holds, declared once: a measurement is written from these models, and read back by them."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from segcast.replay.measure.clocks import ClockFit
from segcast.traces.disk.documents import Count, Shape, Whole

DOCUMENT: Final = "measurement.json"
SCHEMA_VERSION: Final = 1


class MeasuredPackets(Shape):
    """Packets by what became of them."""

    planned: Count = Field(description="packets that senders were asked to send")
    sent: Count = Field(description="those seen leaving")
    received: Count = Field(description="those seen arriving")
    received_unseen_sent: Count = Field(description="those seen arriving only; they have no delay")
    duplicates: Count = Field(description="arrivals beyond the first of a packet")
    sent_unplanned: Count = Field(description="packets seen leaving that were not planned")
    received_unplanned: Count = Field(description="packets seen arriving that were not planned")
    unplanned_kinds: dict[str, Count] = Field(
        {}, description="those by kind: ICMP, others, and addresses of link scope"
    )
    frames_without_ip: Count = Field(description="captured frames that hold no IP packet")
    frames_cut: Count = Field(description="captured frames of which too little was kept to know them")
    dropped: Count = Field(description="packets of the forecast that were seen leaving but not arriving")
    not_in_forecast: Count = Field(description="planned packets that are not in the forecast's cell; left out")
    failed: Count = Field(description="packets that the sending programs say they could not send")
    dropped_by_captures: Count = Field(description="packets that the capturing programs say they missed")


class MeasuredPaths(Shape):
    """Packets that were sent by how their path was found."""

    by_segments: Count = Field(description="by the segment list that they left with")
    segments_unknown: Count = Field(description="those whose segment list is that of no path")
    by_links: Count = Field(description="by the links that they were seen at")
    as_planned: Count = Field(description="those without segments that were seen at no link; the forecast's is taken")
    changed: Count = Field(description="packets whose path is not the forecast's")
    seen_off_path: Count = Field(description="times a packet was seen at a link that is not of its path")


class Clocks(Shape):
    """How times of several clocks became those of one."""

    reference: str = Field(description="the clock that all times are on")
    fits: list[ClockFit] = Field(description="the other clocks")


class MeasurementDocument(Shape):
    """What became of the packets of a run."""

    segcast: str = Field("", description="version of Segcast that wrote it")
    schema_version: Count = Field(0, description="version of this document")
    run: str = Field("", description="the run's folder, absolute")
    forecast: str = Field(description="the forecast's folder, absolute")
    cell: str = Field(description="cell of the forecast whose schedule was sent")
    burst_bytes: Count | None = Field(None, description="bucket of links whose burst the scenario omits")
    complete: bool = Field(True, description="whether the run ended as planned")
    reason: str | None = Field(None, description="why it did not; null if it did")
    senders: list[str] = Field(description="the senders, in order of `sender` in the table")
    receivers: list[str] = Field([], description="the receivers, in order of `receiver`")
    packets: MeasuredPackets = Field(description="packets by what became of them")
    paths: MeasuredPaths | None = Field(None, description="packets by how their path was found")
    identity_bytes: Count = Field(0, description="bytes of each packet that it was known by")
    clocks: Clocks | None = Field(None, description="the clocks")
    delay_ns: dict[str, Whole | None] = Field({}, description="quantiles of the one-way delay; null without a delay")
    findings: list[str] = Field([], description="what to know before believing the numbers")
