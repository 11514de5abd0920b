"""Flow lists and their ns-3 results over a table of scenarios: sizes, loads, oversubscription, TCP, policies.

`python -m benchmarks.ns3.scenarios OUT` writes, for each scenario and seed, `OUT/NAME/seedK/` with `flows.csv` (the
list), `results.csv` (a row per flow) and `run.json` (processor seconds, packet-hops, drops, marks), beside
`OUT/NAME/scenario.json` (what the flags say), and `OUT/summary.csv`. What is there already is not run again.

`--nudged` makes `nudged.csv` beside each `results.csv`: the same list again, but each flow starts 1 ns sooner or later,
by a draw, and policies draw by another seed. Such runs are chaotic: how far ns-3 is from itself then is the least that
can be asked of another program.
"""

from __future__ import annotations

import argparse
import bisect
import csv
import dataclasses
import json
import random
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

PROGRAM: Final = Path(__file__).with_name("replay")
RATE_BPS: Final = 10_000_000_000  # of every link
SPINES: Final = 4
WIRE_SHARE: Final = 1502 / 1460  # bytes on the wire a byte of payload
MOST_FLOWS: Final = 6_000
OTHER_SEEDS: Final = 1_000  # from a list's seed to that of the draws of policies when it is nudged
FIRST: Final = 24  # scenarios that are run with all their seeds first
# A mix of short and long flows, with the shape of a web search cluster's: bytes and the share of flows up to them,
# linear between points. Our own round points; cut at 10 MB to keep runs short.
MIX: Final = (
    (5_000, 0.0),
    (10_000, 0.15),
    (30_000, 0.4),
    (60_000, 0.53),
    (150_000, 0.6),
    (700_000, 0.7),
    (1_500_000, 0.8),
    (4_000_000, 0.92),
    (10_000_000, 1.0),
)


@dataclass(frozen=True)
class Scenario:
    tcp: str  # TcpDctcp, TcpCubic or TcpNewReno
    flow_bytes: int  # 0: the mix
    load: float  # of what a leaf's uplinks carry, headers counted
    hosts_per_leaf: int = 8  # 8: 2:1 over four spines; 4: 1:1
    leaves: int = 2
    one_way: bool = False  # only leaf 0 sends
    policy: str = "pinned"  # by the list's `path`, a draw of the seed: an ECMP hash
    timeout_us: int = 0
    acks: str = "same"
    delay_us: int = 10  # of every link
    host_queue: int = 2_000  # packets
    switch_queue: int = 250  # packets
    total_bytes: int = 100_000_000  # about, a seed

    @property
    def mark_at(self) -> int:
        """Packets waiting at a switch port that have the next one marked."""
        return 65 if self.tcp == "TcpDctcp" else 0

    def name(self) -> str:
        size = f"{self.flow_bytes // 1000}k" if self.flow_bytes else "mix"
        parts = [self.tcp.removeprefix("Tcp").lower(), size, f"load{round(self.load * 100)}", f"{self.hosts_per_leaf}h"]
        parts += [f"{self.leaves}leaves"] * (self.leaves != 2) + ["oneway"] * self.one_way
        parts += [f"{self.policy}{self.timeout_us or ''}"] + [f"acks-{self.acks}"] * (self.acks != "same")
        parts += [f"{self.delay_us}us"] * (self.delay_us != 10) + [f"hq{self.host_queue}"] * (self.host_queue != 2_000)
        return "-".join(parts)


