"""What is wrong with a capture, and what that does to a forecast: findings, gathered while packets stream through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.captures.reader import FrameBatch
from segcast.traces.flows import tcp
from segcast.traces.flows.assign import SILENCE_NS, TCP_SILENCE_NS, Flows
from segcast.traces.flows.holes import MOST_HOLES
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, HAS_TCP, Headers
from segcast.traces.headers.tenants import Tenants
from segcast.traces.jit import kernel
from segcast.traces.protocols import TCP
from segcast.traces.quality.duplicates import TALLY, WITHIN_NS, WITHOUT_ID_NS, Recent, find_duplicates, nothing_seen
from segcast.traces.quality.finding import FEW, Finding, finding, severity_of
from segcast.traces.quality.records import records
from segcast.traces.units import say_duration, say_share, say_span

SEVERITIES: Final = ("error", "warning", "info")
SHORTEST_TIMEOUT_NS: Final = 50_000
WAITING_NS: Final = 10**9
_COLLIDE: Final = "where their addresses collide, several connections are one flow, with retransmissions that were none"
_NAMED: Final = 3  # tenants in a finding
_TICKS: Final = 20  # a timeout of as many clock ticks or more is met to 5 %


@kernel
def count_cut(headers: Headers, captured: npt.NDArray[np.uint32], wire: npt.NDArray[np.uint32]) -> int:
    """Packets whose TCP fields or ports are missing because the frame was captured in part."""
    count = 0
    for i in range(captured.size):
        valid = headers.valid[i]
        if valid & HAS_IP == 0 or captured[i] >= wire[i] or headers.fragment_offset[i] != 0:
            continue
        protocol = headers.protocol[i]
        if protocol == TCP:
            if valid & HAS_TCP == 0:
                count += 1
        elif valid & HAS_PORTS == 0:
            count += protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136
    return count


class Quality:
    """Looks at the packets of all captures of a trace, in order."""

    def __init__(self) -> None:
        """Start before the first packet."""
        self.cut_headers = 0
        self._recent = nothing_seen()
        self._duplicate = np.empty(0, np.bool_)

    def add(self, batch: FrameBatch, headers: Headers) -> npt.NDArray[np.bool_]:
        """Take a batch; which of its rows repeat a packet (valid until the next batch)."""
        rows = len(batch.start)
        if len(self._duplicate) < rows:
            self._duplicate = np.empty(rows, np.bool_)
        duplicate = self._duplicate[:rows]
        self.cut_headers += count_cut(headers, batch.captured, batch.wire)
        find_duplicates(batch.data, batch.start, batch.captured, headers, batch.time_ns, self._recent, duplicate)
        return duplicate

    @property
    def tally(self) -> dict[str, int]:
        """The copies so far, as `duplicates.TALLY` counts them."""
        return {name: int(self._recent.tally[0][name]) for name in TALLY.names or ()}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later packets depend on, by name; `restore` goes on from there."""
        return {"cut_headers": np.array([self.cut_headers]), **self._recent._asdict()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self.cut_headers = int(state["cut_headers"][0])
        self._recent = Recent._make(state[name] for name in Recent._fields)


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What findings are made from, besides the survey of each source.

    `seen` is how many packets were captured, `taken` how many were left when copies had been dropped; shares are of the
    packets among which something was looked for.
    """

    seen: int
    taken: int
    copies: dict[str, int]
    copies_dropped: bool
    cut_headers: int
    ack_of_unseen: int
    holes_forgotten: int
    super_frames: int
    super_frames_split: bool
    data_flows: int
    one_sided_data_flows: int
    flows: int
    used_again: int
    waiting_flows: int
    longest_waiting_ns: int


def count(flows: Flows, quality: Quality, seen: int, *, dropped: bool, split: bool) -> CaptureCounts:
    """Counts at the end of an ingest of `seen` packets."""
    data = flows.pool.results["has_data"][: len(flows)] > 0
    totals = tcp.marked(flows.pool)
    copies = quality.tally
    return CaptureCounts(
        seen,
        seen - copies["copies"] if dropped else seen,
        copies,
        dropped,
        quality.cut_headers,
        totals["ack_of_unseen"],
        int(flows.pool.tally["holes_forgotten"][0]),
        totals["super_frame"],
        split,
        int(data.sum()),
        int((data & (flows.table.reverse[: len(flows)] < 0)).sum()),
        len(flows),
        flows.used_again,
        *_waiting(flows),
    )


def _waiting(flows: Flows) -> tuple[int, int]:
    """Flows that last a minute or more with WAITING_NS or more between packets on average; how long one lasts."""
    stats = flows.table.stats[: len(flows)]
    lasting = stats["last_ns"] - stats["first_ns"]
    waiting = lasting[(lasting >= 60 * WAITING_NS) & (lasting // np.maximum(stats["packets"], 1) >= WAITING_NS)]
    return len(waiting), int(waiting.max(initial=0))


def find(sources: Sequence[dict[str, Any]], c: CaptureCounts) -> list[Finding]:
    """The findings of a trace, worst first."""
    found = [
        *records(sources),
        *_backwards(sources),
        *clock(sources, SHORTEST_TIMEOUT_NS),
        *_drops(sources),
    ]
    found += _copies(c)
    if c.used_again:
        found.append(
            finding(
                "five_tuples_used_again",
                "info",
                c.used_again,
                f"{say_share(_share(c.used_again, c.flows))} of the flows have addresses and ports that another had "
                f"before: it had ended, a new one began, or all was silent for {say_duration(SILENCE_NS)} "
                f"(TCP: {say_duration(TCP_SILENCE_NS)})",
                "none: each connection is a flow of its own",
            )
        )
    if c.waiting_flows:
        share = _share(c.waiting_flows, c.flows)
        found.append(
            finding(
                "waiting_flows",
                severity_of(share),
                c.waiting_flows,
                f"{say_share(share)} of the flows wait for a second or more between packets on average, "
                f"for up to {say_span(c.longest_waiting_ns)}",
                "their completion times are those of applications that wait, not of a network",
            )
        )
    if c.one_sided_data_flows:
        share = _share(c.one_sided_data_flows, c.data_flows)
        found.append(
            finding(
                "one_sided_traffic",
                severity_of(share),
                c.one_sided_data_flows,
                f"{say_share(share)} of the TCP flows with data have no packet of the other direction",
                "their acknowledgements load no path, and they have no round-trip times",
            )
        )
    if c.ack_of_unseen:
        found.append(
            finding(
                "unseen_data_acknowledged",
                severity_of(_share(c.ack_of_unseen, c.taken), FEW / 10),
                c.ack_of_unseen,
                "acknowledgements of TCP data that is not in the capture",
                "packets are missing: load is understated, and gaps where they were look like flowlet boundaries",
            )
        )
    if c.holes_forgotten:
        found.append(
            finding(
                "forgotten_holes",
                "info",
                c.holes_forgotten,
                f"stretches of missing TCP data were forgotten where a flow had more than {MOST_HOLES} at a time",
                "late segments there count as retransmissions, and acknowledgements of them have no mark",
            )
        )
    if c.cut_headers:
        share = _share(c.cut_headers, c.seen)
        found.append(
            finding(
                "short_snaplen",
                severity_of(share),
                c.cut_headers,
                f"{say_share(share)} of the packets were cut inside the transport header; capture 96 bytes or more",
                "packets without ports share one flow per pair of hosts, so they split and hash as one",
            )
        )
    if c.super_frames:
        share, gone = _share(c.super_frames, c.taken), c.super_frames_split
        found.append(
            finding(
                "super_frames",
                "info" if gone else "warning",
                c.super_frames,
                f"{say_share(share)} of the packets are larger than the wire carries (TSO, GSO, GRO)"
                + (", and were split into wire frames" if gone else "; --split-offload auto splits them"),
                "none: they were split" if gone else "bursts queue as one huge frame, and packet counts are too low",
            )
        )
    return ordered(found)


def _copies(c: CaptureCounts) -> list[Finding]:
    """Packets that repeat another, and those of which too little was captured to say so."""
    found = []
    gone = c.copies_dropped
    if copies := c.copies["copies"]:
        share, extent = _share(copies, c.seen), ""
        if cut := c.copies["cut"]:
            what = (
                f"of {cut:,} only the captured part was compared (down to {c.copies['cut_bytes']} bytes of the frame)"
            )
            if bare := c.copies["headers_only"]:
                what = f"of {bare:,} only the headers were compared ({c.copies['cut_bytes']} bytes of the frame)"
                what += f", of {cut - bare:,} more only a part" if cut > bare else ""
            extent = f"; {what}"
        found.append(
            finding(
                "duplicate_packets",
                "info" if gone else severity_of(share),
                copies,
                f"{say_share(share)} of the packets repeat an IP packet seen up to {say_duration(WITHIN_NS)} before"
                + extent
                + (", and were dropped" if gone else "; --drop-duplicates removes them"),
                "none: they were dropped" if gone else "load and in-flight bytes count these packets twice",
            )
        )
    if undecided := c.copies["undecided"]:
        share = _share(undecided, c.seen)
        found.append(
            finding(
                "possible_duplicates",
                severity_of(share),
                undecided,
                f"{say_share(share)} of the packets look like one up to {say_duration(WITHOUT_ID_NS)} before, as far "
                f"as they were captured (down to {c.copies['undecided_bytes']} bytes of the frame), but nothing there "
                "stands for the rest; whether they are copies cannot be told, and none of them was dropped",
                "if they are copies, load and in-flight bytes count them twice; capture more of each packet",
            )
        )
    return found


def tenants(flows: Flows, known: Tenants, *, apart: bool) -> list[Finding]:
    """That the same addresses and ports belong to several tenants, or that nobody looked."""
    if not apart and len(known) > 1:
        detail = "chains of VLANs and overlays were seen, which --flows addresses does not tell apart"
        return [finding("tenants_not_told_apart", "info", len(known) - 1, detail, _COLLIDE)]
    collide = flows.in_several_tenants()
    if not len(collide):
        return []
    names = known.names()
    among = [names[tenant] or "untagged" for tenant in dict.fromkeys(flows.tenants()[collide].tolist())]
    what = ", ".join(f"{name!r}" for name in among[:_NAMED]) + (
        f" and {len(among) - _NAMED:,} more" if among[_NAMED:] else ""
    )
    detail = (
        f"{say_share(_share(len(collide), len(flows)))} of the flows have addresses and ports that occur in several "
        f"VLANs or overlays ({what}); they are told apart"
    )
    effect = (
        "an address is one host to a forecast, in all of them; if it is the same traffic, captured on both sides of a "
        "router or bridge, its load counts once for each side: capture or --filter one of them"
    )
    return [finding("addresses_in_several_tenants", "info", len(collide), detail, effect)]


def filtered(left_out: int, kept: int) -> Finding:
    """That a filter left packets out; a warning if it left none in."""
    detail = "frames do not match the filter and were left out" if kept else "frames: the filter leaves none of them"
    effect = "what is left is all that a forecast knows: the rest of the traffic is missing from its queues"
    return finding("filtered", "info" if kept else "warning", left_out, detail, effect)


def clock(sources: Sequence[dict[str, Any]], timeout_ns: int) -> list[Finding]:
    """A finding if the coarsest clock is coarse beside the shortest timeout asked about."""
    units = [s["clock_unit_seen_ns"] for s in sources if s.get("clock_unit_seen_ns") and s["packets"] > 1]
    unit = max(units, default=1)
    if unit * _TICKS <= timeout_ns:
        return []
    return [
        finding(
            "coarse_clock",
            "error" if unit >= timeout_ns else "warning",
            sum(unit_ == unit for unit_ in units),
            f"times are multiples of {say_duration(unit)}, the shortest timeout is {say_duration(timeout_ns)}",
            "gaps are uncertain by one clock tick, so flowlets at short timeouts are split at the wrong places",
        )
    ]


def for_timeouts(info: dict[str, Any], timeouts_ns: Sequence[int]) -> list[Finding]:
    """The findings of `trace.json`, its clock measured against the shortest of these timeouts."""
    others = [f for f in info.get("findings", []) if f["code"] != "coarse_clock"]
    return ordered([*others, *clock(info["sources"], min(timeouts_ns, default=SHORTEST_TIMEOUT_NS))])


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first, otherwise as found."""
    return sorted(findings, key=lambda f: SEVERITIES.index(f["severity"]))


def _backwards(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    steps = sum(s["time_steps_backwards"] for s in sources)
    if not steps:
        return []
    furthest = max(s["furthest_step_backwards_ns"] for s in sources)
    return [
        finding(
            "clock_steps_backwards",
            "warning" if furthest > SHORTEST_TIMEOUT_NS else "info",
            steps,
            f"times step backwards, by up to {say_span(furthest)}",
            "packets are sent in order of time, so packets about a step may swap and gaps there are wrong",
        )
    ]


def _drops(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    """Packets the capturing system says it lost; `drops` of a source is a count, or counts by who dropped."""
    lost = 0
    for source in sources:
        drops = source.get("drops") or 0
        lost += sum(v for v in drops.values() if isinstance(v, int)) if isinstance(drops, dict) else int(drops)
    if not lost:
        return []
    share = _share(lost, lost + sum(s["packets"] for s in sources))
    return [
        finding(
            "capture_drops",
            severity_of(share, FEW / 10),
            lost,
            f"the capturing system reports packets it dropped ({say_share(share)})",
            "packets are missing: load is understated, and gaps where they were look like flowlet boundaries",
        )
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
