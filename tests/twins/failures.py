"""What a failure does, counted stage by stage, packet by packet: slow and obvious."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Went:
    """A packet that was sent on `way` (links, by number) and reached `crossed` of them.

    `receive_ns` is None if it was dropped; `dead`: at a link that was down. `cut`: no path of its flow was left.
    """

    send_ns: int
    flow: int
    ip_bytes: int
    frame_bytes: int
    way: tuple[int, ...]
    crossed: int
    receive_ns: int | None
    queue_ns: int
    dead: bool
    cut: bool


@dataclass
class Counted:
    """Counts of each stage by name, and of links: bytes by (stage, link), and what the last stage says of them."""

    stages: list[Counter[str]]
    delays: list[list[int]]
    queues: list[list[int]]
    link_bytes: Counter[tuple[int, int]] = field(default_factory=Counter)
    link_delays: dict[int, list[int]] = field(default_factory=dict)
    link_full: Counter[int] = field(default_factory=Counter)
    crossed: set[tuple[int, int]] = field(default_factory=set)
    hits: Counter[int] = field(default_factory=Counter)
    longest_ns: dict[int, int] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    resumed_ns: int | None = None
    last_dead_ns: int | None = None


def count(packets: Sequence[Went], begins_ns: Sequence[int], until_ns: int, overhead_bytes: Sequence[int]) -> Counted:
    """Count packets, in send order."""
    stages = len(begins_ns)
    found = Counted([Counter() for _ in begins_ns], [[] for _ in begins_ns], [[] for _ in begins_ns])
    since: dict[int, int] = {}
    for packet in packets:
        stage = bisect_right(begins_ns, packet.send_ns) - 1
        if stage < 0:
            continue
        last = stage == stages - 1
        counter = found.stages[stage]
        counter["packets"] += 1
        if packet.receive_ns is not None:
            counter["delivered"] += 1
            counter["bytes"] += packet.ip_bytes
            found.delays[stage].append(packet.receive_ns - packet.send_ns)
            found.queues[stage].append(packet.queue_ns)
            if packet.flow in since:
                stall_ns = packet.receive_ns - since.pop(packet.flow)
                found.longest_ns[packet.flow] = max(found.longest_ns.get(packet.flow, 0), stall_ns)
                found.resumed_ns = max(found.resumed_ns or 0, packet.receive_ns)
        elif not packet.dead:
            counter["full"] += 1
            if last:
                found.link_full[packet.way[packet.crossed]] += 1
        elif packet.cut:
            counter["no_path"] += 1
        else:
            counter["dead"] += 1
            found.hits[packet.flow] += 1
            since.setdefault(packet.flow, packet.send_ns)
            found.last_dead_ns = max(found.last_dead_ns or 0, packet.send_ns)
        for link in packet.way[: packet.crossed]:
            if packet.send_ns < until_ns:
                found.link_bytes[stage, link] += packet.frame_bytes + overhead_bytes[link]
            if last:
                found.crossed.add((packet.flow, link))
                if packet.receive_ns is not None:
                    found.link_delays.setdefault(link, []).append(packet.receive_ns - packet.send_ns)
    found.silent = set(since)
    return found
