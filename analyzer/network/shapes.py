"""What a scenario says of links: the shape of links of one kind, a link with its name, and what some have otherwise."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from segcast.analyzer.network.model import ETHERNET_OVERHEAD_BYTES, Link
from segcast.analyzer.values import Difference, Duration, Model, Name, Rate, Size


class LinkShape(Model):
    """What links of one kind have in common. Links are full duplex: each direction has a queue of its own."""

    rate: Rate = Field(description="bits per second of each direction")
    delay: Duration = Field(default=5_000, description="propagation delay")
    buffer: Size | None = Field(default=None, description="drop-tail buffer; none: no bound")
    ecn: Size | None = Field(default=None, description="marking threshold; none: no marks")
    buffer_packets: int | None = Field(
        default=None, ge=0, description="what the queue holds in packets, the one on the wire included; none: no bound"
    )
    ecn_packets: int | None = Field(default=None, ge=0, description="marking threshold in packets; none: no marks")
    overhead: Difference = Field(
        default=ETHERNET_OVERHEAD_BYTES,
        description="bytes per frame on the wire besides the frame itself; below 0 for shorter headers than Ethernet's",
    )
    burst: Size = Field(default=0, description="bytes that a token bucket lets through at once; 0: a line, no bucket")

    def link(self, name: str) -> Link:
        """One direction of a link of this shape."""
        return Link(
            name,
            self.rate,
            self.delay,
            self.buffer,
            self.ecn,
            self.overhead,
            self.burst,
            self.buffer_packets,
            self.ecn_packets,
        )


class LinkSpec(LinkShape):
    """A full-duplex link with its name."""

    name: Name = Field(description="events and overrides name it so; its other direction is called NAME-back")


class Override(Model):
    """What is different about the links whose name fits a pattern; of several that fit, later ones win."""

    link: str = Field(description="name or pattern (*, ?, [seq]) of links")
    rate: Rate | None = Field(default=None, description="instead of the rate of its kind")
    delay: Duration | None = Field(default=None, description="instead of the delay of its kind")
    buffer: Size | None = Field(default=None, description="instead of the buffer of its kind")
    ecn: Size | None = Field(default=None, description="instead of the threshold of its kind")
    buffer_packets: int | None = Field(default=None, ge=0, description="instead of the buffer of its kind in packets")
    ecn_packets: int | None = Field(default=None, ge=0, description="instead of the threshold of its kind in packets")
    overhead: Difference | None = Field(default=None, description="instead of the overhead of its kind")
    burst: Size | None = Field(default=None, description="instead of the burst of its kind")

    def changes(self) -> dict[str, Any]:
        """The fields of `Link` that it sets."""
        names = {"rate": "rate_bps", "delay": "delay_ns", "buffer": "buffer_bytes", "ecn": "ecn_bytes"}
        names |= {"overhead": "overhead_bytes", "burst": "burst_bytes"}
        names |= {name: name for name in ("buffer_packets", "ecn_packets")}
        found = {field: getattr(self, key) for key, field in names.items()}
        return {field: value for field, value in found.items() if value is not None}
