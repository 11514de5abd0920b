"""What `segcast replay` prints with `--json` where it sends nothing; else it prints run.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Printed, Shape, Whole


class PlannedPoint(Shape):
    """An interface where packets are captured."""

    name: str = Field(description="its name in the inventory")
    machine: str = Field(description="the machine that has it")
    netns: str | None = Field(description="network namespace; null: the machine's own")
    interface: str = Field(description="the interface")


class PlannedSender(PlannedPoint):
    """An interface where packets are sent."""

    packets: Count = Field(description="packets to send")
    bytes: Count = Field(description="bytes of their frames")
    starts_after_ns: Whole = Field(description="its first packet after the first of all")
    longest_frame_bytes: Count = Field(description="the longest frame")
    busiest_bps: Count = Field(description="rate in the busiest 100 ms")
    busiest_pps: dict[str, Count] = Field(description="packets a second in the busiest 1, 10 and 100 ms")
    mtu: Count | None = Field(description="MTU of the interface; null if there is none")
    link_bps: Count | None = Field(description="rate of its link; null if unknown")
    tcpreplay: str | None = Field(description="version of tcpreplay there; null without one")


class ReplayPlanDocument(Printed):
    """What would be sent, and where."""

    rewrite: str = Field(description="folder of the captures to send")
    cell: str = Field(description="the cell that they are of")
    packets: Count = Field(description="packets of all interfaces")
    duration_ns: Whole = Field(description="from the first packet to the last")
    limit_ns: Whole = Field(description="when sending is cut off")
    senders: list[PlannedSender] = Field(description="interfaces that send")
    receivers: list[PlannedPoint] = Field(description="interfaces that receive")
    transit: list[str] = Field(description="points on the way that capture")
    refused: list[str] = Field(description="what speaks against sending")
    notes: list[str] = Field(description="what to know before")
    sent: Literal[False] = Field(description="that nothing was sent")


class ReplayCommandsDocument(Printed):
    """The lines of `replay --print-commands`."""

    commands: list[str] = Field(description="lines for a shell, step by step")


class ClearedMachine(Shape):
    """What killed replays had left on a machine."""

    removed: list[str] = Field(description="folders removed")
    in_use: list[str] = Field(description="folders left, as they are in use")


class ReplayCleanDocument(Printed):
    """What `replay --clean` did."""

    machines: dict[str, ClearedMachine] = Field(description="the inventory's machines behind ssh")
