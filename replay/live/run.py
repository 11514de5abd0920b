"""A flow list by real TCP through the testbed that stands, measured."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.table import Workload
from segcast.replay.live.counters import Counts, counted
from segcast.replay.live.generator import Result, send_list
from segcast.replay.live.plan import LivePlan, plan_live
from segcast.replay.live.routes import prepare
from segcast.replay.live.sockets import Options, make_sockets
from segcast.replay.testbed.bed import DEFAULT_NAME, held, standing
from segcast.replay.testbed.plan import plan_bed
from segcast.replay.testbed.spaces import within
from segcast.traces.errors import InputError

_CUBIC: Final = Options()

PATIENCE_S: Final = 60.0
"""How long a list may take beyond the last start that it says."""


class LiveRun(NamedTuple):
    """What was measured. `flows` has a row for each of the list (`table_of`), `counts` is of the time of the run."""

    flows: pa.Table
    counts: Counts
    unfinished_why: str | None


def run_live(
    workload: Workload,
    scenario: ValidScenario,
    *,
    policy: str,
    seed: int,
    name: str = DEFAULT_NAME,
    options: Options = _CUBIC,
    super_frames: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
    patience_s: float = PATIENCE_S,
) -> LiveRun:
    """Send a list through the testbed that `segcast testbed up` built for this scenario, and measure its flows.

    `policy` and `seed` choose the paths (`plan_live`), `super_frames` says whether TCP hands several segments down at
    once, `settings` are written below /proc/sys/net of hosts. It ends `patience_s` after the last start of the list at
    the latest; Ctrl-C ends it at once, and so does whatever ends this process, whose sockets alone are in the
    namespaces. Raises InputError if the testbed does not stand, was built for another network, or cannot carry the
    list.
    """
    if os.geteuid() != 0:
        raise InputError("real TCP in the testbed: enters network namespaces, which takes root; run it with sudo")
    plan = plan_live(workload, scenario, policy, seed)
    with held(name):
        built, _ = standing(name)
        for part in ("network", "attachments", "srv6"):
            if getattr(built, part) != getattr(scenario, part):
                raise InputError(f"testbed {name}: was built for another {part}; run segcast testbed up again")
        hosts = plan_bed(scenario, name).hosts()
        prepare(plan, hosts, super_frames=super_frames, settings=settings)

        def there(place: int, work: Callable[[], list[socket.socket]]) -> list[socket.socket]:
            return within(hosts[place].namespace, work)

        sockets = make_sockets(plan.connections, options, there)
        before = counted(name, hosts)
        seconds = float(workload.start_ns.max() - workload.start_ns.min()) / 1e9 + patience_s
        result = send_list(workload, plan.connections, plan.half_of_row, sockets, seconds)
        return LiveRun(table_of(plan, result), counted(name, hosts).since(before), result.unfinished_why)


def table_of(plan: LivePlan, result: Result) -> pa.Table:
    """A row for each flow of the list.

    `start_ns`, when it was asked for, and `late_ns`, by how much that was after it was due; `fct_ns` from then to its
    last byte, handshake included; null if unfinished. `path_id`: that of its data if hosts chose it. What follows is of
    its whole connection: what its sender sent again (`retransmissions`, segments of data), after how many timeouts
    (`rto`), SYNs and SYN/ACKs sent again, and other fields of TCP_INFO.
    """
    asked, complete = result.asked_ns, result.complete_ns
    half = plan.half_of_row
    senders = [result.info[each // 2][each % 2] for each in half.tolist()]
    opened = [result.opened[each // 2] for each in half.tolist()]
    syns = [None if None in ends else sum(end["total_retrans"] for end in ends if end) for ends in opened]
    paths = [plan.connections[each // 2].paths[each % 2] for each in half.tolist()]
    own = [None if ends[h % 2] is None else ends[h % 2] for ends, h in zip(opened, half.tolist(), strict=True)]

    def field(name: str) -> pa.Array:
        return pa.array([None if info is None else info[name] for info in senders], pa.int64())

    again = [
        None if info is None or at is None else info["total_retrans"] - at["total_retrans"]
        for info, at in zip(senders, own, strict=True)
    ]
    return pa.table(
        {
            "flow": plan.workload.flow,
            "bytes": pa.array(plan.workload.bytes, pa.int64()),
            "start_ns": pa.array(asked, pa.int64(), mask=asked < 0),
            "late_ns": pa.array(asked - result.due_ns, pa.int64(), mask=asked < 0),
            "fct_ns": pa.array(complete - asked, pa.int64(), mask=complete < 0),
            "path_id": pa.array(np.array(paths), pa.int64(), mask=np.array(paths) < 0),
            "retransmissions": pa.array(again, pa.int64()),
            "rto": field("total_rto"),
            "syn_retransmissions": pa.array(syns, pa.int64()),
            **{
                name: field(name)
                for name in ("dsack_dups", "reord_seen", "snd_cwnd", "snd_ssthresh", "snd_mss", "min_rtt", "rtt")
            },
            "rwnd_limited_us": field("rwnd_limited"),
            "sndbuf_limited_us": field("sndbuf_limited"),
        }
    )


def summary_of(run: LiveRun) -> dict[str, Any]:
    """Completion times and what they cost, as JSON values."""
    fct = run.flows.column("fct_ns").drop_null().to_numpy()
    late = run.flows.column("late_ns").drop_null().to_numpy()
    total = {
        name: sum(value or 0 for value in run.flows.column(name).to_pylist())
        for name in ("retransmissions", "rto", "syn_retransmissions")
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
