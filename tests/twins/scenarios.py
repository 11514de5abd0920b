"""Random scenarios for an engine, in the twin's types: ties, gaps at the timeout, shared links, changes at arrivals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.twins.choosing import Chooser
from tests.twins.detectors import DETECTORS
from tests.twins.hashing import fold
from tests.twins.network import Change, Flow, HostLinks, Link, Packet, Path, Segment
from tests.twins.policies import POLICIES

RATES_BPS = (10**9, 10**10, 10**8, 4 * 10**11, 8 * 10**11, 10**6, 8_000, 999_999_937, 7 * 10**8, 3 * 10**9)
DELAYS_NS = (0, 1, 500, 10_000, 1_000_000)
BUFFERS_BYTES = (None, None, None, 10**6, 10**6, 100_000, 100_000, 3000, 1514, 74, 60, 0)
BURSTS_BYTES = (0, 0, 0, 0, 0, 0, 60, 1514, 10_000)
ECN_BYTES = (None, 0, 1, 60, 1514, 10_000)
SRV6_BYTES = (0, 40, 64, 80, 96)
SIZES_BYTES = (1500, 20, 21, 40, 46, 47, 576, 1460, 9000, 65_535)
TIMEOUTS_NS = (1000, 0, 1, 100, 12_345, 1_000_000)
SEEDS = (0, 1, 42, 2**63, 2**64 - 1)
LOSS_TIMEOUTS_NS = (1_000_000, 0, 1, 1000, 10**9)
TIERS = ((3,), (1,), (2,), (5,), (2, 2), (2, 3), (1, 4), (3, 1, 2))

PLAIN_CELLS = (("ecmp", "fixed"), ("random", "fixed"), ("inflight", "fixed"), ("inflight", "fixed"))


@dataclass(frozen=True)
class Scenario:
    """Everything that an engine needs, in the twin's types; packets in trace order, paths in that of their group."""

    links: tuple[Link, ...]
    paths: tuple[Path, ...]
    flows: tuple[Flow, ...]
    packets: tuple[Packet, ...]
    policy: str
    timeout_ns: int
    seed: int
    minimum_frame_bytes: int
    loss_timeout_ns: int
    parameters: dict[str, Any]
    detector: str = "fixed"
    detector_parameters: dict[str, Any] | None = None
    tiers: tuple[tuple[int, ...], ...] | None = None
    hosts: tuple[HostLinks, ...] = ()
    changes: tuple[Change, ...] = ()
    detection_ns: int = 0
    ack: str = "modelled"
    scope: str = "pair"
    suspect_after: int = 0
    suspect_for_ns: int = 0
    ack_loss_millionths: int = 0
    ack_late_ns: int = 0
    ties: str = "hash"

    def network(self) -> tuple[Sequence[Link], Sequence[Path], Sequence[Flow], Sequence[Packet]]:
        """The positional arguments of the twin's `simulate`."""
        return self.links, self.paths, self.flows, self.packets

    def options(self) -> dict[str, Any]:
        """Its keyword arguments."""
        given = {"links", "paths", "flows", "packets"}
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in given}
        return values | {"detector_parameters": self.detector_parameters or {}}


def make_scenario(
    c: Chooser, most_packets: int = 40, cells: Sequence[tuple[str, str]] = PLAIN_CELLS, ack: str = "modelled"
) -> Scenario:
    """Two groups of 1 to 5 paths of 1 to 3 links, some shared, 1 to 6 flows of 3 hosts; no link changes."""
    links = make_links(c, c.integer(3, 8))
    groups = [0] * c.integer(1, 5) + [1] * c.integer(1, 5)
    paths = tuple(make_path(c, group, len(links)) for group in groups)
    flows = make_flows(c, c.integer(1, 6), 2)
    timeout_ns = c.pick(TIMEOUTS_NS)
    policy, detector = c.pick(cells)
    return Scenario(
        links=links,
        paths=paths,
        flows=flows,
        packets=make_packets(c, flows, timeout_ns, most_packets),
        policy=policy,
        timeout_ns=timeout_ns,
        seed=c.pick(SEEDS),
        minimum_frame_bytes=c.pick((60, 0)),
        loss_timeout_ns=c.pick(LOSS_TIMEOUTS_NS),
        parameters={},
        detector=detector,
        ack=ack,
        ties=c.pick(("hash", "number")),
    )


