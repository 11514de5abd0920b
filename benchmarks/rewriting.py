"""Rewriting beside `tcprewrite`, which changes a MAC address of the same capture: seconds of the clock and of
processors, their ratios, peak memory.

`python -m benchmarks.rewriting [--size BYTES]` makes whole frames of that many bytes (2 GB), ingests and forecasts
them, and then runs each in a process of its own, one after the other, on files that are in the page cache: MAC
addresses alone, as for a policy that does not steer; then SRv6 around each packet.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import Ran, run
from benchmarks.synthesis import MIXES, write

SEGCAST: Final = (sys.executable, "-m", "segcast")
RUNS: Final = 2


def table(size: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each program and job, the best of some runs; the first is tcprewrite's, if it is there."""
    capture, forecast = folder / "in.pcap", folder / "f"
    write(capture, MIXES["frames"], size=size)
    trace = folder / "in.trace"
    run([*SEGCAST, "ingest", capture, "--out", trace])
    network = ("--paths", "4x100Gbps", "--policy", "ecmp,inflight", "--seeds", "1", "--packets", "all")
    run([*SEGCAST, "forecast", trace, *network, "--out", forecast])
    rows: list[dict[str, Any]] = []
    peer = shutil.which("tcprewrite")
    if peer is not None:
        changing = [peer, "--enet-smac=02:00:00:00:00:01", "-i", capture, "-o", folder / "out.pcap"]
        rows.append(_row("tcprewrite --enet-smac", changing, folder / "out.pcap"))
    interfaces = folder / "interfaces.toml"
    interfaces.write_text('[interfaces.eth0]\nprefixes = ["0.0.0.0/0"]\n')
    one = ("--interfaces", interfaces)
    jobs: tuple[tuple[str, tuple[str | Path, ...]], ...] = (
        ("segcast rewrite, MAC addresses alone", ("--policy", "ecmp", *one)),
        ("segcast rewrite, H.Encaps", ("--policy", "inflight", *one)),
        (
            "segcast rewrite, H.Encaps, addresses mapped",
            ("--policy", "inflight", *one, "--map", "10.0.0.0/8=11.0.0.0/8"),
        ),
        ("segcast rewrite, H.Encaps, a file per host", ("--policy", "inflight")),
    )
    for job, flags in jobs:
        command = [*SEGCAST, "rewrite", forecast, *flags, "--out", folder / "out", "--json"]
        rows.append(_row(job, command, folder / "out"))
    if peer is not None:
        for row in rows:
            row["of_tcprewrite"] = row["seconds"] / rows[0]["seconds"]
            row["cpu_of_tcprewrite"] = row["cpu_seconds"] / rows[0]["cpu_seconds"]
    return rows


def _row(job: str, command: list[str | Path], out: Path) -> dict[str, Any]:
    runs: list[tuple[Ran, float]] = []
    for _ in range(RUNS):
        before = _children_cpu_seconds()
        ran = run(command)
        runs.append((ran, _children_cpu_seconds() - before))
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink()
    row: dict[str, Any] = {"job": job, "seconds": min(ran.seconds for ran, _ in runs)}
    row["cpu_seconds"] = min(cpu for _, cpu in runs)
    row["peak_bytes"] = max(ran.peak_bytes for ran, _ in runs)
    if runs[0][0].out.startswith("{"):
        row["packets"] = json.loads(runs[0][0].out)["packets"]
    return row


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; `arguments` instead of the command line's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=2_000_000_000)
    parser.add_argument("--scratch", type=Path, help="where to write, instead of the temporary folder")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as name:
        for row in table(chosen.size, Path(name)):
            line = f"{row['job']:45} {row['seconds']:7.2f} s, {row['cpu_seconds']:6.2f} s of processors"
            line += f", {row['peak_bytes'] / 1e6:5.0f} MB"
            if "of_tcprewrite" in row:
                line += f"; of tcprewrite {row['of_tcprewrite']:.2f}, {row['cpu_of_tcprewrite']:.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
