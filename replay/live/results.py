"""What a run of real TCP measured: a row for each flow of the list, and all of them together."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.replay.live.counters import Counts
from segcast.replay.live.failures import Outage
from segcast.replay.live.generator import Result
from segcast.replay.live.plan import LivePlan
from segcast.replay.live.steering import Steered
from segcast.replay.live.tcp_info import NOTHING_SENT, Sent

_BARE_IPV4_BYTES: Final = 60  # a SYN, with Linux's options; acknowledgements without SACK blocks are shorter
_BARE_IPV6_BYTES: Final = 80


class LiveRun(NamedTuple):
    """What was measured. `flows` has a row for each of the list (`table_of`), `counts` is of the time of the run.

    `busy`: the share of all processors' time that anything on this machine took meanwhile. `steered`: what a program
    said that steered, whose flowlets `flowlets` has by row of the list; None without one. `outages`: what was down,
    `late_events`: how many failures and recoveries of links were still to come when all was over.
    """

    flows: pa.Table
    counts: Counts
    unfinished_why: str | None
    busy: float = 0.0
    steered: Steered | None = None
    flowlets: pa.Table | None = None
    outages: Sequence[Outage] = ()
    late_events: int = 0


def table_of(plan: LivePlan, result: Result, flowlets: pa.Table | None = None) -> pa.Table:
    """A row for each flow of the list.

    `start_ns`, when it was asked for, and `late_ns`, by how much that was after it was due; `fct_ns` from then to its
    last byte, handshake included; null if unfinished. `path_id`: that of its data if its connection was held to one.
    `retransmissions` of data, `rto` and `needless` are from the flow before it on its connection to its last byte, or
    to the end of all if none followed; SYNs and SYN/ACKs sent again count for the first of a connection. Fields of
    TCP_INFO are of its sender at the end. `flowlets` and `path_changes` are of its data, if a program steered it.
    """
    asked, complete = result.asked_ns, result.complete_ns
    half = plan.half_of_row.tolist()
    senders = [result.info[each // 2][each % 2] for each in half]
    paths = np.array([plan.connections[each // 2].paths[each % 2] for each in half], np.int64)
    sent = _of_rows(half, result)
    begun: set[int] = set()
    syns: list[int | None] = []
    for each in half:
        ends = result.opened[each // 2]
        known = None if None in ends else sum(end["total_retrans"] for end in ends if end)
        syns.append(0 if known is not None and each // 2 in begun else known)
        begun.add(each // 2)

    def field(name: str) -> pa.Array:
        return pa.array([None if info is None else info[name] for info in senders], pa.int64())

    def again(name: str) -> pa.Array:
        return pa.array([None if each is None else getattr(each, name) for each in sent], pa.int64())

    columns = {
        "flow": plan.workload.flow,
        "bytes": pa.array(plan.workload.bytes, pa.int64()),
        "start_ns": pa.array(asked, pa.int64(), mask=asked < 0),
        "late_ns": pa.array(asked - result.due_ns, pa.int64(), mask=asked < 0),
        "fct_ns": pa.array(complete - asked, pa.int64(), mask=complete < 0),
        "path_id": pa.array(paths, pa.int64(), mask=paths < 0),
        "retransmissions": again("again"),
        "needless": again("needless"),
        "rto": again("timeouts"),
        "syn_retransmissions": pa.array(syns, pa.int64()),
        **_flowlet_columns(len(half), flowlets),
        **{name: field(name) for name in ("reord_seen", "snd_cwnd", "snd_ssthresh", "snd_mss", "min_rtt", "rtt")},
        "rwnd_limited_us": field("rwnd_limited"),
        "sndbuf_limited_us": field("sndbuf_limited"),
    }
    return pa.table(columns)


def _of_rows(half: Sequence[int], result: Result) -> list[Sent | None]:
    """What was sent again for each row: its half's count by then, less that by the row before it."""
    before = {
        2 * number + side: NOTHING_SENT if end is None else NOTHING_SENT._replace(again=end["total_retrans"])
        for number, ends in enumerate(result.opened)
        for side, end in enumerate(ends)
    }
    found: list[Sent | None] = []
    for each, sent in zip(half, result.sent, strict=True):
        if sent is None:
            found.append(None)
            continue
        # An end that was never seen open counts its SYNs in; nothing is below 0.
        found.append(Sent(*(max(0, a - b) for a, b in zip(sent, before[each], strict=True))))
        before[each] = sent
    return found


