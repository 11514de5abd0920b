"""Growth by flows: which connections of a trace are sent, and their copies (docs/model.md, Growth)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.packets import Packets
from segcast.analyzer.scenario.growth import GroupSpec, GrowthSpec
from segcast.traces.addresses import within
from segcast.traces.errors import InputError
from segcast.traces.hashing import mix, mix_each

UNIT: Final = 1 << 32
"""Thresholds are in these parts of 1."""

ALWAYS: Final = -1
_GOLDEN: Final = 0x9E3779B9  # 2^32 over the golden ratio: neighbours in size are spread over all shares
_MOST_FLOWS: Final = 1 << 25
_MOST_PACKETS: Final = 1 << 31


class Spans(NamedTuple):
    """What each flow of the trace sends, int64[flows]: its bytes, and when its first and its last packet come.

    Flows that do not enter the network have no bytes.
    """

    bytes: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Growth:
    """The flows of a trace and of the copies of its connections, numbered on from those of the trace.

    By flow, int64: `origin`, the flow of the trace that it copies, or itself; `copy`, 0 for the trace's own, and
    `wraps`, 1 for what of a copy passes the end of the trace and so comes at its beginning; `threshold`: the flow is
    sent at factors above it, in parts of UNIT; `shift_ns`, how much later it is; `reverse`, its other direction, or -1.
    `start_ns` and `period_ns` are the time in which copies turn around; `bytes` are what the flows of the trace send.
    """

    origin: NDArray[np.int64]
    copy: NDArray[np.int64]
    wraps: NDArray[np.int64]
    threshold: NDArray[np.int64]
    shift_ns: NDArray[np.int64]
    reverse: NDArray[np.int64]
    start_ns: int
    period_ns: int
    bytes: NDArray[np.int64]

    @property
    def population(self) -> NDArray[np.int64]:
        """Which hosts a flow is between, int64[flows]: 0 those of the trace; populations share no host."""
        return np.where(self.copy > 0, 2 * self.copy - 1 + self.wraps, 0)

    def sent(self, factor: Fraction) -> NDArray[np.bool_]:
        """The flows that are sent at a factor, bool[flows]."""
        found: NDArray[np.bool_] = self.threshold < _limit(factor)
        return found

    def share_of_bytes(self, factor: Fraction) -> float:
        """The bytes that are sent at a factor, in parts of those of the trace."""
        sends = self.sent(factor) & (self.wraps == 0)
        return float(self.bytes[self.origin[sends]].sum() / max(int(self.bytes.sum()), 1))

    @property
    def growing_share(self) -> float:
        """The bytes of the connections that grow, in parts of all."""
        return float(self.bytes[self._growing].sum() / max(int(self.bytes.sum()), 1))

    @property
    def connections(self) -> tuple[int, float]:
        """How many connections grow, and the part of their bytes that the largest has."""
        flows = np.flatnonzero(self._growing)
        reverse = self.reverse[flows]
        sizes = np.bincount(np.where(reverse >= 0, np.minimum(flows, reverse), flows), self.bytes[flows])
        return int((sizes > 0).sum()), float(sizes.max(initial=0) / max(sizes.sum(), 1))

    @property
    def _growing(self) -> NDArray[np.bool_]:
        """The flows of the trace that grow, bool[flows]."""
        growing: NDArray[np.bool_] = self.threshold[: len(self.bytes)] != ALWAYS
        return growing

    def packets(self, packets: Packets, factor: Fraction) -> tuple[Packets, NDArray[np.int64]]:
        """The packets of the trace at a factor, in send order, and the row of `packets` that each is, int64[m].

        At one instant the trace's own come first, then copies by number, then by flow, as they were captured. Raises
        InputError if there are more than memory could hold.
        """
        trace_flows = len(self.bytes)
        sends = self.sent(factor)
        own = np.flatnonzero(sends[:trace_flows][packets.flow])
        heads = np.flatnonzero(sends & (self.copy > 0) & (self.wraps == 0))
        if len(heads) == 0:
            return Packets._make(column[own] for column in packets), own
        order = np.argsort(packets.flow, kind="stable")
        counts = np.bincount(packets.flow, minlength=trace_flows)
        begins = np.cumsum(counts) - counts
        lengths = counts[self.origin[heads]]
        total = int(lengths.sum())
        if total + len(own) > _MOST_PACKETS:
            raise InputError(
                f"growth {float(factor):g}: would be {total + len(own):,} packets; at most {_MOST_PACKETS:,} are "
                'supported: give a smaller factor, a shorter trace, or by = "rate" for part of it'
            )
        offsets = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        row = order[np.repeat(begins[self.origin[heads]], lengths) + offsets]
        flow = np.repeat(heads, lengths)
        send_ns = packets.send_ns[row] + self.shift_ns[flow]
        over = send_ns >= self.start_ns + self.period_ns
        send_ns[over] -= self.period_ns
        flow[over] = self._wrapped(heads, lengths)[over]
        row, flow, send_ns = (
            np.concatenate(pair)
            for pair in ((own, row), (packets.flow[own].astype(np.int64), flow), (packets.send_ns[own], send_ns))
        )
        order = np.argsort(send_ns, kind="stable")
        row = row[order]
        return Packets(send_ns[order], flow[order].astype(np.uint32), packets.ip_bytes[row]), row

    def _wrapped(self, heads: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """By packet of `heads`, `lengths` each: the flow of its copy that wraps, or itself if none does."""
        flows = len(self.bytes)
        tails = np.flatnonzero(self.wraps)
        key = self.copy[heads] * flows + self.origin[heads]
        tail_key = self.copy[tails] * flows + self.origin[tails]
        place = np.searchsorted(tail_key, key)
        found = heads.copy()
        there = place < len(tails)
        there[there] = tail_key[place[there]] == key[there]
        found[there] = tails[place[there]]
        return np.repeat(found, lengths)


def _limit(factor: Fraction) -> int:
    return factor.numerator * UNIT // factor.denominator


def grow(
    spec: GrowthSpec,
    most: Fraction,
    spans: Spans,
    reverse: NDArray[np.int64],
    grows: NDArray[np.bool_] | None = None,
    together: NDArray[np.int64] | None = None,
) -> Growth:
    """The growth of a trace up to the factor `most`; `reverse` int64[flows] is each flow's other direction, or -1.

    `grows` bool[flows]: which flows do, all if None. `together` int64[flows] is the lowest flow of those that are
    copied as one; None: connections are. Raises InputError if there would be too many copies.
    """
    count = len(reverse)
    connection = connections(reverse) if together is None else together
    used = np.flatnonzero(spans.bytes > 0)
    start_ns = int(spans.first_ns[used].min())
    period_ns = int(spans.last_ns[used].max()) - start_ns + 1
    ranked = _by_size(connection, spans.bytes, grows)
    copies = -(-most.numerator // most.denominator)
    if copies * len(ranked) > _MOST_FLOWS:
        raise InputError(
            f"growth {float(most):g}: {copies:,} copies of {len(ranked):,} connections; at most {_MOST_FLOWS:,} "
            "are supported in all; give a smaller factor, or a part of the traffic"
        )
    # Connection by copy: from which factor on it is sent, and from when on.
    number = np.arange(copies, dtype=np.int64)[:, None]
    salts = mix_each(mix_each(number[:, 0].astype(np.uint64)) ^ np.uint64(mix(np.uint64(spec.seed))))[:, None]
    draws = ((salts >> np.uint64(32)).astype(np.int64) + np.arange(len(ranked)) * _GOLDEN) % UNIT
    thresholds = number * UNIT + draws
    own = np.full(count, ALWAYS, np.int64)
    place = np.full(count, -1, np.int64)
    place[ranked] = np.arange(len(ranked))
    growing = (place[connection] >= 0) & (spans.bytes > 0)
    own[growing] = thresholds[0, place[connection[growing]]]

    copy, chosen = np.nonzero((number > 0) & (thresholds < _limit(most)))
    shift = mix_each(salts[copy, 0] ^ ranked[chosen].astype(np.uint64)) % np.uint64(period_ns)
    # A copy turns around the end: a connection that would begin beyond it begins that much after the beginning.
    begins = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(begins, connection[used], spans.first_ns[used])
    begin = begins[ranked[chosen]] - start_ns + shift.astype(np.int64)
    shift_ns = shift.astype(np.int64) - (begin >= period_ns) * period_ns

    flow, of_copy = _flows_of(connection, ranked, chosen, spans.bytes)
    cut = spans.last_ns[flow] + shift_ns[of_copy] >= start_ns + period_ns
    flow, of_copy = (np.concatenate([column, column[cut]]) for column in (flow, of_copy))
    wraps = np.arange(len(flow)) >= len(flow) - int(cut.sum())
    order = np.lexsort((flow, wraps, copy[of_copy]))
    flow, of_copy, wraps = flow[order], of_copy[order], wraps[order].astype(np.int64)
    found = Growth(
        np.concatenate([np.arange(count), flow]),
        np.concatenate([np.zeros(count, np.int64), copy[of_copy]]),
        np.concatenate([np.zeros(count, np.int64), wraps]),
        np.concatenate([own, thresholds[copy[of_copy], chosen[of_copy]]]),
        np.concatenate([np.zeros(count, np.int64), shift_ns[of_copy]]),
        reverse,
        start_ns,
        period_ns,
        spans.bytes,
    )
    return _with_reverse(found, reverse)


def fitting(groups: Sequence[GroupSpec], words: NDArray[np.uint64], ip_version: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The flows that are of one of the groups, bool[flows]; words as `prepare.flow_words` makes them. No group: all."""
    found = np.full(len(words), not groups)
    source, target = (words[:, 4] >> np.uint64(16)) & np.uint64(0xFFFF), words[:, 4] & np.uint64(0xFFFF)
    for group in groups:
        fits = np.ones(len(words), np.bool_)
        if group.protocol is not None:
            fits &= words[:, 4] >> np.uint64(32) == group.protocol
        for port in group.ports:
            fits &= (source == port) | (target == port)
        if group.between is not None:
            a, b = ([within(ip_version, words[:, c], words[:, c + 1], [p]) for c in (0, 2)] for p in group.between)
            fits &= (a[0] & b[1]) | (b[0] & a[1])
        found |= fits
    return found


