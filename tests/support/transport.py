"""Small cases of connections over small networks: losses, reordering, marks, links that fail, all settings.

Seeded: `make_case(Seeded(7))`. By Hypothesis: `@given(cases())`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.support.strategies import Drawn
from tests.twins.choosing import Chooser, Seeded
from tests.twins.detectors import DETECTORS
from tests.twins.hashing import fold
from tests.twins.network import Change, Flow, HostLinks, Link, Packet, Path
from tests.twins.tcp_settings import Connection, Counts, Message, Result, Sent, TransportSettings
from tests.twins.transport import simulate

__all__ = ["PLAIN_CELLS", "Case", "Seeded", "cases", "make_case", "run_twin"]

# Policy and timeout.
PLAIN_CELLS = (("spray", "fixed"), ("ecmp", "fixed"), ("random", "fixed"), ("inflight", "fixed"))

RATES_BPS = (10**9, 10**9, 10**10, 10**8, 999_999_937)
DELAYS_NS = (10_000, 0, 500, 10_001, 50_000, 200_000)
BUFFERS_SEGMENTS = (12, 5, 3, 2, 30, None)
ECN_SEGMENTS = (None, 2, 6, 0)
MSS_BYTES = (1460, 1448, 536, 8960, 1)
LARGEST_HEADER_BYTES = 200


@dataclass(frozen=True)
class Case:
    """All that a transport is given, in the twin's types; `options` are those of the network and the policy.

    `recorded` are packets of the flows beyond those of connections.
    """

    links: tuple[Link, ...]
    paths: tuple[Path, ...]
    flows: tuple[Flow, ...]
    messages: tuple[Message, ...]
    connections: tuple[Connection, ...]
    settings: TransportSettings
    options: dict[str, Any]
    recorded: tuple[Packet, ...] = ()


def run_twin(case: Case) -> tuple[list[Sent], list[Result], list[Counts]]:
    """What the slow transport makes of a case."""
    return simulate(
        case.links,
        case.paths,
        case.flows,
        case.messages,
        case.connections,
        case.settings,
        case.recorded,
        **case.options,
    )


@st.composite
def cases(
    draw: st.DrawFn,
    cells: Sequence[tuple[str, str]] = PLAIN_CELLS,
    controls: Sequence[tuple[str, str]] = (),
    most_segments: int = 60,
) -> Case:
    """Cases that shrink."""
    return make_case(Drawn(draw), cells, controls, most_segments)


def make_case(
    c: Chooser,
    cells: Sequence[tuple[str, str]] = PLAIN_CELLS,
    controls: Sequence[tuple[str, str]] = (),
    most_segments: int = 60,
) -> Case:
    """1 to 6 connections over parallel paths or a fabric of two leaves and two spines with hosts' links.

    `controls` are the pairs of congestion control and rules to try, all if there are none.
    """
    settings = make_settings(c, controls)
    links, paths, hosts, leaf_of = (make_parallel, make_leaf_spine)[c.integer(0, 1)](c, settings.mss)
    flows: list[Flow] = []
    connections: list[Connection] = []
    tiers = [(sum(path.group == group for path in paths),) for group in range(1 + max(p.group for p in paths))]
    for _ in range(c.integer(1, 6)):
        ends = make_ends(c, leaf_of, bool(hosts))
        for source, target in (ends, ends[::-1]):
            flows.append(make_flow(c, leaf_of, source, target, len(flows) ^ 1))
        least = min(tiers[flow.group][0] for flow in flows[-2:])
        connections.append(Connection(None if c.integer(0, 3) else c.integer(0, least - 1)))
    messages = make_messages(c, len(connections), settings.mss, most_segments)
    policy, detector = c.pick(cells)
    options = {
        "policy": policy,
        "detector": detector,
        "detector_parameters": {name: c.pick(values) for name, values in DETECTORS[detector].OPTIONS.items()},
        "timeout_ns": c.pick((20_000, 0, 1000, 100_000, 1_000_000)),
        "seed": c.pick((1, 0, 42, 2**63, 2**64 - 1)),
        "loss_timeout_ns": 10**6,
        "minimum_frame_bytes": c.pick((60, 0)),
        "tiers": tuple(tiers),
        "hosts": hosts,
        "changes": make_changes(c, links),
        "detection_ns": c.pick((0, 1, 100_000, 10**8)),
        "scope": c.pick(("pair", "host", "fabric")),
        "suspect_after": c.pick((0, 1, 2)),
        "suspect_for_ns": c.pick((10**7, 0, 10**5)),
    }
    recorded = make_recorded(c, flows, leaf_of, bool(hosts))
    return Case(links, paths, tuple(flows), messages, tuple(connections), settings, options, recorded)


def make_flow(c: Chooser, leaf_of: Sequence[int], source: int, target: int, reverse: int | None) -> Flow:
    """A flow between two hosts, with ports of its own."""
    here, there = leaf_of[source], leaf_of[target]
    words = (0, source + 10, 0, target + 10, 6 << 32 | c.integer(0, 2**32 - 1))
    return Flow(fold(words), source, 2 if here == there else here, words, here, target, reverse)


def make_recorded(c: Chooser, flows: list[Flow], leaf_of: Sequence[int], with_links: bool) -> tuple[Packet, ...]:
    """Up to 40 packets of up to 3 further flows, which are put behind the others; often none."""
    first = len(flows)
    flows += [make_flow(c, leaf_of, *make_ends(c, leaf_of, with_links), None) for _ in range(c.pick((0, 0, 1, 3)))]
    packets: list[Packet] = []
    now_ns = 0
    for _ in range(c.integer(1, 40) if len(flows) > first else 0):
        now_ns += c.pick((0, 0, 1000, 10_000, 100_000, 1_000_000))
        size = c.pick((1500, 40, 576, 9000))
        packets.append(Packet(now_ns, c.integer(first, len(flows) - 1), size, None, False))
    return tuple(packets)


def make_settings(c: Chooser, controls: Sequence[tuple[str, str]]) -> TransportSettings:
    """Every setting; timeouts are often shorter than the network's delays."""
    every = [(control, rules) for rules in ("rfc", "ns-3") for control in ("newreno", "cubic", "dctcp")]
    control, rules = c.pick(tuple(controls) or tuple(every))
    rto_ns = c.pick((10_000_000, 1_000_000, 3_000_000, 200_000_000, 200_000))
    mss = c.pick(MSS_BYTES)
    return TransportSettings(
        control=control,  # type: ignore[arg-type]
        rules=rules,  # type: ignore[arg-type]
        receiver="dupack" if rules == "ns-3" else c.pick(("dupack", "rack")),
        mss=mss,
        header=c.pick((52, 40, 60)),
        initial_window=c.pick((10, 4, 20, 2, 1)),
        min_rto_ns=rto_ns,
        initial_rto_ns=c.pick((rto_ns, 3_000_000, 10_000_000, 100_000)),
        max_rto_ns=c.pick((100_000_000, 10**9)),
        granularity_ns=c.pick((1000, 1_000_000, 0)),
        ack_delay_ns=c.pick((100_000, 1000, 0, 40_000_000)),
        ack_every=c.pick((1, 2, 2, 4)),
        receive_window=mss * c.pick((10_000, 1000, 64, 8, 1)),
        ecn=bool(c.integer(0, 1)),
        tso=0 if rules == "ns-3" else c.pick((0, 0, 4 * mss, 65_536, 1)),
        pacing=rules != "ns-3" and c.integer(0, 3) == 0,
        slow_start=c.pick(("hystart", "standard", "hystart")),
        acks=c.pick(("steered", "hashed")),
        ties=c.pick(("hash", "number")),
        retries=c.pick((6, 15, 15, 6, 15, 6, 1, 2)),
        syn_retries=c.pick((6, 6, 6, 6, 0, 1, 2)),
        quick_acks=c.pick((0, 0, 3, 16)),
    )