def _flowlet_columns(rows: int, flowlets: pa.Table | None) -> dict[str, pa.Array]:
    """Of each row how many flowlets carried data of it, and how many of those changed the path."""
    if flowlets is None:
        return {name: pa.nulls(rows, pa.int64()) for name in ("flowlets", "path_changes")}
    carried = flowlets.filter(flowlets.column("data"))
    row, path = (carried.column(name).to_numpy() for name in ("row", "path_id"))
    begins = np.r_[True, row[1:] != row[:-1]][: len(row)]
    changed = np.r_[False, path[1:] != path[:-1]][: len(row)] & ~begins
    counts: NDArray[np.int64] = np.bincount(row, minlength=rows)
    changes = np.bincount(row[changed], minlength=rows)
    return {"flowlets": pa.array(counts, pa.int64()), "path_changes": pa.array(changes, pa.int64())}


def flowlets_of(plan: LivePlan, result: Result, steered: Steered) -> pa.Table:
    """The flowlets of directions that data of the list takes: `row` of the list, then as the program has them.

    A flowlet is of the row that its sender was last asked for when it began, or else of the connection's first. `data`:
    whether it carried more than headers; a SYN that waits for long is a flowlet of its own. Times are those of the
    list. In order of row and start.
    """
    ends = {
        (each.ends[side], each.ends[1 - side]): 2 * number + side
        for number, each in enumerate(plan.connections)
        for side in (0, 1)
    }
    asked: dict[int, list[tuple[int, int]]] = {}
    for row, half in enumerate(plan.half_of_row.tolist()):
        if result.asked_ns[row] >= 0:
            asked.setdefault(half, []).append((int(result.asked_ns[row]), row))
    found = []
    for each in steered.flowlets:
        rows = asked.get(ends.get(each.ends, -1))
        if rows is None:
            continue
        start_ns = each.start_ns - result.zero_ns
        at = max(0, bisect.bisect_right(rows, start_ns, key=operator.itemgetter(0)) - 1)
        bare = each.packets * (_BARE_IPV6_BYTES if ":" in each.ends[0][0] else _BARE_IPV4_BYTES)
        found.append((rows[at][1], start_ns, each.path_id, each.packets, each.bytes, each.gap_ns, each.bytes > bare))
    found.sort()
    *columns, data = list(zip(*found, strict=True)) if found else [()] * 7
    names = ("row", "start_ns", "path_id", "packets", "bytes", "gap_ns")
    made = {name: pa.array(column, pa.int64()) for name, column in zip(names, columns, strict=True)}
    return pa.table({**made, "data": pa.array(data, pa.bool_())})


def summary_of(run: LiveRun) -> dict[str, Any]:
    """Completion times and what they cost, as JSON values."""
    fct = run.flows.column("fct_ns").drop_null().to_numpy()
    late = run.flows.column("late_ns").drop_null().to_numpy()
    total = {
        name: sum(value or 0 for value in run.flows.column(name).to_pylist())
        for name in ("retransmissions", "needless", "rto", "syn_retransmissions")
    }
    shares = (0.5, 0.9, 0.95, 0.98, 0.99)
    quantiles = np.quantile(fct, shares).tolist() if len(fct) else [None] * len(shares)
    return {
        "flows": run.flows.num_rows,
        "unfinished": run.flows.num_rows - len(fct),
        "unfinished_why": run.unfinished_why,
        **{f"fct_p{round(100 * share)}_ns": value for share, value in zip(shares, quantiles, strict=True)},
        "fct_mean_ns": float(fct.mean()) if len(fct) else None,
        "late_p50_ns": float(np.quantile(late, 0.5)) if len(late) else None,
        "late_max_ns": int(late.max()) if len(late) else None,
        **total,
        "dropped": sum(drops for _, drops in run.counts.links.values()),
        "counts": run.counts.as_dict(),
    }
