"""Spatial patterns: who sends to whom. A pattern knows its expected traffic, too, so that a load can be set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.workload.synthesis.draws import Purpose, stream
from segcast.analyzer.workload.synthesis.rack_matrix import read_matrix
from segcast.traces.errors import InputError

PATTERNS: Final = ("all-pairs", "permutation", "left-right", "incast:N", "racks:FILE")
_MOST_HOSTS: Final = 1_000_000
_MOST_ATTACHMENTS: Final = 4096

Draw = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a network: `per_attachment` at each of its `attachments`; `within` whether those of one can talk."""

    attachments: int
    per_attachment: int
    within: bool

    @property
    def count(self) -> int:
        """How many hosts there are."""
        return self.attachments * self.per_attachment


@dataclass(frozen=True, slots=True)
class Pattern:
    """Who sends to whom.

    `weights` float64[attachments, attachments] is the share of flows from one to another, in all 1. `senders` and
    `receivers` int64 are the hosts that take part, each of an attachment alike. `pick` makes of numbers from 0 to 1,
    float64[n, 2] for sources and targets each, the hosts of n flows. `note` says what was left out, if anything was.
    """

    name: str
    weights: NDArray[np.float64]
    senders: NDArray[np.int64]
    receivers: NDArray[np.int64]
    pick: Draw
    note: str = ""


def pattern_of(text: str, hosts: Hosts, seed: int) -> Pattern:
    """The pattern that `--pattern` names. Raises InputError."""
    if hosts.count > _MOST_HOSTS or hosts.attachments > _MOST_ATTACHMENTS:
        raise InputError(
            f"the network has {hosts.count:,} hosts at {hosts.attachments:,} attachments; patterns are for at most "
            f"{_MOST_HOSTS:,} at {_MOST_ATTACHMENTS:,}"
        )
    if hosts.attachments < 2 and not (hosts.within and hosts.count > 1):
        raise InputError("the network has too few hosts to send to each other")
    name, colon, detail = text.partition(":")
    if name == "racks" and detail:
        return _racks(text, hosts, Path(detail))
    if name == "incast" and detail:
        return _incast(text, hosts, _fan(detail), seed)
    makers = {"all-pairs": _all_pairs, "left-right": _left_right}
    if colon or name not in (*makers, "permutation"):
        raise InputError(f"pattern {text!r}: there are {', '.join(PATTERNS)}")
    return _permutation(text, hosts, seed) if name == "permutation" else makers[name](text, hosts)


def _fan(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 8) or int(text) == 0:
        raise InputError(f"pattern incast:{text}: how many senders? Such as incast:16")
    return int(text)


