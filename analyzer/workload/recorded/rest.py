"""What of a trace stays open loop beside its workload, flow by flow and why."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.workload.recorded.state import CUT, JUMP
from segcast.traces.protocols import ICMP, ICMPV6, TCP, UDP


class Reason(IntEnum):
    """Why a flow's packets stay as recorded; LISTED: they do not, for its connection is in the list."""

    LISTED = 0
    UDP = 1
    ICMP = 2
    OTHER = 3
    ONE_WAY = 4
    CUT = 5
    JUMP = 6
    NO_DATA = 7
    NO_HOST = 8


MEANINGS: dict[Reason, str] = {
    Reason.UDP: "UDP",
    Reason.ICMP: "ICMP",
    Reason.OTHER: "other protocols than TCP",
    Reason.ONE_WAY: "TCP whose other direction was not captured",
    Reason.CUT: "TCP whose headers were not captured whole, or fragments",
    Reason.JUMP: "TCP whose sequence numbers jump",
    Reason.NO_DATA: "TCP that carries no data",
    Reason.NO_HOST: "TCP between addresses that are none of two hosts: loopback, multicast, its own",
}

FAULTS: dict[int, Reason] = {CUT: Reason.CUT, JUMP: Reason.JUMP}


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """What is not in the list. `reason` uint8[flows of the trace] as in Reason; `origin_ns` is the time that the list
    counts from, the trace's first packet's; `crossing` says how many connections of the list are two streams.
    """

    reason: NDArray[np.uint8]
    origin_ns: int
    crossing: int

    @property
    def open_loop(self) -> NDArray[np.bool_]:
        """Which flows of the trace stay open loop, bool[flows]."""
        apart: NDArray[np.bool_] = self.reason != Reason.LISTED
        return apart


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The TCP connections of a trace, as pairs of its flows.

    `first` int64[c] is the lower flow of each, `second` its reverse; `place` int64[flows] is twice a flow's connection,
    one more for the second, -1 for others; `path_ns` int64[2 c] by place is the least time from data that passed the
    capture point to its acknowledgement, 0 if none was seen.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    place: NDArray[np.int64]
    path_ns: NDArray[np.int64]


FLOW_COLUMNS = ["protocol", "src", "dst", "first_ns", "packets", "bytes", "reverse_flow_id", "rtt_min_ns"]


def paired(flows: pl.DataFrame) -> tuple[Pairs, NDArray[np.uint8]]:
    """The connections that may be told, and the reason of each flow that is in none; `flows` has FLOW_COLUMNS."""
    count = len(flows)
    protocol = flows["protocol"].to_numpy()
    reason = np.full(count, Reason.LISTED, np.uint8)
    reason[protocol != TCP] = Reason.OTHER
    reason[protocol == UDP] = Reason.UDP
    reason[(protocol == ICMP) | (protocol == ICMPV6)] = Reason.ICMP
    reverse = flows["reverse_flow_id"].cast(pl.Int64).fill_null(-1).to_numpy()
    alone = (reverse < 0) | (reverse[reverse] != np.arange(count)) | (reverse == np.arange(count))
    reason[(reason == Reason.LISTED) & alone] = Reason.ONE_WAY
    reason[(reason == Reason.LISTED) & ~_between_hosts(flows)] = Reason.NO_HOST
    first = np.flatnonzero((reason == Reason.LISTED) & (np.arange(count) < reverse)).astype(np.int64)
    second = reverse[first]
    place = np.full(count, -1, np.int64)
    place[first], place[second] = 2 * np.arange(len(first)), 2 * np.arange(len(first)) + 1
    path_ns = np.zeros(2 * len(first), np.int64)
    least = flows["rtt_min_ns"].fill_null(0).to_numpy()
    path_ns[0::2], path_ns[1::2] = least[first], least[second]
    return Pairs(first, second, place, path_ns), reason


def _between_hosts(flows: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether a flow's addresses are those of two hosts, as a flow list can name them."""
    texts = pl.concat([flows["src"], flows["dst"]]).unique(maintain_order=True)
    one = {text: _of_one_host(text) for text in texts}
    source, target = ([one[text] for text in flows[end]] for end in ("src", "dst"))
    found: NDArray[np.bool_] = np.array(source, bool) & np.array(target, bool)
    found &= (flows["src"] != flows["dst"]).to_numpy()
    return found


def _of_one_host(text: str) -> bool:
    address = ipaddress.ip_address(text)
    several = address.is_multicast or address.is_unspecified or address.is_loopback
    return not several and text != "255.255.255.255"


def counted(flows: pl.DataFrame, reason: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Flows, packets and bytes by reason, the most packets first."""
    table = pl.DataFrame({"reason": reason, "packets": flows["packets"], "bytes": flows["bytes"]})
    groups = table.filter(pl.col("reason") != Reason.LISTED).group_by("reason", maintain_order=True)
    sums = groups.agg(pl.len().alias("flows"), pl.col("packets").sum(), pl.col("bytes").sum())
    sums = sums.sort(["packets", "reason"], descending=[True, False])
    return [{**row, "reason": MEANINGS[Reason(row["reason"])]} for row in sums.iter_rows(named=True)]
