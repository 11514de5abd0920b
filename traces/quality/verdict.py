"""Whether a trace can answer the question Segcast is for: what flowlets would do to this traffic."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from segcast.traces.trace import Trace

FIT: Final = "fit"
USABLE: Final = "usable"
UNFIT: Final = "unfit"

_WIDEST_NS: Final = 100_000_000
_LEAST_INTERVALS: Final = 10
_MOST_INTERVALS: Final = 1_000_000
_FEW_FLOWS: Final = 100
_LEAST_PACKETS: Final = 100
_SHORT_NS: Final = 1_000_000_000
_LONGEST_TIMEOUT_NS: Final = 10_000_000


def rates(trace: Trace, first_ns: int | None, last_ns: int | None) -> dict[str, int | None]:
    """Mean and peak rate in bit/s on the wire, and the interval, in ns, that the peak is the mean of.

    The interval is 100 ms, or a shorter power of ten of which the trace has ten, or so long that a million make the
    trace. All None where no time passes.
    """
    if first_ns is None or last_ns is None or last_ns <= first_ns:
        return dict.fromkeys(("mean_bps", "peak_bps", "peak_interval_ns"))
    span = last_ns - first_ns + 1
    interval = _WIDEST_NS
    while interval > 1 and interval * _LEAST_INTERVALS > span:
        interval //= 10
    interval = max(interval, -(-span // _MOST_INTERVALS))
    sums = np.zeros(-(-span // interval), np.int64)
    for batch in trace.packet_batches(["time_ns", "wire_bytes"]):
        at = (np.asarray(batch["time_ns"]).astype(np.int64) - first_ns) // interval
        np.add.at(sums, np.clip(at, 0, len(sums) - 1), np.asarray(batch["wire_bytes"]).astype(np.int64))
    return {
        "mean_bps": int(sums.sum()) * 8_000_000_000 // span,
        "peak_bps": int(sums.max()) * 8_000_000_000 // interval,
        "peak_interval_ns": interval,
    }


def verdict(facts: dict[str, Any]) -> dict[str, Any]:
    """`verdict` (fit, usable or unfit) and `reasons`, a sentence each, of what `describe` has found so far.

    Unfit: no flowlet or no choice can be seen in it. Usable: it can be asked, and the reasons say what not to believe.
    """
    never = _never(facts)
    if never:
        return {"verdict": UNFIT, "reasons": [never]}
    reasons = [*_few(facts), *(f"{f['code'].replace('_', ' ')}: {f['effect']}" for f in _serious(facts))]
    return {"verdict": USABLE if reasons else FIT, "reasons": reasons}


def _never(facts: dict[str, Any]) -> str | None:
    """Why nothing at all can be asked of it."""
    if not facts["flows"]:
        return "no packet of it is IP, so there are no flows"
    if not facts["duration_ns"]:
        return "no time passes in it, so there are no gaps between packets"
    if facts["flows"] == 1:
        return "it has one flow, so there is nothing to balance"
    if facts["packets"] < _LEAST_PACKETS:
        return f"{facts['packets']} packets are too few for anything to queue behind"
    if idle := [f for f in facts["findings"] if f["code"] == "idle_gap"]:
        return f"most of its time is one gap: {idle[0]['effect']}"
    units = [source["clock_unit_seen_ns"] or 1 for source in facts["sources"] if source["packets"] > 1]
    if max(units, default=1) >= _LONGEST_TIMEOUT_NS:
        return "its clock is so coarse that no gap of a flowlet can be told"
    return None


def _few(facts: dict[str, Any]) -> list[str]:
    """What there is too little of to trust a tail, and where more may be found."""
    found = []
    if facts["flows"] < _FEW_FLOWS:
        tunnels = "; if they are tunnels, --layer inner looks inside" if facts["layer"] == "outer" else ""
        found.append(f"{facts['flows']} flows: a tail rests on few of them{tunnels}")
    if facts["duration_ns"] < _SHORT_NS:
        found.append("less than a second: rare bursts are not in it")
    return found


def _serious(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in facts["findings"] if finding["severity"] != "info"]
