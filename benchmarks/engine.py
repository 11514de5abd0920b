"""Engine packets/s per policy on 4 paths, beside an idealised loop over the same queues and a plain copy of the bytes.

Recorded packets at 70 % load on 4 x 10 Gbit/s, buffers of 512 KiB, one core. Cold is the first call with an empty
kernel cache, warm the first call of a process with a full one, steady the best of the runs after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.engine import Cell, FlowPlan, Steering, simulate
from analyzer.events import Packets
from analyzer.network import Link, parallel_network
from analyzer.policies.registry import find_policy
from traces.jit import kernel

PACKETS = 4_000_000
FLOWS = 2_000
HOSTS = 32
BURST_PACKETS = 8
TIMEOUT_NS = 100_000
POLICIES = ("ecmp", "random", "inflight")
RUNS = 3


def workload(count: int = PACKETS) -> tuple[Packets, FlowPlan]:
    """Bursts of one flow each at Poisson times, 40 % small and 60 % full-size packets."""
    rng = np.random.default_rng(1)
    sizes = rng.choice([40, 1500], count, p=[0.4, 0.6]).astype(np.uint32)
    mean_ns = (float(sizes.mean()) + 14 + 24) * 8 / 40 / 0.7
    send_ns = np.cumsum(rng.exponential(mean_ns, count)).astype(np.int64)
    flows = np.repeat(rng.integers(0, FLOWS, count // BURST_PACKETS + 1), BURST_PACKETS)[:count].astype(np.uint32)
    plan = FlowPlan(
        rng.integers(0, 2**63, FLOWS).astype(np.uint64), np.arange(FLOWS) % HOSTS, np.zeros(FLOWS, np.int64)
    )
    return Packets(send_ns, flows, sizes), plan


@kernel
def _ideal(packets: Packets, path: NDArray[np.uint8], receive_ns: NDArray[np.int64], per_byte: float) -> None:
    """The least any forecast of FIFO queues must do: one Lindley step a packet, on a path known before."""
    free_ns = np.zeros(4, np.float64)
    for row in range(len(path)):
        link = path[row]
        start_ns = max(np.float64(packets.send_ns[row]), free_ns[link])
        free_ns[link] = start_ns + np.float64(packets.ip_bytes[row] + 38) * per_byte
        receive_ns[row] = np.int64(free_ns[link]) + 5000


def best_seconds(call: Callable[[], Any]) -> float:
    """The shortest of several runs."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def cell(policy: str, plan: FlowPlan) -> Cell:
    """A fresh cell."""
    chains = [[Link(f"p{n}", 10**10, 5000, 512 * 1024)] for n in range(4)]
    network = parallel_network(chains, [()] * 4, mode="encaps")
    return Cell(network, find_policy(policy), plan, Steering(10_000_000), timeout_ns=TIMEOUT_NS, seed=1)


def first_call(policy: str) -> float:
    """Seconds of the first call in this process."""
    packets, plan = workload(10)
    start = time.perf_counter()
    simulate(cell(policy, plan), packets)
    return time.perf_counter() - start


def first_call_elsewhere(policy: str, cache: str) -> float:
    """The same in a fresh process with that kernel cache."""
    code = f"from benchmarks.engine import first_call; print(first_call({policy!r}))"
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(ran.stdout)


def main() -> None:
    """Print the table."""
    packets, plan = workload()
    path = np.random.default_rng(2).integers(0, 4, PACKETS).astype(np.uint8)
    receive_ns = np.empty(PACKETS, np.int64)
    limit = PACKETS / best_seconds(lambda: _ideal(packets, path, receive_ns, 0.8)) / 1e6
    moved = [*packets, receive_ns, receive_ns.copy(), path]
    copy = PACKETS / best_seconds(lambda: [column.copy() for column in moved]) / 1e6
    print(f"idealised loop {limit:.1f} M packets/s, plain copy of the columns {copy:.1f} M packets/s")
    print(f"{'policy':10}{'M packets/s':>12}{'of ideal':>10}{'flowlets':>10}{'dropped':>9}{'cold s':>8}{'warm s':>8}")
    for policy in POLICIES:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (first_call_elsewhere(policy, cache) for _ in range(2))
        first_call(policy)
        rate = PACKETS / best_seconds(lambda p=policy: simulate(cell(p, plan), packets)) / 1e6
        fates = simulate(cell(policy, plan), packets)
        share = len(np.unique(fates.flowlet)) / PACKETS
        dropped = float((fates.receive_ns < 0).mean())
        print(f"{policy:10}{rate:12.1f}{rate / limit:10.2f}{share:10.1%}{dropped:9.2%}{cold:8.2f}{warm:8.2f}")


if __name__ == "__main__":
    main()
