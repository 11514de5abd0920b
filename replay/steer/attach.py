"""A host that is steered: the program at its interface, for as long as this process holds it.

The links of tcx belong to file descriptors: whatever ends the process, Ctrl-C or `kill -9`, takes the program off the
interface, and packets go on as the routes say. Before tcx there was clsact, whose filters stay: a process of their own
takes those off (`guard`).
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.replay.steer import clsact
from segcast.replay.steer.bpf import TCX_EGRESS, TCX_INGRESS, attach_tcx, pin
from segcast.replay.steer.flowlets import Log
from segcast.replay.steer.guard import Guard
from segcast.replay.steer.layout import TALLY
from segcast.replay.steer.plan import SteerPlan
from segcast.replay.steer.program import Program, Room
from segcast.replay.steer.surroundings import (
    interface_number,
    own_filters,
    refusals,
    why_no_bpf,
    why_no_clsact,
    why_no_tcx,
)
from segcast.replay.steer.tables import Rules, install, turn_to
from segcast.traces.errors import InputError

BPF_FILES: Final = Path("/sys/fs/bpf")
_HOOKS: Final = (("ingress", TCX_INGRESS), ("egress", TCX_EGRESS))

By = Literal["auto", "tcx", "clsact"]
"""How programs are attached; `auto`: by tcx, or where the kernel has none by clsact."""


class Steered:
    """A steered interface. Made in the namespace of the interface; used, and closed, anywhere.

    Raises InputError if nothing may be attached there, or the kernel refuses.
    """

    def __init__(
        self,
        interface: str,
        plan: SteerPlan,
        rules: Rules,
        *,
        allow_default_route: bool = False,
        checks: bool = True,
        room: Room | None = None,
        by: By = "auto",
    ) -> None:
        """Load the program, tell it the plan, and attach it; ingress first, so that nothing sent goes unanswered."""
        self.plan = plan
        self.interface = interface
        self._number, self._space = interface_number(interface), _space()
        if checks:
            against = refusals(interface, plan.targets, plan.most_header_bytes, allow_default_route=allow_default_route)
            if against:
                raise InputError("; ".join(against))
        self.links: dict[str, int] = {}
        self.guard: Guard | None = None
        try:
            self.program = Program(room or plan.tables.room())
        except OSError as error:
            raise InputError(why_no_bpf(error)) from None
        try:
            install(self.program, plan.tables, rules)
            self.log = Log(self.program, rules)
            if by == "clsact" or not self._attached_by_tcx(or_not=by == "auto"):
                self._attach_by_clsact()
        except BaseException:
            self.close()
            raise

    @property
    def by(self) -> By:
        """How it is attached."""
        return "tcx" if self.guard is None else "clsact"

    def _attached_by_tcx(self, *, or_not: bool) -> bool:
        """Attach by tcx; False if the kernel has none, and `or_not`."""
        for name, hook in _HOOKS:
            try:
                self.links[name] = attach_tcx(self.program.entries[name], self._number, hook)
            except OSError as error:
                if or_not and not self.links and error.errno == errno.EINVAL:
                    return False
                raise InputError(f"{self.interface}: {why_no_tcx(error)}") from None
        return True

    def _attach_by_clsact(self) -> None:
        try:
            self.guard = Guard(self._number)
            for name, _ in _HOOKS:
                clsact.add_filter(self._number, name, self.program.entries[name], f"segcast_{name}")
        except OSError as error:
            raise InputError(f"{self.interface}: {why_no_clsact(error)}") from None

    def turn_to(self, rules: Rules) -> None:
        """Steer by other rules from now on. Flows keep their paths until their next flowlets."""
        turn_to(self.program, self.plan.tables, rules)
        self.log.turned(rules)

    def tally(self) -> dict[str, int]:
        """What was done with packets so far, by the names of TALLY."""
        row = self.program.state["tally"]
        return {name: int(row[name]) for name in TALLY.names or ()}

    def inflight_bytes(self) -> NDArray[np.int64]:
        """The counters, int64, as they are after everything has timed out that is due."""
        self.program.sweep()
        return np.array(self.program.tables["counters"]["inflight_bytes"][: self.plan.tables.counters])

    def sent_bytes(self) -> dict[int, int]:
        """Bytes of frames sent on each path, by its number."""
        found = dict.fromkeys(self.plan.paths, 0)
        counters = self.program.tables["counters"]["sent_bytes"]
        seen: set[int] = set()
        for pair in self.plan.tables.pairs:
            for slot in range(len(pair.ways)):
                if pair.first_counter + slot not in seen:
                    seen.add(pair.first_counter + slot)
                    found[pair.first_path + slot] += int(counters[pair.first_counter + slot])
        return found

    def flowlets(self) -> pa.Table:
        """The flowlets that have ended so far, and those that go on as they are now: STEERED_FLOWLETS."""
        return self.log.table()

    def wait(self, until: float | None, every_s: float = 0.05) -> None:
        """Read the log, and take off the counters what times out, until the monotonic time `until`; None: for ever.

        Raises InputError if the process that takes filters of clsact off again is gone: nobody would.
        """
        while until is None or time.monotonic() < until:
            if self.guard is not None and not self.guard.alive:
                raise InputError(f"{self.interface}: who takes the filters off again was ended; detached")
            self.log.drain()
            self.program.sweep()
            time.sleep(every_s if until is None else min(every_s, max(0.0, until - time.monotonic())))
        self.log.drain()

    def pin(self) -> Path:
        """Leave it attached when this process ends; what a later `detach` removes. Returns where it is pinned."""
        folder = pin_folder(self.interface)
        try:
            folder.mkdir(parents=True)
            for name, link in self.links.items():
                pin(link, str(folder / name))
            # The places where programs go on are emptied with the last handle of their map.
            pin(self.program.maps["entries"], str(folder / "entries"))
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be pinned to ({error.strerror}); mount -t bpf bpf {BPF_FILES}"
            ) from None
        if self.guard is not None:
            self.guard.leave()
            self.guard = None
        return folder

    def close(self) -> None:
        """Detach: from now on packets go as the routes say."""
        for name, _ in reversed(_HOOKS):
            if name in self.links:
                os.close(self.links.pop(name))
        if self.guard is not None:
            guard, self.guard = self.guard, None
            # Without it: what is left does nothing, as its programs end with this process's maps.
            if not guard.take_off() and _space() == self._space:
                clsact.remove(self._number, own_filters(self._number))
        self.program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pin_folder(interface: str) -> Path:
    """Where what is attached to an interface of this namespace is pinned."""
    return BPF_FILES / "segcast" / f"{_space()}-{interface}"


def _space() -> int:
    """The namespace that the calling thread is in."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def unpin(interface: str) -> bool:
    """Detach what was pinned; whether anything was."""
    folder = pin_folder(interface)
    if not folder.is_dir():
        return False
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    return True
