"""FIFO queues of events in one shared pool, and the heap of links: the moving parts of the engine.

All queues share one pool of nodes, so memory follows what is in the network and a full pool is found by one test.
A link's departures are ordered, so the heap holds one entry per link (the head of its transit queue), never one per
packet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import at, int64, kernel

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
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        other_ns = heap[at(parent)].time_ns
        if other_ns < time_ns or (other_ns == time_ns and heap[at(parent)].link < link):
            break
        heap[at(place)].time_ns = other_ns
        heap[at(place)].link = heap[at(parent)].link
        place = parent
    heap[at(place)].time_ns = time_ns
    heap[at(place)].link = link


@kernel
def heap_replace_top(heap: NDArray[np.void], size: int, time_ns: int, link: int) -> None:
    """Replace the first of `size` entries."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap[at(right)].time_ns < heap[at(child)].time_ns
            or (heap[at(right)].time_ns == heap[at(child)].time_ns and heap[at(right)].link < heap[at(child)].link)
        ):
            child = right
        child_ns = heap[at(child)].time_ns
        if time_ns < child_ns or (time_ns == child_ns and link < heap[at(child)].link):
            break
        heap[at(place)].time_ns = child_ns
        heap[at(place)].link = heap[at(child)].link
        place = child
    heap[at(place)].time_ns = time_ns
    heap[at(place)].link = link


@kernel
def push(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    progress: NDArray[np.void],
    queue: int,
    time_ns: int,
    index: int,
    size: int,
) -> None:
    """Append a node to a queue; the caller has made sure of a free one."""
    node = progress[0].free_node
    progress[0].free_node = nodes[at(node)].next
    nodes[at(node)].time_ns = time_ns
    nodes[at(node)].index = index
    nodes[at(node)].bytes = size
    nodes[at(node)].next = END
    if queues[at(queue)].head == END:
        queues[at(queue)].head = node
    else:
        nodes[at(queues[at(queue)].tail)].next = node
    queues[at(queue)].tail = node


@kernel
def free(nodes: NDArray[np.void], progress: NDArray[np.void], node: int) -> int:
    """Give a node back to the pool; returns the node that followed it."""
    following = int64(nodes[at(node)].next)
    nodes[at(node)].next = progress[0].free_node
    progress[0].free_node = node
    return following


@kernel
def release(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    progress: NDArray[np.void],
    queue: int,
    time_ns: int,
    inflight: NDArray[np.int64],
) -> int:
    """Take what is due at `time_ns` off an acknowledgement queue and off its counters; returns how many."""
    node = int64(queues[at(queue)].head)
    released = 0
    while node != END and nodes[at(node)].time_ns <= time_ns:
        inflight[at(nodes[at(node)].index)] -= nodes[at(node)].bytes
        node = free(nodes, progress, node)
        released += 1
    if released > 0:
        queues[at(queue)].head = node
    return released


@kernel
def depart(
    nodes: NDArray[np.void], queues: NDArray[np.void], progress: NDArray[np.void], queue: int, time_ns: int
) -> int:
    """Take the frames that have left a link at `time_ns` off its backlog; returns their bytes."""
    node = int64(queues[at(queue)].head)
    size = int64(0)
    while node != END and nodes[at(node)].time_ns <= time_ns:
        size += nodes[at(node)].bytes
        node = free(nodes, progress, node)
    queues[at(queue)].head = node
    return size


@kernel
def pop(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    heap: NDArray[np.void],
    progress: NDArray[np.void],
    source: int,
    links: int,
) -> None:
    """Take the head off the queue of the heap's first entry, and put the next in its place."""
    queue = links + source
    following = free(nodes, progress, int64(queues[at(queue)].head))
    queues[at(queue)].head = following
    if following != END:
        heap_replace_top(heap, progress[0].heap_size, nodes[at(following)].time_ns, source)
    else:
        progress[0].heap_size -= 1
        last = progress[0].heap_size
        if last > 0:
            heap_replace_top(heap, last, heap[at(last)].time_ns, heap[at(last)].link)
