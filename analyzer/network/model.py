"""The network a forecast runs on: links, and the paths between attachment points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from segcast.analyzer.network.sids import srv6_bytes
from segcast.analyzer.network.srv6_modes import Mode
from segcast.traces.errors import InputError
from segcast.traces.units import NANOSECOND_BITS

ETHERNET_HEADER_BYTES: Final = 14
ETHERNET_OVERHEAD_BYTES: Final = 24
ETHERNET_MINIMUM_BYTES: Final = 60

MAX_FRAME_BYTES: Final = 65535
MAX_PATHS: Final = 65535

_MIN_RATE_BPS: Final = 1000
_MAX_RATE_BPS: Final = 10**13
_MAX_DELAY_NS: Final = 10**12
_MAX_BURST_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a link: a FIFO queue and a transmitter, or with a burst a token bucket. None means no bound.

    What a queue holds and from where on it marks may be said in bytes, in packets, or in both.
    """

    name: str
    rate_bps: int
    delay_ns: int
    buffer_bytes: int | None = None
    ecn_bytes: int | None = None
    overhead_bytes: int = ETHERNET_OVERHEAD_BYTES
    burst_bytes: int = 0
    buffer_packets: int | None = None
    ecn_packets: int | None = None

    @property
    def burst_ns(self) -> int:
        """The time in which the bucket fills; 0 for a plain transmitter."""
        return self.burst_bytes * NANOSECOND_BITS // self.rate_bps


@dataclass(frozen=True, slots=True)
class Path:
    """Links in order, by index into the network's, and what steering onto it costs.

    `segments` are the transit SIDs; the SID that decapsulates at the far attachment follows them.
    `ack_delay_ns` is how long after reception the sender learns of it.
    """

    group: int
    links: tuple[int, ...]
    srv6_bytes: int
    ack_delay_ns: int
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """From `time_ns` on, link `link` (an index) has the rate `rate_bps`; 0 means down."""

    time_ns: int
    link: int
    rate_bps: int


@dataclass(frozen=True, slots=True)
class Network:
    """A validated network. Paths of a group are adjacent, in slot order; groups are numbered from 0 without gaps.

    `tiers` are the choices that switches make one after the other, by group (see `policies.registry.Setting`); empty:
    one choice among all slots. `changes` are in order of time; routing learns of them `detection_ns` later. With
    `host_links`, flows have an uplink and a downlink of their own, and paths may have no links.
    """

    links: tuple[Link, ...]
    paths: tuple[Path, ...]
    minimum_frame_bytes: int = ETHERNET_MINIMUM_BYTES
    tiers: tuple[tuple[int, ...], ...] = ()
    changes: tuple[Change, ...] = ()
    detection_ns: int = 0
    host_links: bool = False

    def __post_init__(self) -> None:
        for link in self.links:
            check_link(link)
        if not 0 <= self.minimum_frame_bytes <= MAX_FRAME_BYTES:
            raise InputError(
                f"network: minimum frame {self.minimum_frame_bytes} bytes is not in 0 to {MAX_FRAME_BYTES}"
            )
        if not self.paths:
            raise InputError("network: there are no paths")
        if len(self.paths) > MAX_PATHS:
            raise InputError(f"network: {len(self.paths)} paths; at most {MAX_PATHS} are supported")
        groups = [path.group for path in self.paths]
        if groups != sorted(groups) or set(groups) != set(range(groups[-1] + 1)):
            raise InputError("network: paths must be ordered by group, and groups numbered 0, 1, 2, ...")
        for number, path in enumerate(self.paths):
            if not all(0 <= link < len(self.links) for link in path.links):
                raise InputError(f"network: path {number} names a link that does not exist")
            if not path.links and not self.host_links:
                raise InputError(f"network: path {number} has no links")
        if self.tiers and [math.prod(tiers) for tiers in self.tiers] != [len(slots) for slots in self.group_slots()]:
            raise InputError("network: the choices of switches do not multiply to the paths of their group")
        if list(self.changes) != sorted(self.changes, key=lambda change: change.time_ns):
            raise InputError("network: changes of links must be in order of time")
        for change in self.changes:
            if not 0 <= change.link < len(self.links):
                raise InputError(f"network: a change names link {change.link}, which does not exist")
            if self.links[change.link].burst_bytes:
                raise InputError(f"network: link {self.links[change.link].name} is a token bucket, which cannot change")
            if change.rate_bps and not _MIN_RATE_BPS <= change.rate_bps <= _MAX_RATE_BPS:
                raise InputError(f"network: a change to {change.rate_bps} bit/s is not in 1 kbit/s to 10 Tbit/s")

    def group_slots(self) -> list[range]:
        """For each group, the range of its path ids."""
        first: dict[int, int] = {}
        for number, path in enumerate(self.paths):
            first.setdefault(path.group, number)
        bounds = [*first.values(), len(self.paths)]
        return [range(a, b) for a, b in itertools.pairwise(bounds)]


def check_link(link: Link) -> None:
    """Raise InputError for a link that there cannot be."""
    if not _MIN_RATE_BPS <= link.rate_bps <= _MAX_RATE_BPS:
        raise InputError(f"link {link.name}: rate {link.rate_bps} bit/s is not in 1 kbit/s to 10 Tbit/s")
    if not 0 <= link.delay_ns <= _MAX_DELAY_NS:
        raise InputError(f"link {link.name}: delay {link.delay_ns} ns is not in 0 to 1000 s")
    if not -ETHERNET_HEADER_BYTES <= link.overhead_bytes <= 1000:
        raise InputError(
            f"link {link.name}: overhead {link.overhead_bytes} bytes is not in -{ETHERNET_HEADER_BYTES} to 1000"
        )
    if not 0 <= link.burst_bytes <= _MAX_BURST_BYTES:
        raise InputError(f"link {link.name}: burst {link.burst_bytes} bytes is not in 0 to 1 GiB")
    bounds = (
        ("buffer", "bytes", link.buffer_bytes),
        ("ECN threshold", "bytes", link.ecn_bytes),
        ("buffer", "packets", link.buffer_packets),
        ("ECN threshold", "packets", link.ecn_packets),
    )
    for what, unit, value in bounds:
        if value is not None and value < 0:
            raise InputError(f"link {link.name}: {what} {value} {unit} is negative")


def parallel_network(
    hops: Sequence[Sequence[Link]],
    segments: Sequence[tuple[str, ...]],
    *,
    mode: Mode = Mode.ENCAPS,
    minimum_frame_bytes: int = ETHERNET_MINIMUM_BYTES,
) -> Network:
    """Parallel paths between a left and a right attachment; `hops[slot]` are the links from left to right.

    Every link is full duplex: group 0 (left to right) uses the links as given, group 1 their other directions.
    """
    links: list[Link] = []
    paths: list[Path] = []
    for group, suffix in enumerate(("", "-back")):
        for slot, chain in enumerate(hops):
            ordered = list(chain) if group == 0 else list(reversed(chain))
            indices = tuple(range(len(links), len(links) + len(ordered)))
            links += [replace(link, name=link.name + suffix) for link in ordered]
            sids = segments[slot] if group == 0 else tuple(reversed(segments[slot]))
            delay_ns = sum(link.delay_ns for link in chain)
            paths.append(Path(group, indices, srv6_bytes(len(sids) + 1, mode), delay_ns, sids))
    return Network(tuple(links), tuple(paths), minimum_frame_bytes)