D, C, N = "TcpDctcp", "TcpCubic", "TcpNewReno"
SCENARIOS: Final = (
    Scenario(D, 1_000_000, 0.6),
    Scenario(C, 1_000_000, 0.6),
    Scenario(N, 1_000_000, 0.5),
    Scenario(D, 1_000_000, 0.6, policy="random", timeout_us=100, acks="steered"),
    Scenario(D, 1_000_000, 0.6, policy="inflight", timeout_us=100, acks="steered"),
    Scenario(C, 1_000_000, 0.6, policy="random", timeout_us=500, acks="steered"),
    Scenario(C, 1_000_000, 0.6, policy="inflight", timeout_us=500, acks="steered"),
    Scenario(D, 0, 0.6),
    Scenario(C, 0, 0.6),
    Scenario(N, 0, 0.5),
    Scenario(D, 100_000, 0.6),
    Scenario(C, 100_000, 0.6),
    Scenario(N, 100_000, 0.6),
    Scenario(D, 0, 0.6, policy="inflight", timeout_us=200, acks="steered"),
    Scenario(C, 0, 0.6, policy="inflight", timeout_us=200, acks="steered"),
    Scenario(D, 0, 0.6, policy="random", timeout_us=200, acks="steered"),
    Scenario(C, 0, 0.6, policy="random", timeout_us=200, acks="steered"),
    Scenario(D, 10_000, 0.8, hosts_per_leaf=4),
    Scenario(C, 10_000, 0.8, hosts_per_leaf=4),
    Scenario(D, 10_000_000, 0.4, total_bytes=200_000_000),
    Scenario(C, 10_000_000, 0.4, total_bytes=200_000_000),
    Scenario(D, 0, 0.3, hosts_per_leaf=4),
    Scenario(C, 0, 0.3, hosts_per_leaf=4),
    Scenario(D, 1_000_000, 0.8, hosts_per_leaf=4, policy="inflight", timeout_us=50, acks="steered"),
    Scenario(D, 1_000_000, 0.8, hosts_per_leaf=4, policy="random", timeout_us=50, acks="steered"),
    Scenario(C, 1_000_000, 0.8, hosts_per_leaf=4, policy="inflight", timeout_us=200, acks="steered"),
    Scenario(C, 1_000_000, 0.8, hosts_per_leaf=4),
    Scenario(N, 1_000_000, 0.6, policy="random", timeout_us=500, acks="steered"),
    Scenario(N, 1_000_000, 0.6, policy="inflight", timeout_us=500, acks="steered"),
    Scenario(D, 1_000_000, 0.6, policy="inflight", timeout_us=500, acks="pinned"),
    Scenario(D, 1_000_000, 0.6, policy="random", timeout_us=500, acks="pinned"),
    Scenario(D, 100_000, 0.8, policy="random", timeout_us=100, acks="steered"),
    Scenario(C, 100_000, 0.8, policy="inflight", timeout_us=100, acks="steered"),
    Scenario(C, 1_000_000, 0.6, one_way=True, host_queue=250),
    Scenario(D, 1_000_000, 0.7, one_way=True),
    Scenario(N, 1_000_000, 0.6, one_way=True, host_queue=250),
    Scenario(D, 0, 0.6, leaves=4, hosts_per_leaf=4),
    Scenario(C, 0, 0.6, leaves=4, hosts_per_leaf=4),
    Scenario(D, 1_000_000, 0.6, delay_us=2),
    Scenario(C, 1_000_000, 0.6, delay_us=2),
    Scenario(N, 10_000_000, 0.4, total_bytes=200_000_000),
    Scenario(D, 0, 0.6, delay_us=2, policy="inflight", timeout_us=100, acks="steered"),
)


def flow_bytes(scenario: Scenario, draw: random.Random) -> int:
    if scenario.flow_bytes:
        return scenario.flow_bytes
    share = draw.random()
    (low, low_share), (high, high_share) = MIX[(at := bisect.bisect([s for _, s in MIX], share)) - 1], MIX[at]
    return round(low + (high - low) * (share - low_share) / (high_share - low_share))


def flow_list(scenario: Scenario, seed: int) -> list[tuple[int, ...]]:
    """Poisson arrivals between racks, all pairs of hosts alike: flow, start_ns, src, dst, bytes, path."""
    sizes, draw = random.Random(f"sizes {seed}"), random.Random(f"arrivals {seed}")
    mean = scenario.flow_bytes or sum((low + high) / 2 * (to - since) for (low, since), (high, to) in pairwise(MIX))
    uplinks_bps = min(scenario.hosts_per_leaf, SPINES) * RATE_BPS
    senders = 1 if scenario.one_way else scenario.leaves
    flows_per_s = senders * scenario.load * uplinks_bps / (mean * 8 * WIRE_SHARE)
    rows: list[tuple[int, ...]] = []
    now_s = 0.0
    for flow in range(min(round(scenario.total_bytes / mean), MOST_FLOWS)):
        now_s += draw.expovariate(flows_per_s)
        leaf = draw.randrange(senders)
        other = draw.choice([to for to in range(scenario.leaves) if to != leaf])
        src, dst = (at * scenario.hosts_per_leaf + draw.randrange(scenario.hosts_per_leaf) for at in (leaf, other))
        rows.append((flow, round(now_s * 1e9), src, dst, flow_bytes(scenario, sizes), draw.randrange(SPINES)))
    return rows


def write_flows(scenario: Scenario, seed: int, path: Path) -> None:
    # Only a pinned flow is told its path; a steered one would be pinned by a column that is not empty.
    columns = ["flow", "start_ns", "src", "dst", "bytes", "path"][: 6 if scenario.policy == "pinned" else 5]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in flow_list(scenario, seed))


def write_nudged(flows: Path, nudged: Path, seed: int) -> None:
    """The list with each start 1 ns sooner or later."""
    draw = random.Random(f"nudges {seed}")
    header, *rows = (line.split(",") for line in flows.read_text().splitlines())
    for row in rows:
        row[1] = str(max(int(row[1]) + draw.choice((-1, 1)), 0))
    nudged.write_text("".join(f"{','.join(row)}\n" for row in [header, *rows]))


