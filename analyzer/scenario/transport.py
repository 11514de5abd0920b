"""How senders react, as a scenario says it (docs/transport.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from segcast.analyzer.engine.steering import Ties
from segcast.analyzer.engine.transport.cell import Transport
from segcast.analyzer.values import Duration, Model, Size

_ACK_DELAY_NS = 40_000_000

_Positive = Annotated[Duration, Field(ge=1, le=10**12)]


class TransportSpec(Model):
    """TCP at the hosts: congestion control, loss recovery and receiver."""

    control: Literal["cubic", "dctcp", "newreno"] = Field(default="cubic", description="congestion control")
    rules: Literal["rfc", "ns-3"] = Field(default="rfc", description="the RFCs, or what ns-3 3.37 does instead of them")
    receiver: Literal["rack", "dupack"] = Field(
        default="rack",
        description="how losses are told: by time (RFC 8985), so that reordering costs little, or by three SACKed",
    )
    mss: Annotated[Size, Field(ge=1, le=65_000)] = Field(default=1460, description="payload of a full segment")
    header: Annotated[Size, Field(ge=40, le=120)] = Field(default=40, description="IP and TCP headers of a segment")
    initial_window: int = Field(default=10, ge=1, le=10_000, description="first window, in segments (RFC 6928)")
    receive_window: Annotated[Size, Field(ge=1)] = Field(default=1 << 24, description="bytes that a receiver takes")
    min_rto: _Positive = Field(default=200_000_000, description="least retransmission timeout")
    initial_rto: _Positive = Field(
        default=1_000_000_000, description="timeout of SYN, and of data before a round trip is known (RFC 6298)"
    )
    max_rto: _Positive = Field(default=60_000_000_000, description="timeouts double up to it")
    granularity: Duration = Field(default=1_000_000, description="least addition to the smoothed round trip")
    ack_delay: Duration | None = Field(
        default=None,
        description="how long an acknowledgement may be delayed; none: 40ms, or a quarter of min_rto if that is less",
    )
    ack_every: int = Field(default=2, ge=1, le=1000, description="segments after which one is sent at once")
    quick_acks: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="segments at the start of a direction that are acknowledged one by one; Linux: 16",
    )
    ecn: bool = Field(default=False, description="whether marks are echoed (RFC 3168); always with dctcp")
    tso: Size = Field(
        default=0, description="super-frames: bytes that leave together on one path; 0B: every segment by itself"
    )
    pacing: bool = Field(default=False, description="whether segments are spread over the round trip")
    slow_start: Literal["hystart", "standard"] | None = Field(
        default=None,
        description="how it ends: before the queue is full (HyStart, of cubic alone), or by a loss or mark; none: "
        "hystart with cubic, as Linux has it",
    )
    after_idle: bool = Field(default=True, description="whether the window restarts after an idle time (RFC 5681)")
    retries: int = Field(default=15, ge=1, le=100, description="timeouts in a row after which a connection fails")
    syn_retries: int = Field(default=6, ge=0, le=100, description="times that SYN is sent again")
    acks: Literal["steered", "hashed"] = Field(
        default="steered", description="acknowledgements: steered by the policy like data, or by a hash, without SRv6"
    )
    ties: Ties | None = Field(default=None, description="as the scenario's ties, of senders that react; none: as those")

    @model_validator(mode="after")
    def _fits(self) -> TransportSpec:
        if self.rules == "ns-3":
            if self.receiver == "rack":
                raise ValueError('rules = "ns-3" has receiver = "dupack" only')
            if self.tso or self.pacing:
                raise ValueError('rules = "ns-3" has neither tso nor pacing')
            if self.slow_start:
                raise ValueError('rules = "ns-3" has a slow start of its own, and no slow_start')
        if self.slow_start == "hystart" and self.control != "cubic":
            raise ValueError('slow_start = "hystart" goes with control = "cubic" only')
        if self.initial_rto > self.max_rto or self.min_rto > self.max_rto:
            raise ValueError("max_rto is below initial_rto or min_rto")
        return self

    def transport(self, ties: Ties = "hash") -> Transport:
        """What the engine needs of it; `ties` are the scenario's."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if self.ack_delay is None:  # a longer one than the sender waits for has it send again for nothing
            values["ack_delay"] = min(_ACK_DELAY_NS, self.min_rto // 4)
        values["ties"] = self.ties or ties
        values["slow_start"] = self.slow_start or "hystart"
        for name in ("min_rto", "initial_rto", "max_rto", "granularity", "ack_delay"):
            values[f"{name}_ns"] = values.pop(name)
        return Transport(**values)
