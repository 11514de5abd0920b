"""Matches packets between captures: equal digests, told apart by their order.

Two kernels. `align` follows a sender: what it sent is what it was asked to send, in that order, some of it missing.
`pair` follows packets through the network: lost, overtaken, twice.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating, int64, kernel

NONE: Final = -1

_WINDOW: Final = 4096


class Classes(NamedTuple):
    """Rows by class: those of class c are `rows[begin[c] : begin[c + 1]]`, int64, in order."""

    begin: NDArray[np.int64]
    rows: NDArray[np.int64]


def classify(digests: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]]) -> tuple[list[NDArray[np.int64]], int]:
    """Classes of equal digests (high, low) over several captures: int64 per capture, and how many there are."""
    high = np.concatenate([pair[0] for pair in digests])
    low = np.concatenate([pair[1] for pair in digests])
    order = np.lexsort((low, high))
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    classes = np.empty(len(order), np.int64)
    classes[order] = np.cumsum(new) - 1
    bounds = np.cumsum([len(pair[0]) for pair in digests])[:-1]
    return [np.ascontiguousarray(part) for part in np.split(classes, bounds)], int(new.sum())


def by_class(classes: NDArray[np.int64], count: int, time_ns: NDArray[np.int64] | None = None) -> Classes:
    """Rows of each of `count` classes, in their order, or in order of time and then in theirs."""
    order = np.argsort(classes, kind="stable") if time_ns is None else np.lexsort((time_ns, classes))
    begin = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(classes, minlength=count), out=begin[1:])
    return Classes(begin, order.astype(np.int64))


def align(planned: NDArray[np.int64], sent: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The planned row of each sent one, int64[sent], NONE if it has none; of both the classes, in order of time."""
    found = np.empty(len(sent), np.int64)
    _align(by_class(planned, count), len(planned), sent, _WINDOW, found)
    return found


@allocating
def _align(planned: Classes, rows: int, sent: NDArray[np.int64], window: int, found: NDArray[np.int64]) -> None:
    """Of equal planned packets take the first free one from where the sender is, up to `window` on; else the first.

    Only the former says where the sender is from then on.
    """
    free = planned.begin[:-1].copy()
    used = np.zeros(rows, np.bool_)
    here = 0
    for i in range(len(sent)):
        own = sent[i]
        stop = planned.begin[own + 1]
        while free[own] < stop and used[planned.rows[free[own]]]:
            free[own] += 1
        found[i] = NONE
        if free[own] == stop:
            continue
        low, high = int64(free[own]), int64(stop)
        while low < high:
            middle = (low + high) >> 1
            if planned.rows[middle] < here:
                low = middle + 1
            else:
                high = middle
        while low < stop and used[planned.rows[low]]:
            low += 1
        if low < stop and planned.rows[low] < here + window:
            found[i] = planned.rows[low]
            here = planned.rows[low] + 1
        else:
            found[i] = planned.rows[free[own]]
        used[found[i]] = True


def pair(
    sent: NDArray[np.int64],
    sent_ns: NDArray[np.int64],
    received: NDArray[np.int64],
    received_ns: NDArray[np.int64],
    count: int,
    slack_ns: int = 0,
) -> NDArray[np.int64]:
    """The sent row of each received one, int64[received], NONE if it has none (a duplicate, or foreign).

    Classes and times of both, on one clock. No packet is received more than `slack_ns` before it was sent; among equal
    ones as many as possible are paired, with the latest sent that are possible, the first sent with the first received.
    """
    found = np.full(len(received), NONE, np.int64)
    ways = by_class(sent, count, sent_ns), by_class(received, count, received_ns)
    _pair(ways[0], ways[1], sent_ns, received_ns, slack_ns, found)
    return found


@allocating
def _pair(
    sent: Classes,
    received: Classes,
    sent_ns: NDArray[np.int64],
    received_ns: NDArray[np.int64],
    slack_ns: int,
    found: NDArray[np.int64],
) -> None:
    count = len(sent.begin) - 1
    most = 1
    for own in range(count):
        most = max(most, sent.begin[own + 1] - sent.begin[own])
    waiting = np.empty(most, np.int64)  # sent ones not yet taken, the latest on top
    taken = np.empty(most, np.bool_)
    for own in range(count):
        first, stop = sent.begin[own], sent.begin[own + 1]
        taken[: stop - first] = False
        depth, coming = 0, first
        for k in range(received.begin[own], received.begin[own + 1]):
            row = received.rows[k]
            while coming < stop and sent_ns[sent.rows[coming]] <= received_ns[row] + slack_ns:
                waiting[depth] = coming - first
                depth += 1
                coming += 1
            if depth > 0:
                depth -= 1
                taken[waiting[depth]] = True
                found[row] = 0
        place = 0
        for k in range(received.begin[own], received.begin[own + 1]):
            row = received.rows[k]
            if found[row] != NONE:
                while not taken[place]:
                    place += 1
                found[row] = sent.rows[first + place]
                place += 1


def exchangeable(
    classes: NDArray[np.int64],
    way: NDArray[np.uint64],
    send_ns: NDArray[np.int64],
    receive_ns: NDArray[np.int64],
    count: int,
) -> NDArray[np.bool_]:
    """Which packets had an equal one underway on another way at the same time, bool[n].

    `classes` of equal packets, from 0 to `count`; `way`: what tells ways apart; times NONE where there is none. A
    packet that was not received is taken to be underway for as long as any packet was.
    """
    found = np.zeros(len(classes), np.bool_)
    received = (send_ns != NONE) & (receive_ns != NONE)
    longest_ns = int((receive_ns - send_ns)[received].max(initial=0))
    end_ns = np.where(received, receive_ns, send_ns + longest_ns)
    rows = np.flatnonzero((send_ns != NONE) & (np.bincount(classes, minlength=count) > 1)[classes])
    rows = rows[np.lexsort((send_ns[rows], classes[rows]))]
    alike = np.zeros(len(rows), np.bool_)
    _exchangeable(classes[rows], way[rows], send_ns[rows], end_ns[rows], alike)
    found[rows] = alike
    return found


@kernel
def _exchangeable(
    classes: NDArray[np.int64],
    way: NDArray[np.uint64],
    begin_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    found: NDArray[np.bool_],
) -> None:
    """Marks packets, in order of their class and then of `begin_ns`, that another of the class and another way meets.

    Once forward, for what began before: of the class so far the latest end, and the latest of another way than that
    one's. Once backward, for what began after: the first of another way.
    """
    latest, other = 0, -1
    for i in range(len(classes)):
        if classes[i] != classes[latest]:
            latest, other = i, -1
            continue
        if i == latest:
            continue
        met = latest if way[latest] != way[i] else other
        if met >= 0 and end_ns[met] >= begin_ns[i]:
            found[i] = True
        if way[i] == way[latest]:
            if end_ns[i] > end_ns[latest]:
                latest = i
        elif end_ns[i] > end_ns[latest]:
            latest, other = i, latest
        elif other < 0 or end_ns[i] > end_ns[other]:
            other = i
    after = -1
    for i in range(len(classes) - 2, -1, -1):
        if classes[i] != classes[i + 1]:
            after = -1
            continue
        if way[i] != way[i + 1]:
            after = i + 1
        if after >= 0 and begin_ns[after] <= end_ns[i]:
            found[i] = True