def make_link(c: Chooser, mss: int) -> Link:
    """A link that holds a few segments; some are token buckets."""
    buffer_segments, ecn_segments = c.pick(BUFFERS_SEGMENTS), c.pick(ECN_SEGMENTS)
    size = mss + LARGEST_HEADER_BYTES
    return Link(
        c.pick(RATES_BPS),
        c.pick(DELAYS_NS),
        None if buffer_segments is None else buffer_segments * size,
        None if ecn_segments is None else ecn_segments * size,
        c.pick((24, 0, 38)),
        c.pick((0, 0, 0, 0, 0, 0, 0, 5_000)),
    )


Network = tuple[tuple[Link, ...], tuple[Path, ...], tuple[HostLinks, ...], tuple[int, ...]]


def make_parallel(c: Chooser, mss: int) -> Network:
    """1 to 4 paths each way, of a link or two; two hosts at each end, without links of their own."""
    links: list[Link] = []
    paths: list[Path] = []
    count = c.integer(1, 4)
    like = make_link(c, mss)
    for group in (0, 1):
        for _ in range(count):
            hops = []
            for _ in range(c.pick((1, 1, 2))):
                hops.append(len(links))
                links.append(like if c.integer(0, 1) else make_link(c, mss))
            paths.append(Path(group, tuple(hops), c.pick((0, 64, 80)), 0))
    return tuple(links), tuple(paths), (), (0, 0, 1, 1)


