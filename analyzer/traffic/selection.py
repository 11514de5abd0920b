"""Which flows of a trace a forecast is about: not what stays on a link, and what the scenario picks by prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.traces.addresses import within

LINK_SCOPE: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("multicast", ("224.0.0.0/4", "ff00::/8")),  # no path of a pair of attachments leads to a group
    ("broadcast", ("255.255.255.255/32",)),
    ("IPv6 link-local", ("fe80::/10",)),  # RFC 4291 section 2.5.6
    ("IPv4 link-local", ("169.254.0.0/16",)),  # RFC 3927
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("without an address", ("0.0.0.0/8", "::/128")),  # RFC 1122 section 3.2.1.3
)
"""Prefixes, by kind, of which no router forwards a packet (RFC 1812 section 5.3), or none knows where to."""


class Selection(NamedTuple):
    """By flow, bool[flows]: whether it has an address of link scope, and else whether the scenario leaves it out."""

    link_scope: NDArray[np.bool_]
    deselected: NDArray[np.bool_]

    @property
    def taken(self) -> NDArray[np.bool_]:
        """The flows that are left, bool[flows]."""
        return ~(self.link_scope | self.deselected)


def select(words: NDArray[np.uint64], ip_version: NDArray[np.uint8], spec: TrafficSpec) -> Selection:
    """What a scenario takes of the flows with five-tuples `words` uint64[flows, 5] (see `prepare.flow_words`)."""

    link_scope = np.zeros(len(words), np.bool_)
    if spec.link_scope == "exclude":
        link_scope = touched(words, ip_version, [prefix for _, prefixes in LINK_SCOPE for prefix in prefixes])
    deselected = touched(words, ip_version, spec.without)
    if spec.only:
        deselected = deselected | ~touched(words, ip_version, spec.only)
    return Selection(link_scope, deselected & ~link_scope)


def touched(words: NDArray[np.uint64], ip_version: NDArray[np.uint8], prefixes: Sequence[str]) -> NDArray[np.bool_]:
    """Which flows have an end in one of the prefixes, bool[flows]; `words` as `select` takes them."""
    ends = (within(ip_version, words[:, column], words[:, column + 1], prefixes) for column in (0, 2))
    found: NDArray[np.bool_] = np.logical_or(*ends)
    return found
