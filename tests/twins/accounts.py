"""Checks that a run of the slow engine lost nothing: packets, bytes, buffers, departures, counters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from tests.twins.engine import Fate, Ledger, Link, Packet
from tests.twins.links import Passage
from tests.twins.network import Change


def assert_conserved(
    links: Sequence[Link],
    packets: Sequence[Packet],
    fates: Sequence[Fate],
    ledger: Ledger,
    changes: Sequence[Change] = (),
) -> None:
    """Every balance that must close, each recomputed from the ledger."""
    delivered = [fate for fate in fates if fate.receive_ns is not None]
    dropped = [fate for fate in fates if fate.dropped]
    assert len(delivered) + len(dropped) == len(packets) == len(fates)
    assert all((fate.receive_ns is None) == fate.dropped for fate in fates)
    assert all(count == 0 for count in ledger.in_flight_bytes.values()), "bytes stay in flight for ever"

    expected = [0] * len(links)
    waited = [0] * len(packets)
    for index in range(len(fates)):
        hops = ledger.ways[index]
        for accepted in hops[: ledger.dropped_at_hop.get(index, len(hops))]:
            expected[accepted] += ledger.frame_bytes[index]
    for number, link in enumerate(links):
        assert ledger.accepted_bytes(number) == expected[number], f"link {number} carried other bytes"
        assert_link_obeyed(link, ledger, number, [change for change in changes if change.link == number])
        before_ns = None
        for passage in ledger.passages[number]:
            if link.is_bucket:
                waited[passage.packet] += passage.leaves_ns - passage.enter_ns
            elif before_ns is not None:
                waited[passage.packet] += max(0, before_ns - passage.enter_ns)
            before_ns = passage.leaves_ns
    for index, fate in enumerate(fates):
        if not fate.dropped:
            assert fate.queue_ns == waited[index], f"packet {index} waited otherwise than its links say"


def rate_for(link: Link, changes: Sequence[Change], starts_ns: Fraction, enter_ns: int) -> int:
    """The rate at which a frame is transmitted that comes to the link and starts then."""
    rate_bps = link.rate_bps
    for change in changes:  # a frame that starts at the instant of a change was there before, or came after it
        if change.time_ns < starts_ns or change.time_ns <= enter_ns:
            rate_bps = change.rate_bps
    return rate_bps


def assert_link_obeyed(link: Link, ledger: Ledger, number: int, changes: Sequence[Change]) -> None:
    """A link's frames left in order, at its exact rate, and its backlog never passed its buffer."""
    passages = ledger.passages[number]
    if link.is_bucket:
        assert_shaped(link, passages)
        return
    free_ns = Fraction(-(10**30))
    for place, passage in enumerate(passages):
        starts_ns = max(Fraction(passage.enter_ns), free_ns)
        rate_bps = rate_for(link, changes, starts_ns, passage.enter_ns)
        departs_ns = starts_ns + Fraction((passage.frame_bytes + link.overhead_bytes) * 8 * 10**9, rate_bps)
        if passage.rounded:
            departs_ns = Fraction(math.ceil(departs_ns))
        assert passage.departs_ns == departs_ns > free_ns, f"link {number} was not true to its rate"
        free_ns = departs_ns
        if not changes and link.buffer_bytes is not None:
            waiting = sum(other.frame_bytes for other in passages[:place] if other.departs_ns > passage.enter_ns)
            assert waiting + passage.frame_bytes <= link.buffer_bytes, f"link {number} overran its buffer"


def assert_shaped(link: Link, passages: Sequence[Passage]) -> None:
    """Between any two departures a token bucket lets no more through than its burst and its rate allow, and in order.

    A frame waits no longer than that asks: one that waited used up, with some frame before it, all there was.
    """
    burst = Fraction(link.burst_bytes * 8 * 10**9 // link.rate_bps * link.rate_bps, 8 * 10**9)
    for last, passage in enumerate(passages):
        room: list[Fraction] = []
        size = Fraction(0)
        for first in range(last, -1, -1):
            size += passages[first].frame_bytes + link.overhead_bytes
            since_ns = passage.departs_ns - passages[first].departs_ns
            room.append(
                max(burst, passages[first].frame_bytes + link.overhead_bytes)
                + since_ns * link.rate_bps / (8 * 10**9)
                - size
            )
        assert min(room) >= 0, "a token bucket let too much through"
        assert passage.departs_ns >= (passages[last - 1].departs_ns if last else 0)
        if passage.departs_ns > passage.enter_ns:
            assert min(room) <= 0, "a token bucket held a frame back for which there were tokens"