def flags(scenario: Scenario) -> dict[str, str | int]:
    return {
        "leaves": scenario.leaves,
        "spines": SPINES,
        "hosts_per_leaf": scenario.hosts_per_leaf,
        "host_rate": f"{RATE_BPS}bps",
        "core_rate": f"{RATE_BPS}bps",
        "host_delay": f"{scenario.delay_us}us",
        "core_delay": f"{scenario.delay_us}us",
        "host_queue": scenario.host_queue,
        "switch_queue": scenario.switch_queue,
        "mark_at": scenario.mark_at,
        "tcp": scenario.tcp,
        "policy": scenario.policy,
        "timeout": f"{scenario.timeout_us}us",
        "acks": scenario.acks,
    }


def run(scenario: Scenario, seed: int, folder: Path, program: Path, nudged: bool = False) -> str:
    """Run one list; what the program says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    flows, name = folder / "flows.csv", "results.csv"
    write_flows(scenario, seed, flows)
    if nudged:
        flows, name = folder / "nudged-flows.csv", "nudged.csv"
        write_nudged(folder / "flows.csv", flows, seed)
    told = [f"--{flag}={value}" for flag, value in flags(scenario).items()]
    told += [f"--flows={flows}", f"--out={folder / 'results.part'}", f"--seed={seed + OTHER_SEEDS * nudged}"]
    ran = subprocess.run([program.resolve(), *told], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{folder}: {program} failed: {ran.stderr.strip()[-300:]}")
    if nudged:
        flows.unlink()
    else:
        (folder / "run.json").write_text(ran.stdout)
    (folder / "results.part").rename(folder / name)
    return ran.stdout.strip()


def quantile(values: list[int], share: float) -> float:
    """Linear between ranks."""
    at = share * (len(values) - 1)
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


def summary_row(name: str, folder: Path) -> list[str] | None:
    """Pooled over the seeds that are there."""
    results = sorted(folder.glob("seed*/results.csv"))
    if not results:
        return None
    rows = [row for path in results for row in csv.DictReader(path.read_text().splitlines())]
    fct_ns = sorted(int(row["fct_ns"]) for row in rows if row["fct_ns"])
    runs = [json.loads(path.with_name("run.json").read_text()) for path in results]
    ms = [f"{quantile(fct_ns, share) / 1e6:.3f}" for share in (0.5, 0.9, 0.95, 0.98, 0.99)]
    totals = [sum(int(row[column]) for row in rows) for column in ("retransmissions", "rto", "flowlets")]
    hops_per_s = sum(r["packet_hops"] for r in runs) / sum(r["cpu_seconds"] for r in runs)
    return [
        name,
        str(len(results)),
        str(len(rows)),
        str(len(rows) - len(fct_ns)),
        *ms,
        f"{sum(fct_ns) / len(fct_ns) / 1e6:.3f}",
        *map(str, totals),
        f"{hops_per_s:.0f}",
    ]


COLUMNS: Final = (
    "scenario,seeds,flows,unfinished,p50_ms,p90_ms,p95_ms,p98_ms,p99_ms,mean_ms,"
    "retransmissions,rto,flowlets,packet_hops_per_cpu_second,date"
)


def write_summary(out: Path) -> None:
    today = datetime.now(UTC).date().isoformat()
    rows = [row for s in SCENARIOS if (row := summary_row(s.name(), out / s.name())) is not None]
    (out / "summary.csv").write_text("".join(f"{line}\n" for line in [COLUMNS, *(",".join([*r, today]) for r in rows)]))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ns3.scenarios", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for lists and results")
    parser.add_argument("--program", type=Path, default=PROGRAM, help="what build.sh made (default: beside this)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds a scenario (default: 3)")
    parser.add_argument("--only", default="", help="only scenarios whose name has this in it")
    parser.add_argument("--nudged", action="store_true", help="make nudged.csv in place of results.csv")
    told = parser.parse_args(argv)
    if not told.program.is_file():
        raise SystemExit(f"{told.program} is not there: build it with benchmarks/ns3/build.sh")
    # All seeds of the first scenarios before the others: what is there when it is stopped can be pooled.
    some, others = SCENARIOS[:FIRST], SCENARIOS[FIRST:]
    result = "nudged.csv" if told.nudged else "results.csv"
    for scenario, seed in [(s, seed) for part in (some, others) for seed in range(1, told.seeds + 1) for s in part]:
        folder = told.out / scenario.name()
        if told.only not in scenario.name() or (folder / f"seed{seed}" / result).exists():
            continue
        said = run(scenario, seed, folder / f"seed{seed}", told.program, told.nudged)
        (folder / "scenario.json").write_text(
            json.dumps({**dataclasses.asdict(scenario), "flags": flags(scenario)}, indent=1) + "\n"
        )
        print(f"{scenario.name()} seed {seed}: {said}", flush=True)
        write_summary(told.out)


if __name__ == "__main__":
    main()
