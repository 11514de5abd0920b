"""FIFO queues of events in one shared pool, and the heap of links: the moving parts of the engine.

All queues share one pool of nodes, so memory follows what is in the network and a full pool is found by one test.
A link's departures are ordered, so the heap holds one entry per link (the head of its transit queue), never one per
packet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from traces.jit import kernel

NODE: Final = np.dtype(
    [("time_ns", np.int64), ("index", np.int64), ("bytes", np.int32), ("next", np.int32)], align=True
)
QUEUE: Final = np.dtype([("head", np.int32), ("tail", np.int32)], align=True)
ENTRY: Final = np.dtype([("time_ns", np.int64), ("link", np.int64)], align=True)

END: Final = -1


def empty_pool(capacity: int) -> NDArray[np.void]:
    """A pool of free nodes, NODE[capacity], chained in order."""
    nodes = np.zeros(capacity, NODE)
    nodes["next"] = np.arange(1, capacity + 1, dtype=np.int32)
    nodes["next"][-1] = END
    return nodes


def grown_pool(nodes: NDArray[np.void], first_free: int) -> tuple[NDArray[np.void], int]:
    """The pool at twice its size, and the head of its free list: the new nodes, then the old free ones."""
    old = len(nodes)
    grown = np.zeros(2 * old, NODE)
    grown[:old] = nodes
    grown["next"][old:] = np.arange(old + 1, 2 * old + 1, dtype=np.int32)
    grown["next"][-1] = first_free
    return grown, old


def empty_queues(count: int) -> NDArray[np.void]:
    """Empty queues, QUEUE[count]."""
    queues = np.empty(count, QUEUE)
    queues["head"] = END
    queues["tail"] = END
    return queues


@kernel
def heap_place(heap: NDArray[np.void], size: int, time_ns: int, link: int) -> None:
    """Add an entry to a heap of `size` entries that has room; order: time, then link."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        other_ns = heap[parent].time_ns
        if other_ns < time_ns or (other_ns == time_ns and heap[parent].link < link):
            break
        heap[at].time_ns = other_ns
        heap[at].link = heap[parent].link
        at = parent
    heap[at].time_ns = time_ns
    heap[at].link = link


@kernel
def heap_replace_top(heap: NDArray[np.void], size: int, time_ns: int, link: int) -> None:
    """Replace the first of `size` entries."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap[right].time_ns < heap[child].time_ns
            or (heap[right].time_ns == heap[child].time_ns and heap[right].link < heap[child].link)
        ):
            child = right
        child_ns = heap[child].time_ns
        if time_ns < child_ns or (time_ns == child_ns and link < heap[child].link):
            break
        heap[at].time_ns = child_ns
        heap[at].link = heap[child].link
        at = child
    heap[at].time_ns = time_ns
    heap[at].link = link
