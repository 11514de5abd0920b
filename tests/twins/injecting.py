"""Slow twins of what prepares packets for sending: merged captures, and gaps less what sending costs."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence


def read(content: bytes) -> list[tuple[int, bytes]]:
    """Time and frame of each record of a little-endian nanosecond pcap."""
    found, at = [], 24
    while at < len(content):
        seconds, nanoseconds, size, _ = struct.unpack_from("<IIII", content, at)
        found.append((seconds * 10**9 + nanoseconds, content[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def merged(
    files: Sequence[Sequence[tuple[int, bytes]]], source_mac: bytes | None, next_hop_mac: bytes | None
) -> list[tuple[int, bytes]]:
    """All records in order of time, then of file, with these addresses."""
    rows = [(time, number, place, data) for number, rows in enumerate(files) for place, (time, data) in enumerate(rows)]
    found = []
    for time, _, _, data in sorted(rows, key=lambda row: row[:3]):
        new = (next_hop_mac or data[:6]) + (source_mac or data[6:12]) + data[12:]
        found.append((time, new))
    return found


def sends_at(asked: Sequence[int], cost: int) -> list[int]:
    """When a sender without catch-up sends packets whose capture has these times."""
    found = [asked[0]]
    for before, after in itertools.pairwise(asked):
        found.append(found[-1] + after - before + cost)
    return found


def best(wanted: Sequence[int], cost: int) -> list[int]:
    """When such a sender can send at the soonest, but never before a packet is due."""
    found = [wanted[0]]
    for due in wanted[1:]:
        found.append(max(due, found[-1] + cost))
    return found


def kept(pairs: Sequence[tuple[int, int]]) -> tuple[int, float | None, int, int]:
    """Of planned and actual times of packets: the first one's delay, the stretch, and p50 and p99 of the shift."""
    first_planned, first_left = pairs[0]
    shifts = sorted(abs((left - first_left) - (planned - first_planned)) for planned, left in pairs)
    span = pairs[-1][0] - first_planned
    stretch = (pairs[-1][1] - first_left) / span if span else None
    ranks = [max(0, -(-len(shifts) * percent // 100) - 1) for percent in (50, 99)]
    return first_left - first_planned, stretch, shifts[ranks[0]], shifts[ranks[1]]
