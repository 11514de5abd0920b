"""Real TCP beside the closed loop: `python -m benchmarks.real_tcp [--out FOLDER]`, as root.

Flow lists, one for each seed, are sent by the kernel's own senders through a leaf-spine of four shaped paths between
network namespaces, along the paths that hosts choose by hash (host-ecmp, over SRv6) or the network does (ecmp), and
`segcast forecast` runs the same lists. A table for each policy has completion times of both, and their ratio with its
interval over seeds. What was measured stays in FOLDER and is not measured again; docs/live.md says what came out.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.forecast.compare import interval
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.workload.reading import read_workload
from segcast.replay.live.plan import POLICIES
from segcast.replay.live.run import run_live, summary_of
from segcast.replay.live.sockets import Options
from segcast.replay.testbed.bed import down, up
from segcast.traces.errors import InputError

NAME: Final = "sgrealtcp"
CONTROLS: Final = {"cubic": "cubic", "reno": "newreno"}
HYSTART: Final = Path("/sys/module/tcp_cubic/parameters/hystart")
SHARES: Final = (0.5, 0.9, 0.95, 0.99)

# Linux sends 12 bytes of time stamps with each segment. A path takes 40 us there and back where nothing queues.
SCENARIO: Final = """\
policies = ["ecmp", "host-ecmp"]
seeds = [SEEDS]
packets = "none"

[network]
kind = "leaf-spine"
leaves = 2
spines = 4
hosts_per_leaf = 4
links = { rate = "RATE", delay = "10us", buffer = "BUFFER", overhead = "0B", burst = "10kB" }

[transport]
control = "CONTROL"
mss = "1448B"
header = "52B"
"""


def segcast(*arguments: str | Path) -> None:
    """Run a command of the product. Raises SystemExit with what it said if it fails."""
    command = [sys.executable, "-m", "segcast", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(ran.stderr or ran.stdout)


def hystart() -> str:
    """Whether the kernel's CUBIC leaves slow start when delays grow: a setting of the whole machine, only read here."""
    try:
        return "off" if HYSTART.read_text().strip() == "0" else "on"
    except OSError:
        return "unknown"


class Study:
    """Lists, what was measured of them, and their forecasts, in a folder."""

    def __init__(self, folder: Path, chosen: argparse.Namespace) -> None:
        self.folder, self.chosen = folder, chosen

    def scenario(self, seeds: Sequence[int], name: str) -> Path:
        """The scenario with those seeds, as a file."""
        text = SCENARIO.replace("RATE", self.chosen.rate).replace("BUFFER", self.chosen.buffer)
        text = text.replace("CONTROL", CONTROLS[self.chosen.control]).replace("SEEDS", ", ".join(map(str, seeds)))
        file = self.folder / f"{name}.toml"
        file.write_text(text + "".join(f"{each}\n" for each in self.chosen.transport))
        return file

    def flow_list(self, seed: int) -> Path:
        """The list of a seed, made unless it is there."""
        file = self.folder / f"flows-{seed}.csv"
        if not file.exists():
            chosen = self.chosen
            flags = ["--pattern", "left-right", "--mss", "1448", "--seed", str(seed), "--out", file]
            flags += ["--load", str(chosen.load), "--flows", str(chosen.flows), "--scenario", self.scenario([1], "bed")]
            segcast("synth", "fixed", "--bytes", chosen.bytes, *flags)
        return file

    def measured(self, policy: str, seed: int) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Completion times in ms and the summary of real TCP, measured unless they are there."""
        table, summary = (self.folder / f"measured-{policy}-{seed}.{kind}" for kind in ("parquet", "json"))
        if not summary.exists():
            scenario = read_scenario(self.scenario([1], "bed"))
            up(scenario, NAME)
            run = run_live(
                read_workload(self.flow_list(seed)),
                scenario,
                policy=policy,
                seed=seed,
                name=NAME,
                options=Options(self.chosen.control),
                super_frames=self.chosen.super_frames,
                settings=dict(each.split("=", 1) for each in self.chosen.sysctl),
            )
            pq.write_table(run.flows, table)
            summary.write_text(json.dumps(summary_of(run) | {"hystart": hystart()}, indent=1))
        return times_ms(pl.from_arrow(pq.read_table(table))), json.loads(summary.read_text())

    def forecast(self, seed: int) -> dict[str, tuple[NDArray[np.float64], dict[str, float]]]:
        """By policy completion times in ms of the list's forecast, and the mean of counts over its cells.

        host-ecmp chooses as the measured hosts did; of ecmp there are several draws of the network's hash.
        """
        draws = sorted({*range(1, self.chosen.draws + 1), seed})
        folder = self.folder / f"forecast-{seed}"
        segcast("forecast", self.flow_list(seed), "--scenario", self.scenario(draws, f"cells-{seed}"), "--out", folder)
        messages, summary = (pl.read_parquet(folder / f"{name}.parquet") for name in ("messages", "summary"))
        found = {}
        for policy in POLICIES:
            mine = pl.col("policy") == policy
            mine = mine & (pl.col("seed") == seed) if policy == "host-ecmp" else mine
            cells = summary.filter(mine)
            names = ("retransmissions", "needless", "timeouts", "syn_retransmissions", "dropped", "unfinished")
            counts = {name: float(cells[name].mean() or 0) for name in names if name in cells.columns}  # type: ignore[arg-type]
            found[policy] = times_ms(messages.filter(mine)), counts
        return found


def times_ms(flows: Any) -> NDArray[np.float64]:
    """Completion times of flows that finished."""
    found: NDArray[np.float64] = flows["fct_ns"].drop_nulls().to_numpy() / 1e6
    return found


def said(measured: Sequence[float], forecast: Sequence[float]) -> str:
    """How much more the forecast says than was measured, in per cent, over seeds."""
    found = interval([math.log(b / a) for a, b in zip(measured, forecast, strict=True)])
    text = f"{100 * math.expm1(found.mean):+.1f} %"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({100 * math.expm1(found.low):+.1f} to {100 * math.expm1(found.high):+.1f})"


def rows(measured: list[NDArray[np.float64]], forecast: list[NDArray[np.float64]]) -> Iterator[str]:
    """A row of the table for each quantile, and for the mean: of all seeds' flows together, and ratios seed by seed."""
    everything = np.concatenate(measured), np.concatenate(forecast)
    kinds = [(f"p{100 * share:g}", lambda times, share=share: float(np.quantile(times, share))) for share in SHARES]
    for name, of in (*kinds, ("mean", lambda times: float(times.mean()))):
        ratio = said([of(each) for each in measured], [of(each) for each in forecast])
        yield f"| {name} | {of(everything[0]):.1f} | {of(everything[1]):.1f} | {ratio} |"