def make_leaf_spine(c: Chooser, mss: int) -> Network:
    """Two leaves, two spines, two hosts a leaf; every link both ways."""
    plain = make_link(c, mss)
    links = [plain if c.integer(0, 2) else make_link(c, mss) for _ in range(8)]  # leaf to spine, then spine to leaf
    up = {(leaf, spine): 2 * leaf + spine for leaf in (0, 1) for spine in (0, 1)}
    down = {(spine, leaf): 4 + 2 * spine + leaf for leaf in (0, 1) for spine in (0, 1)}
    srv6_bytes = c.pick((80, 0, 64))
    paths = [Path(leaf, (up[leaf, spine], down[spine, 1 - leaf]), srv6_bytes, 0) for leaf in (0, 1) for spine in (0, 1)]
    paths.append(Path(2, (), 0, 0))
    hosts = []
    host_link = make_link(c, mss)
    for _ in range(4):
        hosts.append(HostLinks(len(links), len(links) + 1))
        links += [host_link, host_link]
    return tuple(links), tuple(paths), tuple(hosts), (0, 0, 1, 1)


def make_ends(c: Chooser, leaf_of: Sequence[int], with_links: bool) -> tuple[int, int]:
    """Two hosts, of one leaf only if hosts have links."""
    source = c.integer(0, 3)
    others = [host for host in range(4) if leaf_of[host] != leaf_of[source] or (with_links and host != source)]
    return source, c.pick(others)


def make_messages(c: Chooser, connections: int, mss: int, most_segments: int) -> tuple[Message, ...]:
    """1 to 4 messages a connection, in order of time or waiting for earlier rows, of either half."""
    messages: list[Message] = []
    for connection in range(connections):
        for number in range(c.integer(1, 4)):
            segments = c.pick((c.integer(1, most_segments), most_segments, 1, 3))
            size = max(1, segments * mss - c.integer(0, mss - 1))
            after: tuple[int, ...] = ()
            if messages and c.integer(0, 1):
                after = tuple(sorted({c.integer(0, len(messages) - 1) for _ in range(c.integer(1, 2))}))
            start_ns = c.pick((0, 0, 1000, 100_000, 1_000_000, 50_000_000))
            half = 0 if number == 0 else c.integer(0, 1)
            messages.append(Message(connection, half, size, start_ns, after, c.pick((0, 1, 100_000, 10_000_000))))
    return tuple(messages)


def make_changes(c: Chooser, links: Sequence[Link]) -> tuple[Change, ...]:
    """Links that fail, most of which recover, and some that change their rate."""
    lines = [number for number, link in enumerate(links) if not link.burst_bytes]
    changes: list[Change] = []
    if not lines or c.integer(0, 2):
        return ()
    for _ in range(c.integer(1, 3)):
        number = c.pick(lines)
        at_ns = c.pick((0, 100_000, 500_000, 2_000_000)) + c.integer(0, 300_000)
        changes.append(Change(at_ns, number, c.pick((0, 0, 10**8, 10**10))))
        if c.integer(0, 4):
            changes.append(Change(at_ns + c.pick((200_000, 5_000_000)), number, links[number].rate_bps))
    return tuple(sorted(changes, key=lambda change: change.time_ns))
