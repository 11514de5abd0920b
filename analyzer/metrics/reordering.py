"""Reordering (RFC 4737) of packets that come in send order, piece by piece: which are late, and by how much.

What is kept between pieces. Rows are received packets in send order; the *horizon* is the time sent of the last packet
that came, dropped ones included. A row received by the horizon is settled: whatever comes later is received after it
was sent, so after the horizon, and cannot have overtaken it, nor lie between it and one that did. So the rows before
the first one received after the horizon are counted. A counted row may still lie in the extent of a later one, *i*,
between its first overtaker *j* and itself; then it was received no earlier than *j*, so after *i* was sent. So a
counted row stays only while it was received after the first row not counted was sent.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.histogram import BITS, empty_histogram, record_all
from segcast.analyzer.packets import RECEIVED, Fates, Packets
from segcast.traces.jit import int64, kernel

_NEVER_NS: Final = np.iinfo(np.int64).max
_DISPLACED: Final = 3

# Places in `scalars`.
COUNTED, LEFT, HORIZON_NS, DISPLACED = range(4)


class Reordering(NamedTuple):
    """Rows kept: `flow` uint32, `send_ns` and `receive_ns` int64, the first `scalars[COUNTED]` of them as context.

    `scalars` int64: COUNTED, how many rows the last count left, the horizon, and packets displaced by three or more.
    `late` int64[flows], reordered packets; `extents` and `extent_sums` as in `Histogram`; `earliest_ns` and `latest_ns`
    int64[flows] are scratch.
    """

    flow: NDArray[np.uint32]
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]
    scalars: NDArray[np.int64]
    late: NDArray[np.int64]
    extents: NDArray[np.int64]
    extent_sums: NDArray[np.int64]
    earliest_ns: NDArray[np.int64]
    latest_ns: NDArray[np.int64]


def no_reordering(flows: int) -> Reordering:
    """Nothing came yet."""
    nothing = empty_histogram()
    return Reordering(
        np.empty(0, np.uint32),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.array([0, 0, np.iinfo(np.int64).min, 0], np.int64),
        np.zeros(flows, np.int64),
        nothing.counts,
        nothing.sums,
        np.full(flows, _NEVER_NS, np.int64),
        np.full(flows, -_NEVER_NS, np.int64),
    )


def add_rows(kept: Reordering, packets: Packets, fates: Fates) -> Reordering:
    """Take packets whose fates are known, which follow those before in send order; what is kept from then on."""
    if len(packets.flow) == 0:
        return kept
    received = (fates.state & RECEIVED) > 0
    kept = kept._replace(
        flow=np.concatenate((kept.flow, packets.flow[received])),
        send_ns=np.concatenate((kept.send_ns, packets.send_ns[received])),
        receive_ns=np.concatenate((kept.receive_ns, fates.receive_ns[received])),
    )
    kept.scalars[HORIZON_NS] = packets.send_ns[-1]
    # Counting looks at all rows kept, so it waits until they have doubled: its cost stays in proportion.
    return _count(kept) if len(kept.flow) >= 2 * kept.scalars[LEFT] else kept


def last_rows(kept: Reordering) -> Reordering:
    """Nothing more comes: count what is left."""
    kept.scalars[HORIZON_NS] = _NEVER_NS
    return _count(kept)


@kernel
def _settled(receive_ns: NDArray[np.int64], begin: int, horizon_ns: int) -> int:
    """The first row from `begin` on that was received after the horizon."""
    row = begin
    while row < len(receive_ns) and receive_ns[row] <= horizon_ns:
        row += 1
    return row


@kernel
def _involved(kept: Reordering, begin: int, stop: int, late: NDArray[np.bool_], involved: NDArray[np.bool_]) -> int:
    """Rows that are late (of `begin` to `stop`), and those that are late, overtake or lie between; how many are late.

    A row that neither is late nor overtakes has no place between an overtaker and the overtaken: were it received
    before the overtaken, it would overtake it or have been sent before it, and then be late itself.
    """
    flow, receive_ns, earliest_ns, latest_ns = kept.flow, kept.receive_ns, kept.earliest_ns, kept.latest_ns
    found = 0
    for row in range(len(flow)):
        own = flow[row]
        if receive_ns[row] < latest_ns[own]:
            involved[row] = True
        else:
            latest_ns[own] = receive_ns[row]
    # Backwards, the earliest reception of any later packet of the flow decides (RFC 4737 section 3.3).
    for row in range(len(flow) - 1, -1, -1):
        own = flow[row]
        if receive_ns[row] > earliest_ns[own]:
            involved[row] = True
            if begin <= row < stop:
                late[row] = True
                kept.late[own] += 1
                found += 1
        else:
            earliest_ns[own] = receive_ns[row]
    for row in range(len(flow)):
        earliest_ns[flow[row]] = _NEVER_NS
        latest_ns[flow[row]] = -_NEVER_NS
    return found


@kernel
def _extents(
    flow: NDArray[np.uint32], sent: NDArray[np.int64], late: NDArray[np.bool_], extents: NDArray[np.int64]
) -> None:
    """Extents of late rows (RFC 4737 section 4.2.1); rows by flow, then reception; `sent` is the place in send order.

    Of each flow only rows that are involved need be there: extents begin and end within a run of them.
    """
    found = 0
    start = 0
    count = len(flow)
    highest = np.empty(count, np.int64)
    for row in range(count):
        if row == 0 or flow[row] != flow[row - 1]:
            start = row
            highest[row] = sent[row]
        else:
            highest[row] = max(highest[row - 1], sent[row])
        if late[row]:
            low = int64(start)
            high = int64(row)
            while low < high:
                middle = (low + high) >> 1
                if highest[middle] > sent[row]:
                    high = middle
                else:
                    low = middle + 1
            extents[found] = row - low
            found += 1


def _count(kept: Reordering) -> Reordering:
    """Count the rows that are settled, and let go of those that no extent can need."""
    counted = int(kept.scalars[COUNTED])
    stop = _settled(kept.receive_ns, counted, int(kept.scalars[HORIZON_NS]))
    late, involved = np.zeros(len(kept.flow), np.bool_), np.zeros(len(kept.flow), np.bool_)
    found = _involved(kept, counted, stop, late, involved)
    if found:
        rows = np.flatnonzero(involved)
        rows = rows[np.lexsort((kept.receive_ns[rows], kept.flow[rows]))]  # stable: equals stay in send order
        extents = np.empty(found, np.int64)
        _extents(kept.flow[rows], rows, late[rows], extents)
        record_all(kept.extents, kept.extent_sums, extents, BITS)
        kept.scalars[DISPLACED] += int((extents >= _DISPLACED).sum())
    stays = np.ones(len(kept.flow), np.bool_)
    stays[:stop] = kept.receive_ns[:stop] > kept.send_ns[stop] if stop < len(stays) else False
    kept.scalars[COUNTED] = int(stays[:stop].sum())
    kept.scalars[LEFT] = int(stays.sum())
    return kept._replace(flow=kept.flow[stays], send_ns=kept.send_ns[stays], receive_ns=kept.receive_ns[stays])
