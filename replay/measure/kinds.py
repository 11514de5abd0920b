"""Which kinds of packets were lost, where the kind itself tells why: what routers do not forward, and fragments."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from segcast.analyzer.traffic.prepare import flow_words
from segcast.analyzer.traffic.selection import LINK_SCOPE, touched

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
    names = [*(name for name, _ in LINK_SCOPE), OTHER]
    parts = []
    for number in np.unique(kind[kind < len(LINK_SCOPE)]).tolist():
        paths, counts = np.unique(path[kind == number], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_MOST_PATHS]
        where = ", ".join(f"path {paths[place]}: {counts[place]:,}" for place in most.tolist())
        more = f", {len(paths) - len(most)} more paths" if len(paths) > len(most) else ""
        parts.append(f"{int((kind == number).sum()):,} {names[number]} ({where}{more})")
    found = []
    if parts:
        rest = int((kind == len(LINK_SCOPE)).sum())
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
    """The kind of each flow by its place in LINK_SCOPE, the first that fits; their number for others."""
    words, version = flow_words(flows), flows["ip_version"].to_numpy()
    kinds = np.full(len(words), len(LINK_SCOPE), np.int64)
    for number, (_, prefixes) in reversed(list(enumerate(LINK_SCOPE))):
        kinds[touched(words, version, prefixes)] = number
    return kinds