def connections(reverse: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connection of each flow, int64[flows]: the lower number of a flow and its other direction."""
    own = np.arange(len(reverse), dtype=np.int64)
    mutual = (reverse >= 0) & (reverse[reverse] == own)
    return np.where(mutual, np.minimum(own, reverse), own)


def _by_size(
    connection: NDArray[np.int64], sizes: NDArray[np.int64], grows: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """The connections that send and grow, the largest first, then by number. One grows if one of its flows does."""
    total = np.zeros(len(connection), np.int64)
    np.add.at(total, connection, sizes)
    chosen = total > 0
    if grows is not None:
        chosen[np.setdiff1d(np.arange(len(connection)), connection[grows])] = False
    numbers = np.flatnonzero(chosen)
    return numbers[np.argsort(-total[numbers], kind="stable")]


def _flows_of(
    connection: NDArray[np.int64], ranked: NDArray[np.int64], chosen: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The flows that send of chosen connections, places in `ranked`, and for each its place in `chosen`."""
    senders = np.flatnonzero(sizes > 0)
    senders = senders[np.argsort(connection[senders], kind="stable")]
    begin = np.searchsorted(connection[senders], ranked)
    lengths = (np.searchsorted(connection[senders], ranked, side="right") - begin)[chosen]
    of_copy = np.repeat(np.arange(len(chosen)), lengths)
    offset = np.arange(len(of_copy)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return senders[np.repeat(begin[chosen], lengths) + offset], of_copy


def _with_reverse(growth: Growth, reverse: NDArray[np.int64]) -> Growth:
    """Copies' other directions: the copy of the other direction that wraps as they do."""
    count = len(reverse)
    key = (2 * growth.copy + growth.wraps) * count + growth.origin
    back = reverse[growth.origin]
    wanted = (2 * growth.copy + growth.wraps) * count + back
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    found = np.where((back >= 0) & (key[place] == wanted), place, -1)
    return replace(growth, reverse=found)