def report(study: Study) -> Iterator[str]:
    """What came out, as lines."""
    chosen = study.chosen
    seeds = range(1, chosen.seeds + 1)
    measured: dict[str, list[tuple[NDArray[np.float64], dict[str, Any]]]] = {policy: [] for policy in chosen.policies}
    for seed in seeds:
        # One after the other, and not always in the same order: what else the machine does concerns all alike.
        for policy in chosen.policies if seed % 2 else chosen.policies[::-1]:
            measured[policy].append(study.measured(policy, seed))
    down(NAME)
    forecasts = [study.forecast(seed) for seed in seeds]
    slow_start = {str(summary["hystart"]) for found in measured.values() for _, summary in found}
    yield (
        f"{chosen.control}, {chosen.bytes} flows at load {chosen.load:g}, {chosen.flows} a seed, {chosen.seeds} seeds; "
        f"links of {chosen.rate} with {chosen.buffer}; {'super-frames' if chosen.super_frames else 'single segments'}; "
        f"HyStart {' and '.join(sorted(slow_start))}; {' '.join([*chosen.sysctl, *chosen.transport])}"
    )
    for policy, found in measured.items():
        yield f"\n{policy}\n\n| FCT, ms | measured | forecast | forecast over measured |\n|---|--:|--:|---|"
        yield from rows([times for times, _ in found], [each[policy][0] for each in forecasts])
        flows = sum(summary["flows"] for _, summary in found)
        yield "\n| per 100 flows | measured | forecast |\n|---|--:|--:|"
        for name, mine, theirs in (
            ("packets dropped", "dropped", "dropped"),
            ("segments sent again", "retransmissions", "retransmissions"),
            ("timeouts", "rto", "timeouts"),
            ("SYNs sent again", "syn_retransmissions", "syn_retransmissions"),
            ("unfinished", "unfinished", "unfinished"),
        ):
            real = 100 * sum(summary[mine] for _, summary in found) / flows
            other = 100 * sum(each[policy][1].get(theirs, 0) for each in forecasts) / flows
            yield f"| {name} | {real:.1f} | {other:.1f} |"
        late = max(summary["late_max_ns"] for _, summary in found) / 1e6
        tcp = {
            name: sum(summary["counts"]["tcp"].get(name, 0) for _, summary in found)
            for name in (
                "TCPHystartTrainDetect",
                "TCPHystartDelayDetect",
                "TCPLossProbes",
                "TCPTimeouts",
                "TCPDSACKRecv",
            )
        }
        yield f"\nstarts at most {late:.2f} ms late; the kernel counts {tcp}"


def main() -> None:
    """Measure, forecast, print; the testbed is removed whatever happens, and at the next start if this was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for lists, measurements and forecasts [a temporary one]")
    parser.add_argument("--seeds", type=int, default=5, help="lists, each with arrivals and paths of its own [5]")
    parser.add_argument("--flows", type=int, default=300, help="of each list [300]")
    parser.add_argument("--bytes", default="1MB", help="of each flow [1MB]")
    parser.add_argument("--load", type=float, default=0.6, help="of the four paths together [0.6]")
    parser.add_argument("--rate", default="50Mbps", help="of each link [50Mbps]")
    parser.add_argument("--buffer", default="150kB", help="before each link [150kB]")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--control", choices=CONTROLS, default="cubic", help="of the kernel's senders [cubic]")
    parser.add_argument("--super-frames", action="store_true", help="let TCP hand down several segments at once")
    parser.add_argument("--draws", type=int, default=10, help="of the network's hash, forecast for ecmp [10]")
    parser.add_argument("--sysctl", nargs="*", default=[], help="of hosts, such as ipv4/tcp_sack=0")
    parser.add_argument(
        "--transport", nargs="*", default=[], help="more of the forecast's [transport], such as 'tso = \"7240B\"'"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            down(NAME)  # what a run left that was killed
            try:
                lines = []
                for line in report(Study(folder, chosen)):
                    print(line, flush=True)
                    lines.append(line)
                (folder / "report.md").write_text("\n".join(lines) + "\n")
            finally:
                down(NAME)
        except InputError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
