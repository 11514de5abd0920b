"""One-way delay and the part of it spent in queues, of received packets, also host by host."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, Measured
from segcast.analyzer.metrics.histogram import (
    BITS,
    Histogram,
    bucket_count,
    bucket_of,
    empty_histogram,
    histogram_ranks,
    mean,
    note_sums,
    nothing_summed,
    summed,
    with_buckets,
)
from segcast.analyzer.metrics.places import watched_row
from segcast.analyzer.packets import RECEIVED, Fates, Packets
from segcast.analyzer.schema import QUANTILES, named_quantiles, quantile_columns
from segcast.traces.jit import at, int64, kernel
from segcast.traces.schema import Column

_LONGEST: Final = "longest delays"
HOST_BITS: Final = 7  # delays of a host are within 1 / 128


class Counts(NamedTuple):
    """`delays` and `queues` of received packets, ns; `hosts` int64[hosts watched, buckets], their delays."""

    delays: Histogram
    queues: Histogram
    hosts: NDArray[np.int64]


@kernel
def _add(packets: Packets, fates: Fates, host_of: NDArray[np.int64], counts: Counts, begin: int) -> int:
    """Count packets from `begin` on; returns the first one for which there is no bucket, or how many there are."""
    delays, queues, hosts = counts.delays.counts, counts.queues.counts, counts.hosts
    delay_sum, queue_sum = nothing_summed(), nothing_summed()
    row = int64(begin)
    while row < len(packets.flow):
        if fates.state[at(row)] & RECEIVED:
            delay_ns = fates.receive_ns[at(row)] - packets.send_ns[at(row)]
            queue_ns = fates.queue_ns[at(row)]
            delay, queue = bucket_of(delay_ns, BITS), bucket_of(queue_ns, BITS)
            if delay >= len(delays) or queue >= len(queues):
                break
            delays[at(delay)] += 1
            queues[at(queue)] += 1
            delay_sum, queue_sum = summed(delay_sum, delay_ns), summed(queue_sum, queue_ns)
            host = host_of[packets.flow[at(row)]]
            if host >= 0:
                hosts[at(host), at(bucket_of(delay_ns, HOST_BITS))] += 1
        row += 1
    note_sums(counts.delays.sums, delay_sum)
    note_sums(counts.queues.sums, queue_sum)
    return row


def _with_buckets(counts: Counts, delay_ns: int, queue_ns: int) -> Counts:
    """The same counts, with buckets for such packets."""
    return Counts(
        counts.delays._replace(counts=with_buckets(counts.delays.counts, delay_ns)),
        counts.queues._replace(counts=with_buckets(counts.queues.counts, queue_ns)),
        with_buckets(counts.hosts, delay_ns, HOST_BITS),
    )


class DelayFamily(Family):
    """Delays of packets."""

    name = "delays"
    summary = (
        *quantile_columns("delay", pa.int64(), "ns", "one-way delay of received packets"),
        Column("delay_mean_ns", pa.float64(), "mean one-way delay", True),
        *quantile_columns("queue", pa.int64(), "ns", "time spent waiting in queues"),
        Column("queue_mean_ns", pa.float64(), "mean of the same", True),
    )

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self._known = measured.known
        self._host_of = measured.once("watched rows", lambda: watched_row(measured.plan, measured.hosts))
        hosts = np.zeros((len(measured.hosts), bucket_count(0, HOST_BITS)), np.int64)
        self.counts = Counts(empty_histogram(), empty_histogram(), hosts)
        if self._known is not None and _LONGEST in self._known:  # cells alike need as many buckets
            self.counts = _with_buckets(self.counts, *self._known[_LONGEST])

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        row = 0
        while (row := _add(packets, fates, self._host_of, self.counts, row)) < len(packets.flow):
            received = row + np.flatnonzero(fates.state[row:] & RECEIVED)
            longest_ns = int((fates.receive_ns[received] - packets.send_ns[received]).max())
            waited_ns = int(fates.queue_ns[received].max())
            self.counts = _with_buckets(self.counts, longest_ns, waited_ns)
            if self._known is not None:
                others = self._known.get(_LONGEST, (0, 0))
                self._known[_LONGEST] = max(longest_ns, others[0]), max(waited_ns, others[1])

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        delays, queues = self.counts.delays, self.counts.queues
        return {
            **named_quantiles("delay", histogram_ranks(delays, QUANTILES.values()), "ns"),
            "delay_mean_ns": mean(delays),
            **named_quantiles("queue", histogram_ranks(queues, QUANTILES.values()), "ns"),
            "queue_mean_ns": mean(queues),
        }
