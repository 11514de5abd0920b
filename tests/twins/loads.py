"""How busy the busiest link of a leaf-spine fabric is, evenly spread: a slow second implementation.

Written from docs/model.md, Loads of the network. Packet by packet, link by link, in exact fractions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

FRAMING = 14 + 24  # Ethernet's header, then preamble, check sequence and gap


def busiest(packets: Sequence[tuple[int, int, int, int]], spines: int, rate_bps: int) -> Fraction:
    """Share of its time that the busiest link is busy; packets are (time_ns, source leaf, target leaf, IP bytes)."""
    bits: dict[tuple[str, int, int], Fraction] = defaultdict(Fraction)
    times = [time for time, source, target, _ in packets if source != target]
    for _, source, target, ip_bytes in packets:
        if source == target:
            continue
        for spine in range(spines):
            part = Fraction(8 * (ip_bytes + FRAMING), spines)
            bits["up", source, spine] += part
            bits["down", target, spine] += part
    seconds = Fraction(max(times) - min(times), 10**9)
    return max(bits.values()) / rate_bps / seconds


def segments(flows: Sequence[tuple[int, int, int, int]], mss: int, header: int, every: int) -> list[tuple[int, ...]]:
    """What TCP sends for flows (start_ns, source leaf, target leaf, bytes), without losses: as packets."""
    found: list[tuple[int, ...]] = []
    for start, source, target, size in flows:
        left, count = size, 0
        while left > 0:
            found.append((start, source, target, min(left, mss) + header))
            left -= mss
            count += 1
        found += [(start, target, source, header)] * -(-count // every)
    return found


def starts(flows: Sequence[tuple[int, Sequence[int], int]]) -> list[int]:
    """When flows (start_ns, the numbers of those they wait for, think_ns) would start if sending took no time."""
    known: dict[int, int] = {}
    while len(known) < len(flows):
        for number, (start, after, think) in enumerate(flows):
            if number not in known and all(other in known for other in after):
                known[number] = max([start, *(known[other] + think for other in after)])
    return [known[number] for number in range(len(flows))]
