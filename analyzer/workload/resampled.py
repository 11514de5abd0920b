"""A flow list as it might have been as well: what belongs together, drawn anew by blocks of time."""

from __future__ import annotations

import numpy as np

from segcast.analyzer.traffic.resampling import blocks_of, drawn
from segcast.analyzer.workload.grown import Copies, trees, with_copies
from segcast.analyzer.workload.table import Workload, of_rows
from segcast.traces.errors import InputError


def resampled_list(workload: Workload, number: int, block_ns: int | None) -> Workload:
    """Resample `number` of a list: trees of flows that wait for each other, by the block in which they begin.

    Hosts stay; each draw is of connections of its own.
    """
    tree, asked = trees(workload), ~workload.waits
    begins = np.full(len(tree), np.iinfo(np.int64).max)
    np.minimum.at(begins, tree[workload.connection[asked]], workload.start_ns[asked])
    there = tree == np.arange(len(tree))
    ends = np.where(there, begins, -1)
    blocks = blocks_of(int(begins[there].min()), int(begins[there].max()), block_ns)
    draws = drawn(begins, ends, blocks, number)
    if len(draws.connection) == 0:
        raise InputError(f"resample {number} of the flow list has no flow; give shorter blocks, or a longer list")
    members = np.argsort(tree, kind="stable")
    first = np.searchsorted(tree[members], draws.connection)
    lengths = np.searchsorted(tree[members], draws.connection, side="right") - first
    draw = np.repeat(np.arange(len(lengths)), lengths)
    origin = members[
        np.repeat(first, lengths) + np.arange(len(draw)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ]
    copy = 1 + draws.before[draw]
    order = np.lexsort((origin, copy))
    copies = Copies(origin[order], copy[order], draws.shift_ns[draw][order])
    whole = with_copies(workload, copies)
    return of_rows(whole, np.arange(len(whole)) >= len(workload))
