"""Flow completion times of Segcast's closed loop beside ns-3's, over the folder that `benchmarks.ns3.scenarios` wrote.

`python -m benchmarks.ns3.compare OUT`: for each scenario, pooled over its seeds, the error of p50, p95, p99 and the
mean, and how these errors are distributed; processor time beside ns-3's. Steering costs no bytes here, as in the ns-3
program.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.transport.cell import Transport, TransportCell
from segcast.analyzer.forecast.asked import messages_of
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.reading import read_workload

CONTROLS = {"TcpDctcp": "dctcp", "TcpCubic": "cubic", "TcpNewReno": "newreno"}
SHARES = (0.5, 0.95, 0.99)


def scenario_of(said: dict[str, Any]) -> ValidScenario:
    """The network that ns-3 was told of."""
    marks = {"ecn_packets": said["flags"]["mark_at"] + 2} if said["flags"]["mark_at"] else {}
    port = {
        "rate": "10Gbps",
        "delay": f"{said['delay_us']}us",
        "buffer_packets": said["switch_queue"] + 1,
        "overhead": "-12B",
        **marks,
    }
    nic = {k: v for k, v in port.items() if k != "ecn_packets"} | {"buffer_packets": said["host_queue"] + 1}
    network = {
        "kind": "leaf-spine",
        "leaves": said["leaves"],
        "spines": 4,
        "hosts_per_leaf": said["hosts_per_leaf"],
        "minimum_frame": "0B",
        "links": port,
        "host_links": port,
        "host_uplinks": nic,
    }
    return validated({"policies": ["ecmp"], "network": network}, written)


def cell_of(said: dict[str, Any], flows: Path, seed: int) -> TransportCell:
    """The closed loop's cell for a flow list."""
    workload = read_workload(flows)
    attached = attach(workload, scenario_of(said))
    paths = tuple(dataclasses.replace(path, srv6_bytes=0) for path in attached.network.paths)
    policy = {"pinned": "ecmp"}.get(said["policy"], said["policy"])
    transport = Transport(
        control=CONTROLS[said["tcp"]],  # type: ignore[arg-type]
        rules="ns-3",
        receiver="dupack",
        min_rto_ns=10_000_000,
        initial_rto_ns=10_000_000,
        ack_every=1,
        retries=6,
        acks="hashed" if said["acks"] == "pinned" else "steered",
    )
    return TransportCell(
        dataclasses.replace(attached.network, paths=paths),
        find_policy(policy),
        attached.plan,
        Steering(10_000_000),
        transport,
        messages_of(attached.workload, attached.flow_of_row),
        pin=attached.pin,
        timeout_ns=said["timeout_us"] * 1000,
        seed=seed,
    )


def statistics(fct_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """p50, p95, p99 and mean."""
    return np.array([*np.quantile(fct_ns, SHARES), fct_ns.mean()])


def main() -> None:
    """Print a line for each scenario, then the distribution of errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="scenarios whose name contains it")
    chosen = parser.parse_args()
    errors, seconds, theirs = [], 0.0, 0.0
    for folder in sorted(path.parent for path in chosen.out.glob("*/scenario.json")):
        if chosen.only not in folder.name:
            continue
        said = json.loads((folder / "scenario.json").read_text())
        ours: list[NDArray[np.float64]] = []
        reference: list[float] = []
        for results in sorted(folder.glob("seed*/results.csv")):
            seed = int(results.parent.name.removeprefix("seed"))
            cell = cell_of(said, results.with_name("flows.csv"), seed)
            began = time.process_time()
            for _ in cell.pieces():
                pass
            seconds += time.process_time() - began
            theirs += json.loads(results.with_name("run.json").read_text())["cpu_seconds"]
            done = cell.messages["complete_ns"] >= 0
            ours.append((cell.messages["complete_ns"] - cell.messages["asked_ns"])[done].astype(np.float64))
            reference += [float(row["fct_ns"]) for row in csv.DictReader(results.open()) if row["fct_ns"]]
        mine, other = statistics(np.concatenate(ours)), statistics(np.array(reference))
        error = 100 * (mine / other - 1)
        errors.append(error)
        print(
            f"{folder.name:52} " + " ".join(f"{e:+7.1f}" for e in error) + f"   p99 {other[2] / 1e6:.2f} ms", flush=True
        )
    found = np.abs(np.array(errors))
    for name, column in zip(("p50", "p95", "p99", "mean"), found.T, strict=True):
        within = np.quantile(column, (0.5, 0.9, 1.0))
        print(
            f"|{name} error|: median {within[0]:.1f} %, nine of ten within {within[1]:.1f} %, worst {within[2]:.1f} %"
        )
    print(f"processor seconds: {seconds:.1f} here, {theirs:.1f} ns-3: {theirs / seconds:.0f} times")


if __name__ == "__main__":
    main()
