"""Which kinds of packets were lost, where the kind itself tells why, and which came that nobody had planned."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.traffic.prepare import flow_words
from segcast.analyzer.traffic.selection import LINK_SCOPE, touched
from segcast.traces.addresses import within
from segcast.traces.headers.ip import Headers

OTHER: Final = "of no such kind"
_MOST_PATHS: Final = 4

# What a packet to be sent says of itself, as bits.
FRAGMENT: Final = 1
EXPIRING: Final = 2  # with a hop limit of 1 or 0

_FEW: Final = 5
_MORE: Final = 2  # times as often lost

_ICMP: Final = len(LINK_SCOPE)
_REST: Final = _ICMP + 1
UNPLANNED: Final = (*(name for name, _ in LINK_SCOPE), "ICMP", "others")
"""Kinds of packets that nobody had planned, by number."""
_FRAGMENT_HEADER: Final = 44
_BEFORE_IT: Final = (0, 43, 60)


def says_of_itself(data: NDArray[np.uint8], at: NDArray[np.int64], version: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """FRAGMENT and EXPIRING of the packets whose IP header begins at `at` in `data`, uint8[n]."""
    six = version == 6
    expiring = data[at + np.where(six, 7, 8)] <= 1
    of_four = (data[at + 6] & 0x3F != 0) | (data[at + 7] != 0)
    behind = data[np.minimum(at + 40, len(data) - 1)]
    of_six = (data[at + 6] == _FRAGMENT_HEADER) | (np.isin(data[at + 6], _BEFORE_IT) & (behind == _FRAGMENT_HEADER))
    said: NDArray[np.uint8] = np.where(np.where(six, of_six, of_four), FRAGMENT, 0).astype(np.uint8)
    return said | np.where(expiring, EXPIRING, 0).astype(np.uint8)


def kinds_of(headers: Headers) -> NDArray[np.uint8]:
    """The place in UNPLANNED of each packet's kind, uint8[n], by its outermost IP header: the first that fits."""
    kinds = np.where((headers.protocol == 1) | (headers.protocol == 58), _ICMP, _REST).astype(np.uint8)
    for number, (_, prefixes) in reversed(list(enumerate(LINK_SCOPE))):
        of_it = within(headers.version, headers.src_high, headers.src_low, prefixes)
        kinds[of_it | within(headers.version, headers.dst_high, headers.dst_low, prefixes)] = number
    return kinds


def unplanned_words(counts: dict[str, int]) -> str:
    """Of unplanned packets, how many are of which kind: `100 multicast, 44 ICMP`; most first."""
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def lost_kinds(table: pa.Table, flows: pl.DataFrame, said: NDArray[np.uint8]) -> list[str]:
    """Findings about the lost packets of MEASURED, by kind and path, if any of them should not have been sent.

    `flows`: the trace's; `said` uint8[rows]: what each packet says of itself.
    """
    gone = table["dropped"].to_numpy()
    if not gone.any():
        return []
    kind = _kinds(flows)[table["flow_id"].to_numpy()[gone]]
    path = table["path_id"].to_numpy()[gone]
    scoped = kind < len(LINK_SCOPE)
    expired = ~scoped & (said[gone] & EXPIRING != 0)
    rest = f"{int((~scoped & ~expired).sum()):,} are {OTHER}"
    found = []
    if scoped.any():
        parts = [f"{_counted(path[kind == n], LINK_SCOPE[n][0])}" for n in np.unique(kind[scoped]).tolist()]
        found.append(
            f"of {len(kind):,} lost packets {', '.join(parts)}: no router forwards those, so that says nothing of "
            f'the links; {rest} (traffic.link_scope = "exclude" leaves the others out)'
        )
    if expired.any():
        found.append(
            f"of {len(kind):,} lost packets {_counted(path[expired], 'with a hop limit of their own of 1 or 0')}: "
            f"the router behind SRv6 drops those, so that says nothing of the links; {rest}"
        )
    fragments, others = said & FRAGMENT != 0, said & FRAGMENT == 0
    lost, whole = int((gone & fragments).sum()), int((gone & others).sum())
    sent = table["send_ns"].is_valid().to_numpy()
    of, of_whole = int((sent & fragments).sum()), int((sent & others).sum())
    if lost >= _FEW and lost * of_whole > _MORE * whole * of:
        found.append(
            f"{lost:,} of {of:,} fragments were lost, and {whole:,} of {of_whole:,} other packets: something on the "
            "way may drop fragments, or put them together"
        )
    return found


def _counted(paths: NDArray[np.uint16], what: str) -> str:
    """How many there are, and on which paths most: `3 multicast (path 2: 2, path 0: 1)`."""
    numbers, counts = np.unique(paths, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_MOST_PATHS]
    where = ", ".join(f"path {numbers[place]}: {counts[place]:,}" for place in most.tolist())
    more = f", {len(numbers) - len(most)} more paths" if len(numbers) > len(most) else ""
    return f"{len(paths):,} {what} ({where}{more})"


def _kinds(flows: pl.DataFrame) -> NDArray[np.int64]:
    """The kind of each flow by its place in LINK_SCOPE, the first that fits; their number for others."""
    words, version = flow_words(flows), flows["ip_version"].to_numpy()
    kinds = np.full(len(words), len(LINK_SCOPE), np.int64)
    for number, (_, prefixes) in reversed(list(enumerate(LINK_SCOPE))):
        kinds[touched(words, version, prefixes)] = number
    return kinds
