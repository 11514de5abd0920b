"""What the policies do with two unequal paths.

`python -m tests.support.behaviour` prints the tables of docs/behaviour.md.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import RECEIVED, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from segcast.traces.hashing import flow_keys

POLICIES = (
    "ecmp",
    "wcmp",
    "random",
    "letflow",
    "round-robin",
    "presto",
    "spray",
    "two-choices",
    "inflight",
    "clove-ecn",
    "flowbender",
    "plb",
    "hermes",
    "conga",
    "least-queue",
)
SEEDS = range(1, 11)

_FLOWS, _HOSTS = 64, 8
_IP_BYTES = 1486
_SPACING_NS = 1200  # frames of 1500 bytes at 10 Gbit/s
_DURATION_NS = 200_000_000
_LEFT = [0, 7]


class Behaviour(NamedTuple):
    """Means over seeds, and the `narrowest` and `widest` share of the bytes that the fast path got with a seed."""

    fast: float
    narrowest: float
    widest: float
    p99_us: float
    reordered_percent: float
    dropped_percent: float


def unequal_paths() -> Network:
    """10 and 5 Gbit/s, 5 us, 512 KiB, marks from 100 kB; no SRv6 bytes, so that the policies alone differ."""
    links = [Link(name, rate * 10**9, 5_000, 1 << 19, 100_000, 0) for name, rate in (("fast", 10), ("slow", 5))]
    return Network(tuple(links), tuple(Path(0, (slot,), 0, 5_000) for slot in range(2)), 0)


@cache
def bursts(packets_per_burst: int, load_bps: int) -> tuple[Packets, FlowPlan]:
    """64 flows of 8 hosts, each sending bursts of 1500-byte frames (geometric) at Poisson times and line rate."""
    random = np.random.default_rng(2017)
    gap_ns = _FLOWS * packets_per_burst * 1500 * 8 * 10**9 / load_bps
    times, flows = [], []
    for flow in range(_FLOWS):
        starts = np.cumsum(random.exponential(gap_ns, int(2 * _DURATION_NS / gap_ns))).astype(np.int64)
        starts = starts[starts < _DURATION_NS]
        lengths = random.geometric(1 / packets_per_burst, len(starts))
        places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        times.append(np.repeat(starts, lengths) + places * _SPACING_NS)
        flows.append(np.full(len(places), flow, np.uint32))
    order = np.argsort(np.concatenate(times), kind="stable")
    sent_ns, flow_of = np.concatenate(times)[order], np.concatenate(flows)[order]
    words = np.array([[*_LEFT, 0, 9, 6 << 32 | (40_000 + flow) << 16 | 80] for flow in range(_FLOWS)], np.uint64)
    plan = FlowPlan(flow_keys(words), np.arange(_FLOWS) % _HOSTS, np.zeros(_FLOWS, np.int64), words)
    return Packets(sent_ns, flow_of, np.full(len(sent_ns), _IP_BYTES, np.uint32)), plan


@cache
def behaviour(policy: str, packets_per_burst: int = 20, load_bps: int = 9 * 10**9) -> Behaviour:
    """One policy with flowlets of 100 us under every seed."""
    packets, plan = bursts(packets_per_burst, load_bps)
    rows = []
    for seed in SEEDS:
        steering = Steering(10_000_000)
        cell = Cell(unequal_paths(), find_policy(policy), plan, steering, timeout_ns=100_000, seed=seed)
        fates = simulate(cell, packets)
        received = fates.state & RECEIVED > 0
        delays_ns = (fates.receive_ns - packets.send_ns)[received]
        late = 0
        for flow in range(_FLOWS):
            times = fates.receive_ns[received & (packets.flow == flow)]
            late += int((np.minimum.accumulate(times[::-1])[::-1][1:] < times[:-1]).sum())
        share = float((fates.path == 0).mean())
        rows.append((share, np.quantile(delays_ns, 0.99) / 1000, 100 * late / received.sum(), 100 * (~received).mean()))
    table = np.array(rows)
    fast, p99_us, late_percent, dropped = table.mean(axis=0).tolist()
    return Behaviour(fast, float(table[:, 0].min()), float(table[:, 0].max()), p99_us, late_percent, dropped)


def main() -> None:
    """Print the tables."""
    print("| policy | on the fast path | of seeds | p99 delay | reordered | dropped |\n|---|---|---|---|---|---|")
    for policy in POLICIES:
        got = behaviour(policy)
        seeds = f"{100 * got.narrowest:.0f} to {100 * got.widest:.0f} %"
        print(
            f"| `{policy}` | {100 * got.fast:.1f} % | {seeds} | {got.p99_us:.0f} us | "
            f"{got.reordered_percent:.2f} % | {got.dropped_percent:.2f} % |"
        )
    print("\n| policy | packets per burst | 6 Gbit/s | 9 Gbit/s | 12 Gbit/s |\n|---|---|---|---|---|")
    for policy in ("random", "inflight", "conga", "least-queue"):
        for packets_per_burst in (20, 5, 1):
            shares = [100 * behaviour(policy, packets_per_burst, load * 10**9).fast for load in (6, 9, 12)]
            print(f"| `{policy}` | {packets_per_burst} | {' | '.join(f'{share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
