"""The process that fuzzes: mutates, drives, keeps what is new, and saves what breaks a rule."""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.fuzz.drive import BrokenRuleError, Plan, plan_of
from tests.fuzz.instrument import Instrument, take_novelty
from tests.fuzz.mutate import Mutator
from tests.fuzz.records import join, split
from tests.fuzz.rules import MOST_GROWTH_BYTES, Driver

_MOST_FINDINGS: Final = 20
_MINIMISING_S: Final = 2
_EVERY: Final = 256


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def signature(error: BaseException) -> str:
    """What findings of one cause share: the exception and where it was raised, or the rule."""
    if isinstance(error, BrokenRuleError):
        return "rule: " + str(error).split(":")[0]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} {frame.name}"


class Worker:
    """Fuzzes until a number of inputs or a time is reached."""

    def __init__(self, instrument: Instrument, folder: Path, out: Path, seed: int) -> None:
        """`folder` holds what is shared with the process that watches; findings and corpus go to `out`."""
        self._instrument = instrument
        self._driver = Driver(folder)
        self._out = out
        self._random = random.Random(seed)
        self._seen = np.zeros(len(instrument.counters), np.uint8)
        self._corpus: list[bytes] = []
        self._weights: list[float] = []
        self._mutator = Mutator(seed, lambda: self._random.choice(self._corpus))
        self.findings: dict[str, int] = {}
        self.inputs = 0
        self._held_back = 0
        threading.excepthook = self._thread_died

    def _thread_died(self, arguments: threading.ExceptHookArgs) -> None:
        """The reading thread must never raise: the reader would wait for ever."""
        traceback.print_exception(arguments.exc_value)
        os._exit(70)

    def warm_up(self, first: Iterable[bytes], corpus: Path) -> None:
        """Run the seeds and the corpus so far with every check, so that kernels are compiled before the clock runs."""
        stored = [path.read_bytes() for path in sorted(corpus.glob("*"))] if corpus.is_dir() else []
        for data in (*first, *stored):
            self._one(data, plan_of(data).thorough(ingested=self.inputs % 32 == 0), keep=True)

    def run(self, inputs: int, seconds: float) -> dict[str, Any]:
        """Fuzz; the figures."""
        gc.freeze()  # what compiled kernels hold is not looked through again and again
        began, first = time.monotonic(), self.inputs
        memory, grown = resident_bytes(), 0
        self._held_back = 0  # by Polars and Arrow after a trace was described: allocators, not leaks
        while self.inputs - first < inputs and time.monotonic() - began < seconds:
            for _ in range(min(_EVERY, inputs + first - self.inputs)):
                data = self._mutator.mutate(self._chosen())
                self._one(data, plan_of(data), keep=False)
            grown = max(grown, resident_bytes() - memory - self._held_back)
            self._tell(began, first, grown)
            if grown > MOST_GROWTH_BYTES:
                self._save(b"", "memory", f"grew by {grown >> 20} MiB over {self.inputs - first} inputs")
                break
            if len(self.findings) >= _MOST_FINDINGS:
                break
        return self._tell(began, first, grown)

    def _tell(self, began: float, first: int, grown: int) -> dict[str, Any]:
        elapsed = max(time.monotonic() - began, 1e-9)
        missed = np.flatnonzero(self._seen[: self._instrument.points] == 0)
        figures = {
            "inputs": self.inputs - first,
            "seconds": round(elapsed, 1),
            "inputs_per_s": round((self.inputs - first) / elapsed),
            "corpus": len(self._corpus),
            "points_reached": int(np.count_nonzero(self._seen)),
            "points": self._instrument.points,
            "memory_grown_bytes": grown,
            "missed": sorted({self._instrument.places[point] for point in missed}),
            "findings": self.findings,
        }
        (self._out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        return figures

    def _chosen(self) -> bytes:
        """An input of the corpus: half the time one of the latest, small ones rather than large."""
        r, corpus = self._random, self._corpus
        if r.random() < 0.5:
            return corpus[-1 - int(len(corpus) * r.random() ** 3)]
        return min(r.choices(corpus, k=3), key=len)

    def _one(self, data: bytes, plan: Plan, *, keep: bool) -> None:
        self.inputs += 1
        counters = self._instrument.counters
        error = self._attempt(data, plan)
        fresh = take_novelty(counters, self._seen)
        if error is not None:
            self._found(data, error)
        elif fresh or keep:
            self._corpus.append(data)
            if not keep:
                name = f"{self.inputs:09}"
                (self._out / "corpus" / name).write_bytes(data)
                error = self._attempt(data, plan.thorough())
                counters[:] = 0
                if error is not None:
                    self._found(data, error)

    def _attempt(self, data: bytes, plan: Plan) -> BaseException | None:
        before = resident_bytes() if plan.ingested else 0
        try:
            self._driver.examine(data, plan)
        except Exception as error:
            return error
        finally:
            if before:
                self._held_back += resident_bytes() - before
        return None

    def _found(self, data: bytes, error: BaseException) -> None:
        name = signature(error)
        self.findings[name] = self.findings.get(name, 0) + 1
        if self.findings[name] > 1:
            return
        text = "".join(traceback.format_exception(error))
        self._save(data, name, text)
        small = minimised(data, lambda d: self._fails_as(d, name))
        if len(small) < len(data):
            self._save(small, name, text, ".small")

    def _fails_as(self, data: bytes, name: str) -> bool:
        error = self._attempt(data, plan_of(data).thorough())
        return error is not None and signature(error) == name

    def _save(self, data: bytes, name: str, text: str, suffix: str = "") -> None:
        stem = "".join(c if c.isalnum() else "-" for c in name)[:80] + suffix
        path = self._out / "findings" / stem
        path.write_bytes(data)
        path.with_name(f"{stem}.txt").write_text(f"{name}\npython -m tests.fuzz --replay {path}\n\n{text}\n")


def minimised(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A smaller input that fails alike, if a while of leaving out records, then bytes, finds one."""
    until = time.monotonic() + _MINIMISING_S
    capture = split(data)
    if capture is not None:
        parts = _fewer(list(capture.records), lambda kept: fails(join(capture._replace(records=kept))), until)
        shorter = join(capture._replace(records=parts))
        if len(shorter) < len(data) and fails(shorter):
            data = shorter
    return bytes(_fewer(list(data), lambda kept: fails(bytes(kept)), until))


def _fewer(items: list[Any], fails: Callable[[list[Any]], bool], until: float) -> list[Any]:
    size = len(items) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(items) and time.monotonic() < until:
            kept = items[:at] + items[at + size :]
            if fails(kept):
                items = kept
            else:
                at += size
        size //= 2
    return items
