"""On how many separate busy periods a percentile of queueing rests: packets of one meet the same queue.

What lies beyond the percentile is counted in blocks of time. Were it of busy periods that come independently, all of
one size, its number would vary from block to block as a Poisson number times that size, which tells how many they are.
Whatever links they are of, a long one counts as one, and few large ones are not made many by small ones beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, Measured
from segcast.analyzer.metrics.histogram import bucket_count, bucket_of, bucket_ranks, with_buckets
from segcast.analyzer.packets import RECEIVED, Fates, Packets
from segcast.traces.jit import at, int64, kernel
from segcast.traces.schema import Column

BLOCKS: Final = 64
BITS: Final = 5  # Where the percentile is cut may be 1 / 32 too low.
_QUANTILES: Final = {"p99": 0.99, "p999": 0.999}
_MERGED: Final = (1, 2, 4)  # A busy period longer than a block shows in longer blocks.

# Places in `times`.
START_NS, LAST_NS, SHIFT, BEGUN = range(4)


class Counts(NamedTuple):
    """`waits` int64[blocks, buckets]: received packets by when they were sent, and by their time in queues.

    `times` int64: when the first packet was sent, and the last; a block is 2^shift ns; whether any was sent.
    """

    waits: NDArray[np.int64]
    times: NDArray[np.int64]


@kernel
def _add(packets: Packets, fates: Fates, counts: Counts, begin: int) -> int:
    """Count packets from `begin` on; returns the first one for which there is no bucket, or how many there are."""
    waits, start_ns, shift = counts.waits, counts.times[START_NS], counts.times[SHIFT]
    buckets = waits.shape[1]
    row = int64(begin)
    while row < len(packets.flow):
        if fates.state[at(row)] & RECEIVED:
            bucket = bucket_of(fates.queue_ns[at(row)], BITS)
            if bucket >= buckets:
                break
            waits[at((packets.send_ns[at(row)] - start_ns) >> shift), at(bucket)] += 1
        row += 1
    return row


def separate(beyond: Sequence[int]) -> float:
    """Of how many independent things of one size these are, by how their number varies over blocks of one length."""
    blocks, number = len(beyond), sum(beyond)
    spread = blocks * sum(n * n for n in beyond) - number * number
    return number * number * (blocks - 1) / spread if spread else float(number)


class BusyPeriodFamily(Family):
    """Separate busy periods beyond percentiles of queueing."""

    name = "busy_periods"
    summary = tuple(
        Column(
            f"busy_periods_{quantile}",
            pa.float64(),
            f"separate busy periods beyond {quantile} of time spent waiting: as many of one size would vary as much "
            "over time; null where that is 0",
            True,
        )
        for quantile in _QUANTILES
    )
    counts: Counts

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self.counts = Counts(np.zeros((BLOCKS, bucket_count(0, BITS)), np.int64), np.zeros(4, np.int64))

    def sent(self, packets: Packets, path: NDArray[np.uint16]) -> None:
        """Make blocks as long as it takes; packets follow those before."""
        if len(packets.flow) == 0:
            return
        waits, times = self.counts
        begins = not times[BEGUN]
        if begins:
            times[START_NS], times[BEGUN] = packets.send_ns[0], 1
        times[LAST_NS] = packets.send_ns[-1]
        if begins:  # nothing is counted yet that blocks would be joined for
            times[SHIFT] = max(int(times[LAST_NS] - times[START_NS]).bit_length() - (BLOCKS.bit_length() - 1), 0)
        while (times[LAST_NS] - times[START_NS]) >> times[SHIFT] >= BLOCKS:
            waits[: BLOCKS // 2] = waits[::2] + waits[1::2]
            waits[BLOCKS // 2 :] = 0
            times[SHIFT] += 1

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets that are finished; they have been sent."""
        row = 0
        while (row := _add(packets, fates, self.counts, row)) < len(packets.flow):
            longest_ns = int(fates.queue_ns[row:][fates.state[row:] & RECEIVED != 0].max())
            self.counts = self.counts._replace(waits=with_buckets(self.counts.waits, longest_ns, BITS))

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        waits, times = self.counts
        used = waits[: ((times[LAST_NS] - times[START_NS]) >> times[SHIFT]) + 1]
        least = bucket_ranks(used.sum(axis=0), _QUANTILES.values(), BITS)
        return {
            f"busy_periods_{name}": self._beyond(used, waited_ns) if waited_ns else None
            for name, waited_ns in zip(_QUANTILES, least, strict=True)
        }

    @staticmethod
    def _beyond(waits: NDArray[np.int64], waited_ns: int) -> float:
        """Busy periods in which packets waited at least so long."""
        beyond = waits[:, bucket_of(waited_ns, BITS) :].sum(axis=1)
        several = [np.add.reduceat(beyond, np.arange(0, len(beyond), merged)).tolist() for merged in _MERGED]
        return min((separate(numbers) for numbers in several if len(numbers) > 1), default=1.0)
