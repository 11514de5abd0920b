"""What the slow engine is given, and what it gives back: links, paths, hosts, flows, packets, fates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Link:
    """A FIFO queue and its transmitter; a bound of None is no limit."""

    rate_bps: int
    delay_ns: int
    buffer_bytes: int | None
    ecn_bytes: int | None
    overhead_bytes: int
    burst_bytes: int = 0
    buffer_packets: int | None = None
    ecn_packets: int | None = None

    @property
    def is_bucket(self) -> bool:
        """Whether it is a token bucket: its burst takes a nanosecond at least."""
        return self.burst_bytes * 8 * 10**9 >= self.rate_bps


@dataclass(frozen=True)
class Path:
    """Links in order of travel; a group's paths have their slots in the order of the list of paths."""

    group: int
    links: tuple[int, ...]
    srv6_bytes: int
    ack_delay_ns: int


@dataclass(frozen=True)
class HostLinks:
    """The links between a host and its attachment, by number."""

    uplink: int
    downlink: int


@dataclass(frozen=True)
class Change:
    """From `time_ns` on the link has this rate; 0 is down."""

    time_ns: int
    link: int
    rate_bps: int


@dataclass(frozen=True)
class Flow:
    """A flow as the engine knows it: its 64-bit key and the words it is folded from, its two hosts, its group."""

    key: int
    host: int
    group: int
    words: tuple[int, ...] = (0, 0, 0, 0, 0)
    attachment: int = 0
    destination: int = 0
    reverse: int | None = None


@dataclass(frozen=True)
class Segment:
    """What TCP says in a packet."""

    seq: int
    payload_bytes: int
    ack: int
    ack_set: bool


@dataclass(frozen=True)
class Packet:
    """A packet of the trace; `flow` is an index into the flows."""

    send_ns: int
    flow: int
    ip_bytes: int
    segment: Segment | None = None
    awaited: bool = True  # whether feedback will tell of it


@dataclass(frozen=True)
class Fate:
    """What became of a packet; `path_id` is an index into the paths."""

    path_id: int
    flowlet_id: int
    receive_ns: int | None
    queue_ns: int
    ecn_marked: bool
    dropped: bool


@dataclass(frozen=True)
class Options:
    """What else a run depends on; `policy` is a name or, as a test brings one, a `policies.Policy`."""

    policy: Any
    timeout_ns: int
    seed: int
    loss_timeout_ns: int
    minimum_frame_bytes: int = 60
    parameters: dict[str, Any] = field(default_factory=dict)
    detector: str = "fixed"
    detector_parameters: dict[str, Any] = field(default_factory=dict)
    tiers: tuple[tuple[int, ...], ...] | None = None
    hosts: tuple[HostLinks, ...] = ()
    changes: tuple[Change, ...] = ()
    detection_ns: int = 0
    ack: Literal["modelled", "recorded", "timeout"] = "modelled"
    scope: Literal["pair", "host", "fabric"] = "pair"
    suspect_after: int = 0
    suspect_for_ns: int = 0
    ack_loss_millionths: int = 0
    ack_late_ns: int = 0
    ties: Literal["hash", "number"] = "hash"
