"""Which kinds of packets were lost, where the kind itself tells why: what routers do not forward, and fragments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from segcast.analyzer.traffic.prepare import flow_words
from segcast.traces.addresses import within

_KINDS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("broadcast", ("255.255.255.255/32",)),
    ("IPv6 link-local", ("fe80::/10",)),
    ("IPv4 link-local", ("169.254.0.0/16",)),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("without an address", ("0.0.0.0/8", "::/128")),
)
"""What no router forwards, by either address; a packet is of the first kind that fits."""

OTHER: Final = "of no such kind"
_MOST_PATHS: Final = 4


def lost_kinds(table: pa.Table, flows: pl.DataFrame, hop_limit_1: int = 0) -> list[str]:
    """Findings about the lost packets of MEASURED, by kind and path, if any of them should not have been sent.

    `flows`: the trace's; `hop_limit_1`: packets of the rewrite whose own hop limit is 1.
    """
    dropped = table.filter(table["dropped"])
    if not len(dropped):
        return []
    kind_of = _kinds(flows)
    kind = kind_of[dropped["flow_id"].to_numpy()]
    path = dropped["path_id"].to_numpy()
    names = [*(name for name, _ in _KINDS), OTHER]
    parts = []
    for number in np.unique(kind[kind < len(_KINDS)]).tolist():
        paths, counts = np.unique(path[kind == number], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_MOST_PATHS]
        where = ", ".join(f"path {paths[place]}: {counts[place]:,}" for place in most.tolist())
        more = f", {len(paths) - len(most)} more paths" if len(paths) > len(most) else ""
        parts.append(f"{int((kind == number).sum()):,} {names[number]} ({where}{more})")
    found = []
    if parts:
        rest = int((kind == len(_KINDS)).sum())
        found.append(
            f"of {len(kind):,} lost packets {', '.join(parts)}: no router forwards those, so that says nothing of "
            f'the links; {rest:,} are {OTHER} (traffic.link_scope = "exclude" leaves the others out)'
        )
    if hop_limit_1:
        found.append(
            f"{hop_limit_1:,} packets were written with a hop limit of their own of 1 or 0, which the router behind "
            f"SRv6 drops: they may be among the {len(kind):,} lost ones"
        )
    return found


def _kinds(flows: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The kind of each flow by its place in _KINDS; their number for others."""
    words, version = flow_words(flows), flows["ip_version"].to_numpy()
    kinds = np.full(len(words), len(_KINDS), np.int64)
    for number in reversed(range(len(_KINDS))):
        prefixes = _KINDS[number][1]
        touched = within(version, words[:, 0], words[:, 1], prefixes) | within(
            version, words[:, 2], words[:, 3], prefixes
        )
        kinds[touched] = number
    return kinds
