"""The paper's headline asked of the closed loop: flow completion times of fixed-size flows under each policy.

`python -m benchmarks.headline`: a leaf-spine of 4 paths between two leaves of 8 hosts, flows from all hosts of one leaf
to those of the other and back, Poisson arrivals at a share of the leaves' uplinks, TCP senders that react. Each seed is
an arrival pattern and a hash of its own; changes are geometric means over seeds, paired, with Student-t intervals.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.transport.cell import Transport, TransportCell
from segcast.analyzer.forecast.asked import messages_of
from segcast.analyzer.forecast.compare import interval
from segcast.analyzer.packets import DROPPED, RECEIVED
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.reading import read_workload

SPINES, RATE_BPS = 4, 10_000_000_000
WIRE = (1460 + 40 + 14 + 24) / 1460  # bytes on the wire a byte of payload


@dataclass(frozen=True)
class Variant:
    """A policy, its flowlet timeout (ns, or a rule's name) and who shares a counter."""

    policy: str
    timeout: int | str | None = None
    scope: str = "pair"

    def __str__(self) -> str:
        timeout = f"{self.timeout // 1000} us" if isinstance(self.timeout, int) else self.timeout
        return f"{self.policy} {timeout or ''}".rstrip() + (f", {self.scope}" if self.scope != "pair" else "")


@dataclass(frozen=True)
class Setting:
    """What all variants of a comparison share."""

    size: int = 1_000_000
    load: float = 0.6
    control: str = "cubic"
    receiver: str = "rack"
    tso: int = 0
    hosts: int = 8
    slow_spine: bool = False


def variants(timeouts_us: Sequence[int]) -> list[Variant]:
    """Every policy of the study. With two leaves a host has one leaf to send to, so scope `host` is that of `pair`."""
    found = [Variant("ecmp"), Variant("host-ecmp")]
    for timeout in (1000 * t for t in timeouts_us):
        found += [Variant("random", timeout), Variant("inflight", timeout)]
        found += [Variant("inflight", timeout, "fabric"), Variant("least-queue", timeout)]
    for rule in ("rtt", "spread", "drained", "safe"):
        found += [Variant("random", rule), Variant("inflight", rule)]
    return [*found, Variant("spray")]


def network(setting: Setting) -> dict[str, Any]:
    """The network of a scenario."""
    port = {"rate": "10Gbps", "delay": "10us", "buffer_packets": 250}
    if setting.control == "dctcp":
        port |= {"ecn_packets": 65}
    return {
        "kind": "leaf-spine",
        "leaves": 2,
        "spines": SPINES,
        "hosts_per_leaf": setting.hosts,
        **({"overrides": [{"link": "*-spine0", "rate": "5Gbps"}]} if setting.slow_spine else {}),
        "links": port,
        "host_links": port,
        "host_uplinks": {"rate": "10Gbps", "delay": "10us", "buffer_packets": 2000},
    }


def flow_list(setting: Setting, flows: int, seed: int, folder: Path) -> Path:
    """A list of flows between the leaves."""
    arrivals, ends = (np.random.default_rng([seed, purpose]) for purpose in (1, 2))
    flows_per_s = 2 * setting.load * SPINES * RATE_BPS / (setting.size * 8 * WIRE)
    start_ns = np.cumsum(arrivals.exponential(1e9 / flows_per_s, flows)).astype(np.int64)
    leaf = ends.integers(0, 2, flows)
    hosts = setting.hosts
    source = leaf * hosts + ends.integers(0, hosts, flows)
    target = (1 - leaf) * hosts + ends.integers(0, hosts, flows)
    file = folder / f"{setting.size}-{setting.load}-{hosts}-{seed}.csv"
    rows = [f"{n},{s},{a},{b},{setting.size}" for n, (s, a, b) in enumerate(zip(start_ns, source, target, strict=True))]
    file.write_text("\n".join(["flow,start_ns,src,dst,bytes", *rows]) + "\n")
    return file


def run(attached: AttachedWorkload, setting: Setting, seed: int, variant: Variant) -> dict[str, Any]:
    """Completion times of one cell, and what they cost."""
    timeout = variant.timeout
    transport = Transport(
        control=setting.control,  # type: ignore[arg-type]
        receiver=setting.receiver,  # type: ignore[arg-type]
        tso=setting.tso,
        min_rto_ns=10_000_000,
        initial_rto_ns=10_000_000,
        ack_delay_ns=2_500_000,
    )
    cell = TransportCell(
        attached.network,
        find_policy(variant.policy),
        attached.plan,
        Steering(10_000_000, scope=variant.scope),  # type: ignore[arg-type]
        transport,
        messages_of(attached.workload, attached.flow_of_row),
        timeout_ns=timeout if isinstance(timeout, int) else None,
        detector=find_detector(timeout) if isinstance(timeout, str) else None,
        seed=seed,
    )
    sent = dropped = 0
    for piece in cell.pieces():
        sent += len(piece.packets.flow)
        dropped += int(((piece.fates.state & (DROPPED | RECEIVED)) == DROPPED).sum())
    done = cell.messages["complete_ns"] >= 0
    halves = cell.halves
    return {
        "asked_ns": cell.messages["asked_ns"].copy(),
        "complete_ns": cell.messages["complete_ns"].copy(),
        "fct_ns": (cell.messages["complete_ns"] - cell.messages["asked_ns"])[done],
        "unfinished": int((~done).sum()),
        "flowlets": float(halves["flowlets"].sum() / len(done)),
        "again": float(halves["retransmissions"].sum() / len(done)),
        "needless": float(halves["needless"].sum() / len(done)),
        "timeouts": int(halves["timeouts_all"].sum()),
        "dropped": dropped / max(sent, 1),
    }


def plain(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as JSON can keep it."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in cell.items()}


def change(ours: Sequence[float], others: Sequence[float]) -> str:
    """How much less or more, in per cent, over pairs of seeds."""
    ratios = interval([math.log(a / b) for a, b in zip(ours, others, strict=True)])
    text = f"{100 * math.expm1(ratios.mean):+.0f}"
    if ratios.low is None or ratios.high is None:
        return text
    return f"{text} ({100 * math.expm1(ratios.low):+.0f} to {100 * math.expm1(ratios.high):+.0f})"


def compare(found: dict[Variant, list[dict[str, Any]]]) -> Iterator[str]:
    """A row of the table for each variant."""

    def p(cells: list[dict[str, Any]], share: float) -> list[float]:
        return [float(np.quantile(cell["fct_ns"], share)) for cell in cells]

    base = found[Variant("ecmp")]
    for variant, cells in found.items():
        pooled: NDArray[np.float64] = np.concatenate([cell["fct_ns"] for cell in cells]) / 1e6
        p50, p95, p99 = np.quantile(pooled, (0.5, 0.95, 0.99))
        of = {name: float(np.mean([cell[name] for cell in cells])) for name in ("flowlets", "again", "needless")}
        against = Variant("random", variant.timeout)
        versus = change(p(cells, 0.99), p(found[against], 0.99)) if against in found and variant != against else ""
        own = "" if cells is base else change(p(cells, 0.99), p(base, 0.99))
        mean = (
            ""
            if cells is base
            else change([float(c["fct_ns"].mean()) for c in cells], [float(c["fct_ns"].mean()) for c in base])
        )
        unfinished = sum(cell["unfinished"] for cell in cells)
        yield (
            f"| `{variant}` | {p50:.2f} | {p95:.2f} | {p99:.2f} | {pooled.mean():.2f} | {own} | {mean} | {versus} | "
            f"{of['flowlets']:.1f} | {of['again']:.1f} | {of['needless']:.1f} |"
            + (f" {unfinished} unfinished" if unfinished else "")
        )


def main() -> None:
    """Print a table for each setting, and keep the figures in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/headline"))
    parser.add_argument("--flows", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.3, 0.6, 0.8])
    parser.add_argument("--controls", nargs="+", default=["cubic", "dctcp"])
    parser.add_argument("--receivers", nargs="+", default=["rack"])
    parser.add_argument("--tso", type=int, nargs="+", default=[0])
    parser.add_argument("--timeouts", type=int, nargs="+", default=[50, 100, 500], help="us")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    settings = itertools.product(chosen.sizes, chosen.loads, chosen.controls, chosen.receivers, chosen.tso)
    for size, load, control, receiver, tso in settings:
        setting = Setting(size, load, control, receiver, tso)
        began = time.monotonic()
        scenario = validated({"policies": ["ecmp"], "network": network(setting)}, written)
        found: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants(chosen.timeouts)}
        with ThreadPoolExecutor(chosen.threads) as pool:
            for seed in range(1, chosen.seeds + 1):
                attached = attach(read_workload(flow_list(setting, chosen.flows, seed, chosen.out)), scenario)
                cells = pool.map(partial(run, attached, setting, seed), found)
                for variant, cell in zip(found, cells, strict=True):
                    found[variant].append(cell)
        print(f"\n{setting}, {chosen.seeds} seeds of {chosen.flows} flows, {time.monotonic() - began:.0f} s\n")
        print(
            "| policy | p50, ms | p95 | p99 | mean | p99 against ecmp, % | mean | p99 against random | "
            "flowlets a flow | sent again | needlessly |"
        )
        print("|---|" + "--:|" * 10)
        for row in compare(found):
            print(row, flush=True)
        name = f"{size}-{load}-{control}-{receiver}-{tso}.json"
        (chosen.out / name).write_text(json.dumps({str(v): [plain(c) for c in cells] for v, cells in found.items()}))


if __name__ == "__main__":
    main()