def make_fabric(
    c: Chooser, most_packets: int, cells: Sequence[tuple[str, str]], acks: Sequence[str] = ("modelled",)
) -> Scenario:
    """A scenario with everything: tiers, host links, changes of links, suspicion, scopes, parameters."""
    policy, detector = c.pick(cells)
    rule, timeout = POLICIES[policy], DETECTORS[detector]
    learns = rule.learns or timeout.learns
    if timeout.awaits:
        acks = [ack for ack in acks if ack != "timeout"]
    ack = "modelled" if learns else c.pick(acks)
    links = make_links(c, c.integer(3, 8), busy=bool(c.integer(0, 2)))
    tiers = [c.pick(TIERS) for _ in range(c.integer(1, 3))]
    fabric = len(links)
    paths = [make_path(c, group, fabric) for group, of in enumerate(tiers) for _ in range(math.prod(of))]
    hosts: list[HostLinks] = []
    if c.integer(0, 1):
        for _ in range(3):
            up, down = make_links(c, 2)
            links += (up, replace(down, delay_ns=up.delay_ns))
            hosts.append(HostLinks(len(links) - 2, len(links) - 1))
        if c.integer(0, 1):  # hosts of one attachment
            tiers.append((1,))
            paths.append(Path(len(tiers) - 1, (), 0, 0))
    flows = make_flows(c, c.integer(1, 12), len(tiers))
    timeout_ns = c.pick(TIMEOUTS_NS)
    packets = make_packets(c, flows, timeout_ns, most_packets)
    steered_suspects = ack == "modelled" and c.integer(0, 1)
    return Scenario(
        links=tuple(links),
        paths=tuple(paths),
        flows=flows,
        packets=packets,
        policy=policy,
        timeout_ns=timeout_ns,
        seed=c.pick(SEEDS),
        minimum_frame_bytes=c.pick((60, 0)),
        loss_timeout_ns=c.pick(LOSS_TIMEOUTS_NS),
        parameters={name: c.pick(options) for name, options in rule.OPTIONS.items()},
        detector=detector,
        detector_parameters={name: c.pick(options) for name, options in timeout.OPTIONS.items()},
        tiers=tuple(tiers),
        hosts=tuple(hosts),
        changes=make_changes(c, links, packets),
        detection_ns=c.pick((0, 0, 1, 1000, 100_000, 10**9)),
        ack=ack,
        scope=c.pick(("pair", "host", "fabric")),
        suspect_after=c.integer(1, 3) if steered_suspects else 0,
        suspect_for_ns=c.pick((100_000, 0, 1, 10**9)),
        ack_loss_millionths=c.pick((0, 0, 0, 100_000, 500_000, 10**6)) if ack == "modelled" else 0,
        ack_late_ns=c.pick((0, 0, 1, 50_000)) if ack == "modelled" else 0,
        ties=c.pick(("hash", "number")),
    )


def make_links(c: Chooser, count: int, *, busy: bool = False) -> tuple[Link, ...]:
    """Links; busy ones are of a few common rates, bounded and with a threshold."""
    rates = (10**9, 10**10, 8 * 10**9, 999_999_937, 10**8) if busy else RATES_BPS
    buffers = (100_000, 10**6, 20_000, None) if busy else BUFFERS_BYTES
    return tuple(
        Link(
            c.pick(rates),
            c.pick((500, 0, 10_000) if busy else DELAYS_NS),
            c.pick(buffers),
            c.pick(ECN_BYTES),
            c.pick((24, 0, 38)),
            c.pick(BURSTS_BYTES),
        )
        for _ in range(count)
    )


def make_path(c: Chooser, group: int, links: int) -> Path:
    """A path over 1 to 3 different links."""
    ahead = list(range(links))
    hops = tuple(ahead.pop(c.integer(0, len(ahead) - 1)) for _ in range(c.integer(1, 3)))
    return Path(group, hops, c.pick(SRV6_BYTES), c.pick((0, 1, 1000, 100_000)))


