"""Fuzzes the reader and the decoders: `python -m tests.fuzz --help`.

This process watches another, which fuzzes: it ends one that hangs, keeps the input of one that dies, and goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_POLL_S: Final = 0.2
_WARM_UP_S: Final = 900  # kernels may have to be compiled
_MOST_DEATHS: Final = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="stop after as many (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after as long, warm-up aside")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: %(default)s)")
    parser.add_argument(
        "--deadline", type=float, default=10.0, help="longest time of an input in s (default: %(default)s)"
    )
    parser.add_argument("--generated", type=int, default=150, help="captures made as seeds (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/fuzz"), help="corpus, findings, figures (default: %(default)s)"
    )
    parser.add_argument("--bundled", action="store_true", help="use no captures but those that come with Segcast")
    parser.add_argument(
        "--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs alone, with every check"
    )
    parser.add_argument("--plant", type=Path, help="JSON: module to [text, instead]: faults that must be found")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.replay:
        return replay(chosen.replay, chosen.generated)
    if chosen.worker:
        work(chosen)
        return 0
    return watch(chosen)


def work(chosen: argparse.Namespace) -> None:
    """Fuzz, in this process."""
    from tests.fuzz.instrument import Instrument

    instrument = Instrument(json.loads(chosen.plant.read_text()) if chosen.plant else None)
    from tests.fuzz.seeds import FOLDER, seeds
    from tests.fuzz.worker import Worker

    worker = Worker(instrument, chosen.worker, chosen.out, chosen.seed)
    worker.warm_up(seeds(chosen.generated, None if chosen.bundled else FOLDER), chosen.out / "corpus")
    (chosen.worker / "warm").touch()
    worker.run(chosen.inputs, chosen.seconds)


def replay(paths: list[Path], generated: int) -> int:
    """Run inputs with every check; the first that breaks a rule shows its traceback.

    Seeds go first, so that memory taken by compiling kernels is not put down to an input.
    """
    from tests.fuzz.instrument import Instrument

    Instrument()
    from tests.fuzz.drive import plan_of
    from tests.fuzz.rules import Driver
    from tests.fuzz.seeds import seeds

    folder = memory_folder()
    try:
        for number, data in enumerate(seeds(generated, None)):
            Driver(folder).examine(data, plan_of(data).thorough(ingested=number % 32 == 0))
        driver = Driver(folder)
        for path in paths:
            data = path.read_bytes()
            plan = plan_of(data)
            driver.examine(data, plan)
            print(path, driver.examine(data, plan.thorough(ingested=True))[:4])
    finally:
        shutil.rmtree(folder)
    return 0


def watch(chosen: argparse.Namespace) -> int:
    """Start workers until the inputs are done; what was found goes to the terminal."""
    for name in ("corpus", "findings"):
        (chosen.out / name).mkdir(parents=True, exist_ok=True)
    folder = memory_folder()
    totals: dict[str, Any] = {"inputs": 0, "seconds": 0.0}
    findings: dict[str, int] = {}
    deaths = 0
    try:
        while deaths < _MOST_DEATHS:
            (chosen.out / "figures.json").unlink(missing_ok=True)
            died = run_worker(chosen, folder, totals, deaths)
            figures = _figures(chosen.out)
            for name, count in figures.get("findings", {}).items():
                findings[name] = findings.get(name, 0) + count
            inputs, seconds = (totals[key] + figures.get(key, 0) for key in ("inputs", "seconds"))
            totals = totals | figures | {"inputs": inputs, "seconds": round(seconds, 1)}
            if not died:
                break
            deaths += 1
            findings[died] = findings.get(died, 0) + 1
            _keep_input(chosen.out, folder, died, deaths)
            if not (folder / "warm").exists():
                break  # the next would die of the same seed
    finally:
        shutil.rmtree(folder)
    totals |= {"findings": findings, "inputs_per_s": round(totals["inputs"] / max(totals["seconds"], 1e-9))}
    (chosen.out / "figures.json").write_text(json.dumps(totals, indent=2) + "\n")
    print(json.dumps(totals, indent=2))
    if findings:
        print(f"{len(findings)} findings in {chosen.out / 'findings'}", file=sys.stderr)
    return 1 if findings else 0


def run_worker(chosen: argparse.Namespace, folder: Path, totals: dict[str, Any], deaths: int) -> str:
    """One worker to its end; how it died, if it did not come to its own."""
    (folder / "warm").unlink(missing_ok=True)
    rest = {
        "--inputs": chosen.inputs - totals["inputs"],
        "--seconds": chosen.seconds - totals["seconds"],
        "--seed": chosen.seed + deaths,
        "--generated": chosen.generated,
        "--out": chosen.out,
        "--worker": folder,
    }
    command = [sys.executable, "-m", "tests.fuzz", *(str(word) for item in rest.items() for word in item)]
    command += ["--bundled"] if chosen.bundled else []
    command += ["--plant", str(chosen.plant)] if chosen.plant else []
    # Of huge pages a first touch clears 2 MiB, which would take most of the time of an input.
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0", "PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"}
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr)
        patience = Patience(process.pid, folder)
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                longest = chosen.deadline if (folder / "warm").exists() else _WARM_UP_S
                if patience.exceeded(longest):
                    return f"hang: an input took longer than {longest:g} s"
        finally:  # a hang, or an interruption
            process.kill()
            process.wait()
    if process.returncode == 0:
        return ""
    code = process.returncode
    return f"died: {'signal' if code < 0 else 'exit status'} {abs(code)}"


class Patience:
    """How long a worker's input may take: in the worker's own processor time, since others may keep cores busy."""

    def __init__(self, pid: int, folder: Path) -> None:
        """Watch the process `pid`, whose input lies in `folder`."""
        self._stat, self._input = Path(f"/proc/{pid}/stat"), folder / "current"
        self._began: tuple[int, float, float] | None = None

    def exceeded(self, longest_s: float) -> bool:
        """Whether the input has had `longest_s` of processor time, or ten times as long while the worker waits."""
        try:
            number, spent_s = self._input.stat().st_mtime_ns if self._input.exists() else 0, self._spent_s()
        except (FileNotFoundError, ProcessLookupError):
            return False
        now_s = time.monotonic()
        if self._began is None or self._began[0] != number:
            self._began = number, spent_s, now_s
        return spent_s - self._began[1] > longest_s or now_s - self._began[2] > 10 * longest_s

    def _spent_s(self) -> float:
        user, system = self._stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _keep_input(out: Path, folder: Path, died: str, number: int) -> None:
    """Save what the worker that died had been given."""
    path = out / "findings" / f"{died.split(':')[0]}-{os.getpid()}-{number}"
    current = folder / "current"
    path.write_bytes(current.read_bytes() if current.exists() else b"")
    stderr = (folder / "stderr").read_text(errors="replace")
    path.with_name(f"{path.name}.txt").write_text(f"{died}\npython -m tests.fuzz --replay {path}\n\n{stderr}\n")
    print(f"{died}\n{stderr[-4000:]}", file=sys.stderr)


def _figures(out: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((out / "figures.json").read_text()))
    except FileNotFoundError:
        return {}


def memory_folder() -> Path:
    """A folder of its own, in memory where the system has such."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="segcast-fuzz-", dir=shared if shared.is_dir() else None))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the worker must not outlive it
    sys.exit(main())
