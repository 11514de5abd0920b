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


def share_of_flow(frame: bytes, shares: int) -> int:
    """Which of the parts an untagged or tagged frame belongs to: by IPv6 source and flow label, or IPv4 addresses."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    kind, packet = frame[at : at + 2], frame[at + 2 :]
    found, who = 0, b""
    if kind == b"\x86\xdd" and len(packet) >= 40:
        found, who = int.from_bytes(packet[:4], "big") & 0xFFFFF, packet[8:24]
    elif kind == b"\x08\x00" and len(packet) >= 20:
        who = packet[12:20]
    for byte in who:
        found = (found ^ byte) * 0x100000001B3 % 2**64
    found ^= found >> 33
    return (found * 0xFF51AFD7ED558CCD % 2**64 >> 33) % shares
