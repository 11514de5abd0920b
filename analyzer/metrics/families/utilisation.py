"""How much of what they could have carried links carried, from the engine's own account of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, Measured
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Fates, Packets
from segcast.traces.schema import Column
from segcast.traces.units import NANOSECOND_BITS


class Counts(NamedTuple):
    """Empty, because the engine itself counts the bytes of links."""


def link_shares(network: Network, ending: Ending) -> list[float | None]:
    """Of each link, the share of what the rate that it was built with could have carried; None if no time passed."""
    first_ns, last_ns = ending.window_ns
    nanobits = [link.rate_bps * (last_ns - first_ns) for link in network.links]
    carried = ending.links["carried_bytes"].tolist()
    return [
        some_bytes * NANOSECOND_BITS / could if could else None
        for some_bytes, could in zip(carried, nanobits, strict=True)
    ]


class UtilisationFamily(Family):
    """Utilisation of links."""

    name = "utilisation"
    summary = (
        Column("utilisation_mean", pa.float64(), "mean utilisation of the links", True),
        Column("utilisation_max", pa.float64(), "utilisation of the busiest link", True),
    )

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self._network, self._plan = measured.network, measured.plan
        self.counts = Counts()

    def add(self, packets: Packets, fates: Fates) -> None:
        """Skip the packets: links are counted by the engine."""

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`: over the links that could carry anything."""
        absent = self._absent(ending)
        shares = [
            share
            for share, out in zip(link_shares(self._network, ending), absent, strict=True)
            if share is not None and not out
        ]
        return {
            "utilisation_mean": math.fsum(shares) / len(shares) if shares else None,
            "utilisation_max": max(shares, default=None),
        }

    def _absent(self, ending: Ending) -> NDArray[np.bool_]:
        """The links of hosts of which no flow was sent, bool[links]: those of other factors of growth."""
        absent = np.zeros(len(self._network.links), np.bool_)
        uplink, downlink = self._plan.uplink, self._plan.downlink
        if uplink is not None and downlink is not None:
            # A host's two links are neighbours, its uplink first.
            sent = ending.flows["packets"] > 0
            absent[uplink] = absent[uplink + 1] = absent[downlink] = absent[downlink - 1] = True
            for links in (uplink[sent], uplink[sent] + 1, downlink[sent], downlink[sent] - 1):
                absent[links] = False
        return absent
