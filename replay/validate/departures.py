"""Planned against actual departures: what the sending itself did to a schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks

_GAP_QUANTILES = (0.5, 0.99, 1.0)


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
    p50, p99, most = nearest_ranks(error, _GAP_QUANTILES)
    span = int(plan[-1] - plan[0]) if len(plan) else 0
    found: dict[str, Any] = {
        "planned": len(planned_ns),
        "sent": len(sent),
        "stretch": int(real[-1] - real[0]) / span if span > 0 else None,
        "gap_error_p50_ns": p50,
        "gap_error_p99_ns": p99,
        "gap_error_max_ns": most,
        "shift_p99_ns": nearest_ranks(shift, (0.99,))[0],
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