def below(uniform: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Whole numbers from 0 to count - 1 of numbers from 0 to 1."""
    return np.minimum((uniform * count).astype(np.int64), count - 1)


def _all_pairs(name: str, hosts: Hosts) -> Pattern:
    per, count = hosts.per_attachment, hosts.count
    weights = np.full((hosts.attachments, hosts.attachments), float(per * per))
    np.fill_diagonal(weights, per * (per - 1) if hosts.within else 0)

    def pick(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        source = below(one[:, 0], count)
        if hosts.within:
            return source, (source + 1 + below(other[:, 0], count - 1)) % count
        nth = below(other[:, 0], count - per)
        return source, nth + per * (nth >= source // per * per)

    everyone = np.arange(count)
    note = (
        ""
        if hosts.within or per == 1
        else "hosts of one attachment do not send to each other: no link is modelled there"
    )
    return Pattern(name, weights / weights.sum(), everyone, everyone, pick, note)


def _left_right(name: str, hosts: Hosts) -> Pattern:
    if hosts.attachments < 2:
        raise InputError("pattern left-right: the network has one attachment")
    half = hosts.attachments // 2
    left, right = half * hosts.per_attachment, (hosts.attachments - half) * hosts.per_attachment
    weights = np.zeros((hosts.attachments, hosts.attachments))
    weights[:half, half:] = 1 / (half * (hosts.attachments - half))

    def pick(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return below(one[:, 0], left), left + below(other[:, 0], right)

    return Pattern(name, weights, np.arange(left), np.arange(left, left + right), pick)


def _permutation(name: str, hosts: Hosts, seed: int) -> Pattern:
    """Each host sends to one other, at another attachment, and receives from one."""
    draws = stream(seed, Purpose.PATTERN)
    count, per = hosts.count, hosts.per_attachment
    if hosts.attachments < 2:
        raise InputError("pattern permutation: the network has one attachment")
    to = draws.permutation(count)
    place = np.arange(count) // per
    for _ in range(100):
        same = np.flatnonzero(to // per == place)
        if len(same) == 0:
            break
        for host in same.tolist():
            other = int(draws.integers(count))
            if to[host] // per == place[host] and to[other] // per != place[host] and to[host] // per != place[other]:
                to[host], to[other] = to[other], to[host]
    if (to // per == place).any():
        to = (np.arange(count) + per) % count  # few hosts: those of the next attachment
    weights = np.zeros((hosts.attachments, hosts.attachments))
    np.add.at(weights, (place, to // per), 1 / count)

    def pick(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        source = below(one[:, 0], count)
        return source, to[source]

    everyone = np.arange(count)
    return Pattern(name, weights, everyone, everyone, pick)


def _incast(name: str, hosts: Hosts, fan: int, seed: int) -> Pattern:
    """Some hosts, drawn by the seed, send to one, drawn as well."""
    order = stream(seed, Purpose.PATTERN).permutation(hosts.count)
    receiver, others = int(order[0]), order[1:]
    at = receiver // hosts.per_attachment
    if not hosts.within:
        others = others[others // hosts.per_attachment != at]
    if fan > len(others):
        raise InputError(f"pattern {name}: {len(others)} hosts can send to one")
    senders = others[:fan]
    weights = np.zeros((hosts.attachments, hosts.attachments))
    np.add.at(weights, (senders // hosts.per_attachment, np.full(fan, at)), 1 / fan)

    def pick(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return senders[below(one[:, 0], fan)], np.full(len(one), receiver)

    return Pattern(name, weights, np.sort(senders), np.array([receiver]), pick)


def _racks(name: str, hosts: Hosts, file: Path) -> Pattern:
    """Between attachments by a matrix; hosts of an attachment alike."""
    matrix = read_matrix(file)
    if len(matrix) != hosts.attachments:
        raise InputError(f"{file}: is of {len(matrix)} racks, and the network has {hosts.attachments} attachments")
    per, note = hosts.per_attachment, ""
    alone = np.trace(matrix)
    if alone and (per == 1 or not hosts.within):
        note = (
            f"{100 * alone / matrix.sum():.1f} % of the matrix is within racks, and left out: no link is modelled there"
        )
        matrix = matrix - np.diag(np.diag(matrix))
    if matrix.sum() == 0:
        raise InputError(f"{file}: has no traffic between racks")
    weights = matrix / matrix.sum()
    edges = np.cumsum(weights.reshape(-1))
    used = np.flatnonzero(weights.reshape(-1))

    def pick(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        cell = np.minimum(np.searchsorted(edges, one[:, 0] * edges[-1], "right"), used[-1])
        a, b = np.divmod(cell, hosts.attachments)
        source = a * per + below(one[:, 1], per)
        nth = below(other[:, 0], per)
        inside = below(other[:, 0], max(per - 1, 1))
        return source, b * per + np.where(a == b, (source % per + 1 + inside) % per, nth)

    rack = np.arange(hosts.count) // per
    senders = np.flatnonzero(weights.sum(axis=1)[rack] > 0)
    receivers = np.flatnonzero(weights.sum(axis=0)[rack] > 0)
    return Pattern(name, weights, senders, receivers, pick, note)
