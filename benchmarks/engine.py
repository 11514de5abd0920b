"""How fast the engine sends packets: `python -m benchmarks.engine [--packets N]`, or `--stream N` for one long run.

Recorded packets on one core: 4 disjoint paths of 10 Gbit/s at 70 % load with buffers of 512 KiB, beside an idealised
loop over the same queues and a plain copy of the bytes; a fabric of 16 leaves, 8 spines and 256 hosts with links of
their own, 4 hops a packet, at 30 % load. Steady is the best of several runs; cold is a fresh process with an empty
kernel cache, warm one with a full one, both from its start to the first result. Then a sweep on all cores, and memory.

`--stream N` synthesises N packets as they go, through window, cell and metrics; nothing is written. With `--stuck`
the first flow has a path of its own, two links of 1 Mbit/s without a bound, that it fills from the start to the end.

`benchmarks.sweep` is the sweep with all metrics.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.window import BATCH_PACKETS, Window
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.network.model import Link, Network, Path, parallel_network
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.parallel import in_order, usable_cores
from segcast.analyzer.policies.registry import find_policy
from segcast.traces.hashing import draw, seeded_generator
from segcast.traces.jit import allocating, int64, kernel

PACKETS = 4_000_000
FLOWS = 2_000
HOSTS = 32
BURST_PACKETS = 8
TIMEOUT_NS = 100_000
POLICIES = ("ecmp", "random", "inflight")
RUNS = 3
LEAVES, SPINES, LEAF_HOSTS = 16, 8, 16
SWEEP_CELLS = 64


def workload(count: int = PACKETS) -> tuple[Packets, FlowPlan]:
    """Bursts of one flow each at Poisson times, 40 % small and 60 % full-size packets."""
    rng = np.random.default_rng(1)
    sizes = rng.choice([40, 1500], count, p=[0.4, 0.6]).astype(np.uint32)
    mean_ns = (float(sizes.mean()) + 14 + 24) * 8 / 40 / 0.7
    send_ns = np.cumsum(rng.exponential(mean_ns, count)).astype(np.int64)
    flows = np.repeat(rng.integers(0, FLOWS, count // BURST_PACKETS + 1), BURST_PACKETS)[:count].astype(np.uint32)
    return Packets(send_ns, flows, sizes), flow_plan()


def flow_plan() -> FlowPlan:
    """The flows of `workload`."""
    keys = np.random.default_rng(1).integers(0, 2**63, FLOWS).astype(np.uint64)
    return FlowPlan(keys, np.arange(FLOWS) % HOSTS, np.zeros(FLOWS, np.int64))


@allocating
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


def four_paths(hops: int = 1, delay_ns: int = 5000) -> Network:
    """4 disjoint paths of so many links each."""
    chains = [[Link(f"p{n}-{hop}", 10**10, delay_ns, 512 * 1024) for hop in range(hops)] for n in range(4)]
    return parallel_network(chains, [()] * 4)


def cell(policy: str, plan: FlowPlan, network: Network | None = None, seed: int = 1) -> Cell:
    """A fresh cell."""
    steering = Steering(10_000_000)
    return Cell(network or four_paths(), find_policy(policy), plan, steering, timeout_ns=TIMEOUT_NS, seed=seed)


def fabric(count: int) -> tuple[Network, FlowPlan, Packets]:
    """Leaf-spine with a link up and down for each host, and flows between hosts of different leaves."""
    rng = np.random.default_rng(3)
    hosts = LEAVES * LEAF_HOSTS
    links = [Link(f"host{h}-{way}", 10**10, 500, 512 * 1024) for way in ("up", "down") for h in range(hosts)]
    uplinks, downlinks = 2 * hosts, 2 * hosts + LEAVES * SPINES
    for way in ("up", "down"):
        links += [Link(f"{way}{leaf}-{s}", 4 * 10**10, 1000, 2**20) for leaf in range(LEAVES) for s in range(SPINES)]
    pairs = [(a, b) for a in range(LEAVES) for b in range(LEAVES) if a != b]
    paths = [
        Path(group, (uplinks + a * SPINES + s, downlinks + b * SPINES + s), 40, 2000)
        for group, (a, b) in enumerate(pairs)
        for s in range(SPINES)
    ]
    number = {pair: group for group, pair in enumerate(pairs)}
    source = rng.integers(0, hosts, FLOWS)
    target = (source + LEAF_HOSTS * rng.integers(1, LEAVES, FLOWS)) % hosts
    group = [number[a, b] for a, b in zip(source // LEAF_HOSTS, target // LEAF_HOSTS, strict=True)]
    plan = FlowPlan(
        rng.integers(0, 2**63, FLOWS).astype(np.uint64),
        source,
        np.array(group, np.int64),
        uplink=source.astype(np.int64),
        downlink=(hosts + target).astype(np.int64),
    )
    packets, _ = workload(count)
    faster = hosts * 10 * 0.3 / (40 * 0.7)
    packets = packets._replace(send_ns=(packets.send_ns / faster).astype(np.int64))
    return Network(tuple(links), tuple(paths), host_links=True), plan, packets


def first_call(policy: str) -> None:
    """What a fresh process does until its first result."""
    packets, plan = workload(10)
    simulate(cell(policy, plan), packets)


def first_call_elsewhere(policy: str, cache: str) -> float:
    """Seconds of `first_call` in a process of its own with that kernel cache, its start included."""
    code = f"from benchmarks.engine import first_call; first_call({policy!r})"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"NUMBA_CACHE_DIR": cache}, check=True)
    return time.perf_counter() - start


def disjoint_paths(count: int) -> None:
    """Packets/s on 4 paths, by policy."""
    packets, plan = workload(count)
    path = np.random.default_rng(2).integers(0, 4, count).astype(np.uint8)
    receive_ns = np.empty(count, np.int64)
    _ideal(packets, path, receive_ns, 0.8)
    limit = count / best_seconds(lambda: _ideal(packets, path, receive_ns, 0.8)) / 1e6
    moved = [*packets, receive_ns, receive_ns.copy(), path]
    copy = count / best_seconds(lambda: [column.copy() for column in moved]) / 1e6
    print(f"4 disjoint paths: idealised loop {limit:.1f} M packets/s, plain copy of the columns {copy:.1f} M packets/s")
    print(f"{'policy':10}{'M packets/s':>12}{'of ideal':>10}{'flowlets':>10}{'dropped':>9}{'cold s':>8}{'warm s':>8}")
    for policy in POLICIES:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (first_call_elsewhere(policy, cache) for _ in range(2))
        first_call(policy)
        rate = count / best_seconds(lambda p=policy: simulate(cell(p, plan), packets)) / 1e6
        fates = simulate(cell(policy, plan), packets)
        share = len(np.unique(fates.flowlet)) / count
        dropped = float((fates.receive_ns < 0).mean())
        print(
            f"{policy:10}{rate:12.1f}{rate / limit:10.2f}{share:10.1%}{dropped:9.2%}{cold:8.2f}{warm:8.2f}", flush=True
        )


def leaf_spine(count: int) -> None:
    """Packet-hops/s on the fabric, by policy."""
    network, plan, packets = fabric(count)
    print(f"\n{LEAVES} leaves, {SPINES} spines, {LEAVES * LEAF_HOSTS} hosts with links of their own, 4 hops")
    print(f"{'policy':10}{'M packet-hops/s':>16}{'M packets/s':>12}{'dropped':>9}")
    for policy in POLICIES:
        rate = count / best_seconds(lambda p=policy: simulate(cell(p, plan, network), packets)) / 1e6
        dropped = float((simulate(cell(policy, plan, network), packets).receive_ns < 0).mean())
        print(f"{policy:10}{4 * rate:16.1f}{rate:12.1f}{dropped:9.2%}", flush=True)


def sweep(count: int) -> None:
    """A sweep of cells on one core and on all."""
    packets, plan = workload(count // 16)
    plans = [(POLICIES[n % len(POLICIES)], n) for n in range(SWEEP_CELLS)]

    def run(threads: int) -> float:
        start = time.perf_counter()
        for _ in in_order(lambda p: simulate(cell(p[0], plan, seed=p[1]), packets).path[0], plans, threads, int):
            pass
        return time.perf_counter() - start

    cores = usable_cores()
    one = min(run(1) for _ in range(2))
    all_cores = min(run(cores) for _ in range(2))
    sent = SWEEP_CELLS * len(packets.flow) / 1e6
    print(
        f"\nsweep of {SWEEP_CELLS} cells of {len(packets.flow):,} packets: {sent / one:.1f} M packets/s on one core, ",
        end="",
    )
    print(f"{sent / all_cores:.1f} on {cores}: {one / all_cores:.2f} x", flush=True)


def most_bytes(policy: str, count: int) -> None:
    """Print the bytes that this process grows by at most for each of so many packets under way."""
    packets, plan = workload(count)
    long_way = four_paths(hops=2, delay_ns=10**11)
    few = Packets(*(column[: 1 << 16] for column in packets))
    simulate(cell(policy, plan, long_way), few)  # compiles
    before = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    window = Window(cell(policy, plan, long_way), count)
    window.feed(packets)
    print(f"{(peak_mib() * 2**20 - before) / window.open_packets:.0f}")


def memory_per_packet(count: int) -> None:
    """Bytes for each packet under way, in processes of their own."""
    for many in (count // 8, count // 4, count // 2):
        print(f"\nbytes for each of {many:,} packets under way: ", end="")
        for policy in POLICIES:
            code = f"from benchmarks.engine import most_bytes; most_bytes({policy!r}, {many})"
            ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            print(policy, ran.stdout.strip(), end="  ", flush=True)
    print()


@kernel
def _synthesise(generator: NDArray[np.uint64], now_ns: float, mean_ns: float, packets: Packets) -> float:
    """The traffic of `workload`, as it goes; returns the time of the last packet."""
    flow = int64(0)
    for row in range(len(packets.flow)):
        if row % BURST_PACKETS == 0:
            flow = draw(generator, FLOWS)
        now_ns -= np.log((draw(generator, 1 << 31) + 1) / float(1 << 31)) * mean_ns
        packets.send_ns[row] = int64(now_ns)
        packets.flow[row] = flow
        packets.ip_bytes[row] = 40 if draw(generator, 5) < 2 else 1500
    return now_ns


def synthesised(count: int) -> Iterator[Packets]:
    """`count` packets in batches."""
    generator, now_ns = seeded_generator(1), 0.0
    mean_ns = (0.4 * 40 + 0.6 * 1500 + 14 + 24) * 8 / 40 / 0.7
    for begin in range(0, count, BATCH_PACKETS):
        size = min(BATCH_PACKETS, count - begin)
        packets = Packets(np.empty(size, np.int64), np.empty(size, np.uint32), np.empty(size, np.uint32))
        now_ns = _synthesise(generator, now_ns, mean_ns, packets)
        yield packets


def peak_mib() -> float:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_stuck_flow() -> tuple[Network, FlowPlan]:
    """Four paths, and one for the first flow alone that is slow and takes everything."""
    network, plan = four_paths(), flow_plan()
    slow = [Link(f"slow-{hop}", 10**6, 5000) for hop in range(2)]
    number = len(network.links)
    links, paths = (*network.links, *slow), (*network.paths, Path(2, (number, number + 1), 0, 10_000))
    plan.group[0] = 2
    return Network(links, paths), plan


def long_run(count: int, policy: str, stuck: bool) -> None:
    """Packets/s and memory of a run of any length."""
    network, plan = with_stuck_flow() if stuck else (four_paths(), flow_plan())
    most_rows = 0

    def run(packets: int) -> tuple[float, Accumulator]:
        nonlocal most_rows
        started = time.perf_counter()
        counted = Accumulator(network, plan, steered=find_policy(policy).steered, interval_ns=10**6)
        window = Window(cell(policy, plan, network))
        for batch in synthesised(packets):
            finished = window.feed(batch)
            counted.sent(batch, window.paths)
            counted.finished(*finished, window.awaited)
            most_rows = max(most_rows, window.open_packets)
        counted.finished(*window.drain(), window.awaited)
        counted.finish()
        return time.perf_counter() - started, counted

    run(2 * BATCH_PACKETS)  # compiles
    start_mib = peak_mib()
    seconds, counted = run(count)
    start = time.perf_counter()
    for _ in synthesised(count):
        pass
    making = time.perf_counter() - start
    totals = counted.counts.tally.totals[0]
    print(f"{count:,} packets through {policy}, synthesised as they go, with all metrics, one core:")
    print(f"{count / seconds / 1e6:.1f} M packets/s ({count / (seconds - making) / 1e6:.1f} without making them)")
    print(f"peak memory {peak_mib():.0f} MiB, {start_mib:.0f} MiB of it after the first {2 * BATCH_PACKETS:,} packets")
    reordered = int(counted.counts.reordering.late.sum())
    print(f"at most {most_rows:,} packets held between batches of {BATCH_PACKETS:,}")
    print(f"{totals['delivered']:,} received, {totals['dropped']:,} dropped, {reordered:,} reordered")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=PACKETS)
    parser.add_argument("--stream", type=int, metavar="N")
    parser.add_argument("--policy", default="inflight", help="of --stream")
    parser.add_argument("--stuck", action="store_true", help="with --stream: one flow is stuck all the while")
    arguments = parser.parse_args()
    if arguments.stream:
        long_run(arguments.stream, arguments.policy, arguments.stuck)
        return
    for table in (disjoint_paths, leaf_spine, sweep, memory_per_packet):
        table(arguments.packets)


if __name__ == "__main__":
    main()
