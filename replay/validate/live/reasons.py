"""Where a live run and its forecast may differ from, by what both have counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from segcast.replay.validate.live.figures import FIGURES, counted
from segcast.replay.validate.live.pairs import CellPair

_LATE_NS = 5_000_000
_BUSY = 0.9
_WAITED = 0.02


def reasons_of(name: str, pairs: Sequence[CellPair]) -> Iterator[str]:
    """Sentences about a policy, what matters most first."""
    flows = pl.concat([pair.measured.flows for pair in pairs])
    done = flows.filter(pl.col("fct_ns").is_not_null())
    if not len(done):
        return
    yield from _handshakes(name, done, pairs)
    yield from _counted(name, pairs)
    waited = 1000 * sum(done["rwnd_limited_us"].fill_null(0).to_list()) / sum(done["fct_ns"].to_list())
    if waited > _WAITED:
        share = f"{100 * waited:.0f} %"
        yield f"{name}: senders waited for the receiver's window {share} of their time; it grows from 64 kB"
    late = max(pair.measured.summary["late_max_ns"] or 0 for pair in pairs)
    busy = max(pair.measured.summary["busy_share"] for pair in pairs)
    if late > _LATE_NS or busy > _BUSY:
        yield (
            f"{name}: processors had work {100 * busy:.0f} % of the time at most, and a flow was asked for "
            f"{late / 1e6:.1f} ms late: what waits for a processor counts as the network"
        )


def _handshakes(name: str, done: pl.DataFrame, pairs: Sequence[CellPair]) -> Iterator[str]:
    """What SYNs that were sent again did to the tail."""
    hit = done.filter(pl.col("syn_retransmissions").fill_null(0) > 0)
    forecast = sum(cell.summary["syn_retransmissions"] or 0 for pair in pairs for cell in pair.forecast)
    expected = 100 * forecast / max(1, sum(cell.summary["messages"] for pair in pairs for cell in pair.forecast))
    if not len(hit) and not forecast:
        return
    rest = done.filter(pl.col("syn_retransmissions").fill_null(0) == 0)["fct_ns"].to_numpy().astype(np.float64)
    times = done["fct_ns"].to_numpy().astype(np.float64)
    p99 = FIGURES["fct_p99_ns"]
    without = f"; without them p99 is {p99(rest) / 1e6:.0f} ms, with them {p99(times) / 1e6:.0f}" if len(rest) else ""
    per_100 = f"{100 * len(hit) / len(done):.1f} per 100 flows, {expected:.1f} forecast"
    yield (
        f"{name}: {len(hit)} of {len(done)} flows had a SYN or SYN/ACK sent again, 1 s later ({per_100})"
        f"{without if len(hit) else ''}"
    )


def _counted(name: str, pairs: Sequence[CellPair]) -> Iterator[str]:
    """Counts per 100 flows that differ by a third and by one."""
    for metric, said in (
        ("dropped", "packets dropped"),
        ("needless", "segments sent again for nothing (reordering that RACK took for loss)"),
        ("timeouts", "retransmission timeouts"),
        ("flowlets", "flowlets"),
    ):
        measured = [each for pair in pairs if (each := counted(pair.measured, metric)) is not None]
        forecast = [each for pair in pairs for cell in pair.forecast if (each := counted(cell, metric)) is not None]
        if len(measured) < len(pairs) or len(forecast) < sum(len(pair.forecast) for pair in pairs):
            continue
        a = 100 * sum(measured) / max(1, sum(pair.measured.summary["messages"] for pair in pairs))
        b = 100 * sum(forecast) / max(1, sum(cell.summary["messages"] for pair in pairs for cell in pair.forecast))
        if abs(a - b) > 1 and not 0.75 <= (b + 1e-9) / (a + 1e-9) <= 4 / 3:
            yield f"{name}: {said}: {a:.1f} per 100 flows measured, {b:.1f} forecast"