def make_flows(c: Chooser, count: int, groups: int) -> tuple[Flow, ...]:
    """Flows of three hosts and two attachments; neighbours may be each other's reverse."""
    flows: list[Flow] = []
    for number in range(count):
        words = tuple(c.integer(0, 2**64 - 1) for _ in range(4))
        words += (c.pick((6, 17)) << 32 | c.integer(0, 2**32 - 1),)
        host, destination, reverse = c.integer(0, 2), c.integer(0, 2), None
        if number % 2 and c.integer(0, 3):
            reverse = number - 1
            other = flows[reverse]
            host, destination = other.destination, other.host
            flows[reverse] = Flow(*[getattr(other, each.name) for each in fields(other)][:-1], reverse=number)
        group = c.integer(0, groups - 1)
        flows.append(Flow(fold(words), host, group, words, c.integer(0, 1), destination, reverse))
    return tuple(flows)


def make_packets(c: Chooser, flows: Sequence[Flow], timeout_ns: int, most_packets: int) -> tuple[Packet, ...]:
    """Packets in trace order; a flow's gaps are often 0, the timeout, or a nanosecond off it."""
    gaps_ns = (0, 0, 1, timeout_ns, timeout_ns + 1, max(0, timeout_ns - 1), 672, 12_304, 1_000_000)
    start_ns = c.pick((0, 1_700_000_000_000_000_000))
    now_ns = [start_ns + c.pick((0, 0, 1, timeout_ns)) for _ in flows]
    packets: list[Packet] = []
    for _ in range(c.integer(0, most_packets)):
        flow = c.integer(0, len(flows) - 1)
        size = c.pick(SIZES_BYTES) if c.integer(0, 3) else c.integer(20, 65_535)
        packets.append(Packet(now_ns[flow], flow, size))
        now_ns[flow] += c.pick(gaps_ns) if c.integer(0, 5) else c.integer(0, 20_000)
    packets.sort(key=lambda packet: packet.send_ns)  # equals stay as they were made
    return with_segments(c, flows, packets)


def with_segments(c: Chooser, flows: Sequence[Flow], packets: Sequence[Packet]) -> tuple[Packet, ...]:
    """The same with TCP numbers: retransmissions; acknowledgements of all, of some, of too much; some without."""
    following = [c.pick((0, 1000, 2**32 - 3000, 2**31 - 1)) for _ in flows]
    speaks_tcp = [bool(c.integer(0, 4)) for _ in flows]
    numbered: list[Packet] = []
    for packet in packets:
        flow = packet.flow
        if not speaks_tcp[flow] or not c.integer(0, 20):
            numbered.append(packet)
            continue
        payload_bytes = max(0, packet.ip_bytes - 40) if c.integer(0, 3) else 0
        seq = following[flow]
        if not c.integer(0, 5):
            seq = (seq - c.integer(0, 5000)) % 2**32
        following[flow] = (seq + payload_bytes) % 2**32
        reverse = flows[flow].reverse
        ack = c.integer(0, 2**32 - 1)
        if reverse is not None and c.integer(0, 15):
            ack = (following[reverse] - c.pick((0, 0, 0, 1, 1460, 5000, -1))) % 2**32
        segment = Segment(seq, payload_bytes, ack, bool(c.integer(0, 9)))
        numbered.append(Packet(packet.send_ns, flow, packet.ip_bytes, segment))
    return tuple(numbered)


def make_changes(c: Chooser, links: Sequence[Link], packets: Sequence[Packet]) -> tuple[Change, ...]:
    """Links that fail, recover, slow down and speed up, often at the instant at which a packet is sent or arrives."""
    changes: list[Change] = []
    lines = [number for number, link in enumerate(links) if not link.burst_bytes]
    if not packets or not lines or c.integer(0, 2) == 0:
        return ()
    for _ in range(c.integer(1, 8)):
        number = c.pick(lines) if c.integer(0, 2) else lines[0]  # one link often, so that it also recovers
        link = links[number]
        packet = packets[c.integer(0, len(packets) - 1)]
        size = max(60, 14 + packet.ip_bytes + c.pick(SRV6_BYTES)) + link.overhead_bytes
        leaves_ns = packet.send_ns + math.ceil(size * 8 * 10**9 / link.rate_bps)
        time_ns = c.pick((packet.send_ns, packet.send_ns + 1, leaves_ns, leaves_ns - 1, leaves_ns + link.delay_ns))
        rate_bps = c.pick((0, 0, 0, link.rate_bps, link.rate_bps, 10**9, 10**8, 999_999_937, 10**10))
        changes.append(Change(time_ns + (0 if c.integer(0, 3) else c.integer(0, 50_000)), number, rate_bps))
    return tuple(sorted(changes, key=lambda change: change.time_ns))
