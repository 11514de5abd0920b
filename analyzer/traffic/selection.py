"""Which flows of a trace a forecast is about: not what stays on a link, and what the scenario picks by prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.traces.addresses import within

LINK_SCOPE: Final = (
    "0.0.0.0/8",  # this network (RFC 1122 section 3.2.1.3)
    "127.0.0.0/8",
    "169.254.0.0/16",  # RFC 3927
    "224.0.0.0/4",  # multicast: no path of a pair of attachments leads to a group
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",  # RFC 4291 section 2.5.6
    "ff00::/8",
)
"""Prefixes of which no router forwards a packet, or a forecast would not know where to (RFC 1812 section 5.3)."""


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

    def touched(prefixes: Sequence[str]) -> NDArray[np.bool_]:
        ends = (within(ip_version, words[:, column], words[:, column + 1], prefixes) for column in (0, 2))
        return np.logical_or(*ends)

    link_scope = touched(LINK_SCOPE) if spec.link_scope == "exclude" else np.zeros(len(words), np.bool_)
    deselected = touched(spec.without)
    if spec.only:
        deselected = deselected | ~touched(spec.only)
    return Selection(link_scope, deselected & ~link_scope)
