"""Planned against actual departures: what the sending itself did to a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.traces.units import write_duration

_GAP_QUANTILES = (0.5, 0.99, 1.0)

_LEAST_SHIFT_NS: Final = 1_000_000
_WINDOW_NS: Final = 100_000_000
_MOST_LOST: Final = 0.01
_MOST_BROKEN: Final = 0.05
_FEW_BOUNDARIES: Final = 100


def departures(
    planned_ns: NDArray[np.int64],
    send_ns: NDArray[np.int64],
    flow: NDArray[np.int64],
    timeout_ns: int | None,
) -> dict[str, Any]:
    """The columns of DEPARTURES for one sender, from int64[n] in order of `planned_ns`; `send_ns` -1 if not sent.

    Gaps are those between packets that were sent. A flowlet boundary is a gap within a flow of more than `timeout_ns`
    (None: there are none).
    """
    sent = np.flatnonzero(send_ns >= 0)
    plan, real = planned_ns[sent], send_ns[sent]
    error = np.abs(np.diff(real) - np.diff(plan))
    shift = np.abs((real - real[:1]) - (plan - plan[:1]))
    (offset,) = nearest_ranks(real - plan, (0.5,))
    p50, p99, most = nearest_ranks(error, _GAP_QUANTILES)
    span = int(plan[-1] - plan[0]) if len(plan) else 0
    found: dict[str, Any] = {
        "planned": len(planned_ns),
        "sent": len(sent),
        "offset_ns": offset,
        "stretch": int(real[-1] - real[0]) / span if span > 0 else None,
        "gap_error_p50_ns": p50,
        "gap_error_p99_ns": p99,
        "gap_error_max_ns": most,
        "shift_p99_ns": nearest_ranks(shift, (0.99,))[0],
        "spread_p99_ns": nearest_ranks(_spread(plan, real), (0.99,))[0],
    }
    order = np.argsort(flow[sent], kind="stable")
    same = np.diff(flow[sent][order]) == 0
    gaps, gaps_real = np.diff(plan[order])[same], np.diff(real[order])[same]
    limit = np.iinfo(np.int64).max if timeout_ns is None else timeout_ns
    return found | {
        "boundaries": int((gaps > limit).sum()),
        "boundaries_kept": int(((gaps > limit) & (gaps_real > limit)).sum()),
        "boundaries_new": int(((gaps <= limit) & (gaps_real > limit)).sum()),
    }


def _spread(plan_ns: NDArray[np.int64], real_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """How far packets are from the median offset of those planned within the same 100 ms.

    That the rest of a schedule is later as a whole changes no queue; that packets come closer together does.
    """
    offset = real_ns - plan_ns
    window = (plan_ns - plan_ns[:1]) // _WINDOW_NS
    order = np.lexsort((offset, window))
    begin = np.flatnonzero(np.diff(window[order], prepend=-1))
    size = np.diff(begin, append=len(order))
    medians = offset[order][begin + (size - 1) // 2]
    spread: NDArray[np.int64] = np.abs(offset[order] - np.repeat(medians, size))
    return spread


def not_sent(rows: Sequence[dict[str, Any]], timeout_ns: int | None) -> str | None:
    """What keeps the departures of all senders, rows of `departures` with their `host`, from being those planned.

    A schedule was sent if nearly all packets, flowlet boundaries and gaps within flowlets are there, packets keep
    their distances, and senders keep step. None if it was.
    """
    tolerated_ns = max(_LEAST_SHIFT_NS, timeout_ns or 0)
    for row in rows:
        lost = row["planned"] - row["sent"]
        if lost > _MOST_LOST * row["planned"]:
            return f"{row['host']} sent {row['sent']} of {row['planned']} packets"
        if (row["spread_p99_ns"] or 0) > tolerated_ns:
            against = "" if timeout_ns is None else f", flowlet timeout {write_duration(timeout_ns)}"
            return f"departures of {row['host']} are off by {row['shift_p99_ns'] / 1e6:.3g} ms (p99){against}"
        broken = row["boundaries"] - row["boundaries_kept"] + row["boundaries_new"]
        if broken > _MOST_BROKEN * max(row["boundaries"], _FEW_BOUNDARIES):
            return (
                f"of {row['host']} {row['boundaries_kept']} of {row['boundaries']} flowlet boundaries survived, and "
                f"{row['boundaries_new']} are new"
            )
    offsets = [row["offset_ns"] for row in rows if row["offset_ns"] is not None]
    if offsets and (apart := max(offsets) - min(offsets)) > tolerated_ns:
        return f"senders are {apart / 1e6:.3g} ms apart"
    return None
