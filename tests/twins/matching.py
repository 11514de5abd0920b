"""What measurement computes, slowly: identities from bytes, matching from lists, links with fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def stripped(packet: bytes, prefix: tuple[int, int], insert: bool) -> tuple[bool, list[bytes], bytes, int]:
    """Whether an outermost IP packet is steered, its list as sent, the packet without SRv6, bytes taken from within."""
    if packet[0] >> 4 != 6 or len(packet) < 40:
        return False, [], packet, 0
    network, bits = prefix
    ours = int.from_bytes(packet[8:24], "big") >> (128 - bits) == network >> (128 - bits)
    chain, at, kind = [6], 40, packet[6]
    while kind in (0, 60) and at + 8 <= len(packet):
        chain.append(at)
        kind, at = packet[at], at + 8 * packet[at + 1] + 8
    srh = b""
    if kind == 43 and at + 8 <= len(packet) and packet[at + 2] == 4:
        srh = packet[at : at + 8 + 8 * packet[at + 1]]
        if len(srh) < 8 + 8 * srh[1] or 8 + 16 * (srh[4] + 1) > len(srh):
            srh = b""
    listed = [srh[8 + 16 * k : 24 + 16 * k] for k in range(srh[4] + 1)] if srh else []
    order = listed[::-1]
    if not srh or srh[3] > srh[4]:
        order = [packet[24:40], *order]
    if insert:
        if not srh:
            return False, [], packet, 0
        whole = bytearray(packet[:at] + packet[at + len(srh) :])
        whole[chain[-1]] = srh[0]
        whole[24:40] = listed[0]
        whole[4:6] = (int.from_bytes(packet[4:6], "big") - len(srh)).to_bytes(2, "big")
        return srh[3] > 0, order[:-1], bytes(whole), len(srh)
    if not ours:
        return False, [], packet, 0
    kind, inner = (srh[0], packet[at + len(srh) :]) if srh else (packet[6], packet[40:])
    if kind == 143:
        kind = {b"\x08\x00": 4, b"\x86\xdd": 41}.get(inner[12:14], 0)
        inner = inner[14:]
    if kind not in (4, 41):
        return False, [], packet, 0
    return True, order, inner, 0


def identity(packet: bytes, prefix: tuple[int, int], insert: bool, limit: int) -> tuple[str, list[bytes], bytes]:
    """State, list and the bytes that a digest covers, of a whole or cut outermost IP packet."""
    steered, segments, inner, _ = stripped(packet, prefix, insert)
    if len(inner) < (20 if inner[:1] and inner[0] >> 4 == 4 else 40):
        return "none", segments, b""
    v4 = inner[0] >> 4 == 4
    total = int.from_bytes(inner[2:4], "big") if v4 else 40 + int.from_bytes(inner[4:6], "big")
    inner = inner[:total]
    if len(inner) < min(total, limit):
        return "cut", segments, b""
    fixed = bytearray(inner[:limit])
    if v4:
        fixed[1] &= 0xFC
        fixed[8] = fixed[10] = fixed[11] = 0
    else:
        fixed[1] &= 0xCF
        fixed[7] = 0
    return "steered" if steered else "bare", segments, bytes(fixed)


def align(planned: Sequence[int], sent: Sequence[int], window: int = 4096) -> list[int]:
    free = list(range(len(planned)))
    here, found = 0, []
    for own in sent:
        equal = [row for row in free if planned[row] == own]
        ahead = [row for row in equal if here <= row < here + window]
        row = ahead[0] if ahead else equal[0] if equal else -1
        if ahead:
            here = row + 1
        if row >= 0:
            free.remove(row)
        found.append(row)
    return found


def pair(
    sent: Sequence[int], sent_ns: Sequence[int], received: Sequence[int], received_ns: Sequence[int], slack: int
) -> list[int]:
    found = [-1] * len(received)
    for own in set(sent):
        left = sorted((sent_ns[row], row) for row in range(len(sent)) if sent[row] == own)
        came = sorted((received_ns[row], row) for row in range(len(received)) if received[row] == own)
        free, taken, matched = list(left), [], []
        for time_ns, row in came:
            possible = [item for item in free if item[0] <= time_ns + slack]
            if possible:
                free.remove(possible[-1])
                taken.append(possible[-1])
                matched.append(row)
        for item, row in zip(sorted(taken), matched, strict=True):
            found[row] = item[1]
    return found


def link(
    arrivals: Sequence[tuple[int, int]], rate_bps: int, delay_ns: int, buffer: int | None, overhead: int, burst: int
) -> list[tuple[int, int] | None]:
    """When each frame (time, bytes), in order of time, reaches the far end of a link, and how long it waited.

    None if it is dropped.
    """
    burst_ns = burst * 8 * 10**9 // rate_bps
    free: Fraction | None = None
    there: list[tuple[int, int]] = []
    found: list[tuple[int, int] | None] = []
    for time_ns, size in arrivals:
        there = [(leaves, held) for leaves, held in there if leaves > time_ns]
        if buffer is not None and sum(held for _, held in there) + size > buffer:
            found.append(None)
            continue
        waited = 0 if free is None else max(0, math.ceil(free) - time_ns)
        idle = Fraction(time_ns - burst_ns)
        free = (idle if free is None else max(free, idle)) + Fraction((size + overhead) * 8 * 10**9, rate_bps)
        leaves = max(time_ns, math.ceil(free))
        there.append((leaves, size))
        found.append((leaves + delay_ns, leaves - time_ns if burst_ns else waited))
    return found


def lower_line(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Corners of the lower convex hull: points below or on every line through two others on both sides of them."""
    lowest = sorted({x: min(y for a, y in points if a == x) for x, _ in points}.items())

    def corner(place: int) -> bool:
        x, y = lowest[place]
        for ax, ay in lowest[:place]:
            for bx, by in lowest[place + 1 :]:
                if Fraction(ay) + Fraction((by - ay) * (x - ax), bx - ax) <= y:
                    return False
        return True

    return [point for place, point in enumerate(lowest) if corner(place)]
