"""Packets, the flows they belong to, and what becomes of them: what traffic, engine and metrics hand to each other."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LOST: Final = -1
"""The time of reception of a packet that was dropped, or has not arrived yet."""

# What `Fates.state` is a sum of.
MARKED: Final = 1
DROPPED: Final = 2
RECEIVED: Final = 4
UNACKED: Final = 16  # the host will not see its acknowledgement
AT_DEAD_LINK: Final = 32  # dropped because the link was down, not for want of buffer
RELEASED: Final = 8  # its bytes have left the in-flight count, or were never in it
UNDETECTED: Final = 64  # dropped at a dead link before routing knew of that


class FlowPlan(NamedTuple):
    """Where each flow enters: `keys` uint64[flows], `host` int64[flows] (its steering host), `group` int64[flows].

    `words` uint64[flows, 5] is its five-tuple, `attachment` int64[flows] where it enters (None: its group); `uplink`
    and `downlink` int64[flows] are the links of its ends, in networks with host links.
    """

    keys: NDArray[np.uint64]
    host: NDArray[np.int64]
    group: NDArray[np.int64]
    words: NDArray[np.uint64] | None = None
    attachment: NDArray[np.int64] | None = None
    uplink: NDArray[np.int64] | None = None
    downlink: NDArray[np.int64] | None = None


class Packets(NamedTuple):
    """Packets in send order: `send_ns` int64[n], `flow` uint32[n], `ip_bytes` uint32[n]."""

    send_ns: NDArray[np.int64]
    flow: NDArray[np.uint32]
    ip_bytes: NDArray[np.uint32]


class Fates(NamedTuple):
    """What became of each packet, and where it is until then.

    By packet: the `path` uint16 and `flowlet` uint32 it took, `receive_ns` int64 (LOST if it was not received),
    `queue_ns` int64 it waited before links, `hop` uint8: the place on its way of the link that dropped it. `state` is
    a sum of the constants above; `congestion` is the highest level that the links noted, if the policy measures.
    """

    path: NDArray[np.uint16]
    flowlet: NDArray[np.uint32]
    receive_ns: NDArray[np.int64]
    queue_ns: NDArray[np.int64]
    state: NDArray[np.uint8]
    hop: NDArray[np.uint8]
    congestion: NDArray[np.uint8]


class Releases(NamedTuple):
    """When bytes leave the in-flight count, if the trace says so: in order of time, then of packet; else empty.

    `time_ns` int64[m], `packet` int64[m].
    """

    time_ns: NDArray[np.int64]
    packet: NDArray[np.int64]


def empty_fates(count: int) -> Fates:
    """Room for the fates of `count` packets."""
    return Fates(
        path=np.zeros(count, np.uint16),
        flowlet=np.zeros(count, np.uint32),
        receive_ns=np.full(count, LOST, np.int64),
        queue_ns=np.zeros(count, np.int64),
        state=np.zeros(count, np.uint8),
        hop=np.zeros(count, np.uint8),
        congestion=np.zeros(count, np.uint8),
    )


class Awaited(NamedTuple):
    """Flows some of whose packets come later than others that were sent after them, each flow once.

    `flow` uint32[n]; `send_ns` int64[n]: what is still to come of it was sent then or later.
    """

    flow: NDArray[np.uint32]
    send_ns: NDArray[np.int64]

    @classmethod
    def nothing(cls) -> Awaited:
        """No such flow: all packets come in send order."""
        return cls(np.empty(0, np.uint32), np.empty(0, np.int64))

    def with_more(self, other: Awaited) -> Awaited:
        """The flows of both, at the times of these if they are in both."""
        if len(self.flow) == 0 or len(other.flow) == 0:
            return self if len(self.flow) else other
        flow = np.concatenate((self.flow, other.flow))
        flow, first = np.unique(flow, return_index=True)
        return Awaited(flow, np.concatenate((self.send_ns, other.send_ns))[first])
