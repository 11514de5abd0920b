"""Checks that a run of the slow engine lost nothing: packets, bytes, buffers, departures, counters."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tests.twins.engine import Fate, Ledger, Link, Packet, Path


def assert_conserved(
    links: Sequence[Link],
    paths: Sequence[Path],
    packets: Sequence[Packet],
    fates: Sequence[Fate],
    ledger: Ledger,
) -> None:
    """Every balance that must close, each recomputed from the ledger."""
    delivered = [fate for fate in fates if fate.receive_ns is not None]
    dropped = [fate for fate in fates if fate.dropped]
    assert len(delivered) + len(dropped) == len(packets) == len(fates)
    assert all((fate.receive_ns is None) == fate.dropped for fate in fates)
    assert all(count == 0 for count in ledger.in_flight_bytes.values()), "bytes stay in flight for ever"

    expected = [0] * len(links)
    for index, fate in enumerate(fates):
        hops = paths[fate.path_id].links
        for accepted in hops[: ledger.dropped_at_hop.get(index, len(hops))]:
            expected[accepted] += ledger.frame_bytes[index]
    for number, link in enumerate(links):
        assert ledger.accepted_bytes(number) == expected[number], f"link {number} accepted other bytes"
        assert_link_obeyed(link, ledger, number)


def assert_link_obeyed(link: Link, ledger: Ledger, number: int) -> None:
    """A link's frames left in order, at its exact rate, and its backlog never passed its buffer."""
    passages = ledger.passages[number]
    for place, passage in enumerate(passages):
        earlier = passages[:place]
        start_ns = max([Fraction(passage.enter_ns)] + [other.departs_ns for other in earlier])
        sent_bits = (passage.departs_ns - start_ns) * link.rate_bps / 10**9
        assert sent_bits == (passage.frame_bytes + link.overhead_bytes) * 8, f"link {number} changed its rate"
        waiting = sum(other.frame_bytes for other in earlier if other.departs_ns > passage.enter_ns)
        if link.buffer_bytes is not None:
            assert waiting + passage.frame_bytes <= link.buffer_bytes, f"link {number} overran its buffer"
