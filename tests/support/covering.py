"""Packets of an M/M/1 queue of which all is known, run by run, to see how often intervals hold the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy

MEAN_BYTES = 50_000
SERVICE_NS = 8.0 * MEAN_BYTES  # at 1 Gbit/s


def mean_ns(load: float) -> float:
    """The mean time in an M/M/1 queue, waiting and service."""
    return SERVICE_NS / (1 - load)


def quantile_ns(load: float, share: float) -> float:
    """A quantile of the same, which is exponential."""
    return mean_ns(load) * math.log(1 / (1 - share))


def offered(load: float, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Poisson arrivals, int64, and exponential sizes in IP bytes that load a link of 1 Gbit/s."""
    rng = np.random.default_rng(seed)
    send_ns = np.cumsum(rng.exponential(SERVICE_NS / load, count)).astype(np.int64)
    # The engine adds the Ethernet header; of such sizes it is next to nothing.
    return send_ns, np.maximum(rng.exponential(MEAN_BYTES, count).round() - 14, 0).astype(np.uint32)


def delays_ns(send_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32], rate_bps: int = 10**9) -> NDArray[np.int64]:
    """Delays of packets over one bare link, by the engine."""
    link = Link("l", rate_bps, 0, None, overhead_bytes=0)
    network = Network((link,), (Path(0, (0,), 0, 0),), minimum_frame_bytes=0)
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)
    fates = simulate(cell, Packets(send_ns, np.zeros(len(send_ns), np.uint32), ip_bytes))
    return np.asarray(fates.receive_ns - send_ns)


def studies(repetitions: int, seeds: int, load: float, count: int) -> Iterator[list[NDArray[np.int64]]]:
    """Studies of so many seeds each, as the delays of each seed."""
    for study in range(repetitions):
        yield [delays_ns(*offered(load, count, 1 + study * seeds + seed)) for seed in range(seeds)]
