"""What a cell of the engine holds: the tables of the network and of flows, packets and their fates, and constants."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.calendar import Calendar
from segcast.analyzer.engine.rings import Rings

ALWAYS_NS: Final = np.iinfo(np.int64).min  # before all times
UNBOUNDED_BYTES: Final = np.iinfo(np.int64).max

# What `run` returns.
DONE: Final = 0
NO_ROOM: Final = 1
BAD_SLOT: Final = 2
BUCKET_IS_FULL: Final = 3
ROWS_ARE_FULL: Final = 4

# Uses.granularity: when the policy is asked.
PER_FLOW: Final = 0
PER_FLOWLET: Final = 1
PER_PACKET: Final = 2
ASKED: Final = 3

# Rules.ack: when bytes leave the in-flight count.
UNCOUNTED: Final = 0
LAZY: Final = 1  # modelled, released when a choice needs it: counters are sums, so the order does not matter
ORDERED: Final = 2  # modelled, each at its time
SCHEDULED: Final = 3  # at times given by the trace: recorded acknowledgements

LINK: Final = np.dtype(
    [
        ("rate_bps", np.int64),
        ("per_bit", np.float64),
        ("burst_ns", np.int64),
        ("free_ns", np.int64),
        ("free_rest", np.int64),
        ("delay_ns", np.int64),
        ("overhead_bytes", np.int64),
        ("carried_bytes", np.int64),
        ("buffer_bytes", np.int64),
        ("ecn_bytes", np.int64),
        ("backlog_bytes", np.int64),
        ("largest_bytes", np.int64),
        ("bounded", np.int64),
        ("counted", np.int64),
        ("buffer_frames", np.int64),
        ("ecn_frames", np.int64),
        ("remembers", np.int64),
        ("marked", np.int64),
        ("estimate_bytes", np.int64),
        ("estimate_period", np.int64),
    ],
    align=True,
)
PATH: Final = np.dtype(
    [
        ("first_hop", np.int32),
        ("hops", np.int32),
        ("srv6_bytes", np.int64),
        ("ack_delay_ns", np.int64),
        ("ack_queue", np.int32),
        ("down", np.int32),
    ],
    align=True,
)
FLOW: Final = np.dtype(
    [
        ("last_ns", np.int64),
        ("first_counter", np.int64),
        ("first_path", np.int32),
        ("path_count", np.int32),
        ("slot", np.int32),
        ("flowlet", np.uint32),
        ("sent_bytes", np.int64),
        ("clear_ns", np.int64),
        ("ack_delay_ns", np.int64),
        ("pending", np.int32),
        ("routing", np.int32),
        ("uplink", np.int32),
        ("downlink", np.int32),
        ("ack_queue", np.int64),
        ("watched", np.int32),
        ("first_watched", np.int32),
        ("awaited", np.int64),
    ],
    align=True,
)
COUNTER: Final = np.dtype([("suspect_until_ns", np.int64), ("silent", np.int64)], align=True)

PROGRESS: Final = np.dtype(
    [
        ("clock_ns", np.int64),
        ("next_packet", np.int64),
        ("next_flowlet", np.int64),
        ("first_id", np.int64),
        ("lost", np.int64),
        ("next_expiry", np.int64),
        ("routing", np.int64),
        ("suspects_until_ns", np.int64),
    ],
    align=True,
)
"""How far a cell has come, one row.

`clock_ns` is the time of the last event, `next_packet` the row of the next packet to send, `next_flowlet` its number if
it starts one. Events name a packet by its row plus `first_id`, so that rows may be handed out while it is under way.
`lost` packets will not be acknowledged and wait for their timeout; the first of them has a row of at least
`next_expiry` (where the trace says when bytes leave the in-flight count, that is the next entry of `Releases`).
`routing` counts the changes that routing has learned of; no path is suspected from `suspects_until_ns` on.
"""


class Rules(NamedTuple):
    """Scalars of a cell that do not change while it runs."""

    ack: int
    minimum_frame_bytes: int
    loss_timeout_ns: int
    tracks: bool
    host_links: bool
    defers: bool
    suspect_after: int
    suspect_for_ns: int
    ack_loss: int
    seed: int


class State(NamedTuple):
    """Everything a cell carries from one batch to the next.

    `links` LINK, `paths` PATH, `hops` int32 (links of all paths, path after path), `flows` FLOW, `inflight` int64
    (bytes, by counter), `counters` COUNTER; `rings`: a ring per link (what it has accepted), then, if they are
    released only when asked, one per acknowledgement queue; `watched` int32: of the latter those that may hold what a
    group's flows sent, group after group (FLOW says where); `calendar`: frames that arrive from links (source: the
    link's number) and, if they are ordered, acknowledgements (source: number of links + queue); `progress` PROGRESS[1];
    `routes_down` bool: which links routing knows to be down.
    """

    links: NDArray[np.void]
    paths: NDArray[np.void]
    hops: NDArray[np.int32]
    flows: NDArray[np.void]
    inflight: NDArray[np.int64]
    counters: NDArray[np.void]
    rings: Rings
    watched: NDArray[np.int32]
    calendar: Calendar
    progress: NDArray[np.void]
    routes_down: NDArray[np.bool_]
