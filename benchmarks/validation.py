"""Forecasts against a network in namespaces: `python -m benchmarks.validation [--out FOLDER] [--seconds 20]`, as root.

The bundled capture, and a synthetic one of so many seconds, are forecast on a leaf-spine of four shaped paths, sent by
the schedules of three policies, measured and validated with the tolerances of docs/validation.md; then the links are
calibrated by probes. Everything goes through the commands, as a user gives them; they are printed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from segcast.traces.samples import CLUSTER

POLICIES = ("host-ecmp", "random", "inflight")
NAME = "sgbench"

SCENARIO = """\
policies = ["host-ecmp", "random", "inflight"]
timeouts = ["500us"]
seeds = [1]

[network]
kind = "leaf-spine"
leaves = 2
spines = 4
links = { rate = "RATE", delay = "0us", buffer = "BUFFER", overhead = "0B", burst = "10000B" }

[[attachments]]
name = "leaf0"
prefixes = ["10.20.1.0/24", "fd00:20::1:0/112", "192.0.2.0/25"]

[[attachments]]
name = "leaf1"
prefixes = ["0.0.0.0/0", "::/0"]
"""

FIELDS = {
    "s": "<u4",
    "ns": "<u4",
    "kept": "<u4",
    "sent": "<u4",
    "macs": "V12",
    "type": ">u2",
    "version": "u1",
    "tos": "u1",
    "length": ">u2",
    "id": ">u2",
    "flags": ">u2",
    "ttl": "u1",
    "protocol": "u1",
    "checksum": ">u2",
    "src": ">u4",
    "dst": ">u4",
    "sport": ">u2",
    "dport": ">u2",
    "udp_length": ">u2",
    "udp_checksum": ">u2",
    "number": ">u8",
}
RECORD = np.dtype(list(FIELDS.items()))


def synthesise(file: Path, seconds: int, rate_bps: float) -> None:
    """UDP from 16 hosts to 16 others, 200 flows in bursts at Poisson times, at that rate on average."""
    rng = np.random.default_rng(7)
    mean_bytes, burst = 0.5 * 1200 + 0.5 * 200, 6
    bursts = round(seconds * rate_bps / 8 / mean_bytes / burst)
    begins = np.sort(rng.uniform(0, seconds * 1e9, bursts)).astype(np.int64)
    # Within a burst packets follow each other by 60 us on average: what a testbed on two cores can send.
    times = (begins[:, None] + np.cumsum(rng.exponential(60_000, (bursts, burst)), axis=1).astype(np.int64)).ravel()
    flow = np.repeat(rng.integers(0, 200, bursts), burst)
    order = np.argsort(times, kind="stable")
    times, flow = times[order], flow[order]
    rows = np.zeros(len(times), RECORD)
    ip_bytes = rng.choice([1200, 200], len(times))
    rows["s"], rows["ns"] = 1_700_000_000 + times // 10**9, times % 10**9
    rows["kept"], rows["sent"] = RECORD.itemsize - 16, ip_bytes + 14
    rows["type"], rows["version"], rows["length"], rows["ttl"], rows["protocol"] = 0x0800, 0x45, ip_bytes, 64, 17
    rows["id"], rows["number"] = np.arange(len(times)) % 65536, np.arange(len(times))
    rows["src"], rows["dst"] = 0xC0000201 + flow % 16, 0xC0000281 + flow // 16
    rows["sport"], rows["dport"], rows["udp_length"] = 20_000 + flow, 4000, ip_bytes - 20
    head = np.array([0xA1B23C4D, 2 | 4 << 16, 0, 0, 262144, 1], "<u4")
    file.write_bytes(head.tobytes() + rows.tobytes())


def segcast(*arguments: str | Path, code: int = 0) -> str:
    """Run a command, show it, and return what it printed."""
    words = [str(argument) for argument in arguments]
    print("$ segcast", shlex.join(words), flush=True)
    ran = subprocess.run([sys.executable, "-m", "segcast", *words], capture_output=True, text=True, check=False)
    if ran.returncode not in (0, code):
        raise SystemExit(ran.stderr or ran.stdout)
    return ran.stdout


def validate(capture: Path, scenario: Path, folder: Path) -> dict[str, Any]:
    """One trace, from its capture to the document of its validation."""
    folder.mkdir(parents=True, exist_ok=True)
    forecast = folder / "forecast"
    segcast("forecast", capture, "--scenario", scenario, "--out", forecast)
    segcast("testbed", "up", forecast, "--name", NAME)
    try:
        for policy in POLICIES:
            flags = ["--policy", policy, "--sender", "absolute", "--name", NAME]
            segcast("testbed", "run", forecast, *flags, "--out", folder / f"run-{policy}")
            segcast("measure", folder / f"run-{policy}", "--out", folder / f"measured-{policy}")
    finally:
        segcast("testbed", "down", "--name", NAME)
    measured = [folder / f"measured-{policy}" for policy in POLICIES]
    document = segcast("validate", forecast, *measured, "--out", folder / "validation", "--json", code=1)
    found: dict[str, Any] = json.loads(document)
    return found


def calibrate(scenario: Path, folder: Path) -> None:
    """Probe the links of a scenario, and print the least and most that was found of any path."""
    folder.mkdir(parents=True, exist_ok=True)
    segcast("testbed", "up", scenario, "--name", NAME)
    try:
        segcast("calibrate", "probes", "--scenario", scenario, "--out", folder / "probes")
        inventory = f"/run/segcast/{NAME}/inventory.toml"
        sending = ["--sender", "absolute", "--out", folder / "run", "--send"]
        segcast("replay", folder / "probes", "--inventory", inventory, *sending)
    finally:
        segcast("testbed", "down", "--name", NAME)
    found = segcast("calibrate", folder / "run", "--scenario", scenario, "--out", folder / "calibrated.toml", "--json")
    paths = json.loads(found)["paths"]
    for what in ("rate_bps", "buffer_bytes", "burst_bytes", "overhead_bytes", "base_delay_ns"):
        values = [path[what]["value"] for path in paths]
        print(f"{what:15} {min(values):>14,.0f} to {max(values):,.0f} on {len(paths)} paths")


def main() -> None:
    """Both traces and the calibration, and what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for everything that is made [a temporary one]")
    parser.add_argument("--seconds", type=int, default=20, help="of the synthetic trace [20]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        synthetic = folder / "synthetic.pcap"
        synthesise(synthetic, arguments.seconds, 0.6 * 4 * 50e6)
        for name, capture, rate, buffer in (
            ("bundled", Path(CLUSTER), "200Mbps", "512KiB"),
            ("synthetic", synthetic, "50Mbps", "64KiB"),
        ):
            scenario = folder / f"{name}.toml"
            scenario.write_text(SCENARIO.replace("RATE", rate).replace("BUFFER", buffer))
            document = validate(capture, scenario, folder / name)
            print(json.dumps({key: document[key] for key in document if key not in ("comparisons",)}, indent=1)[:4000])
        calibrate(folder / "synthetic.toml", folder / "calibration")


if __name__ == "__main__":
    main()
