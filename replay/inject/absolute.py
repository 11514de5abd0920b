"""A sender that keeps time: frames of captures at absolute instants, over raw sockets, from one process.

    python3 absolute.py INSTANT NETNS INTERFACE FILE [NETNS INTERFACE FILE ...]
    python3 absolute.py INSTANT -- COMMAND...

The first record of all files is sent at INSTANT, nanoseconds of the system's clock, the others as long after it as they
are stamped; NETNS is "-" for the namespace that this runs in. Or COMMAND is started at INSTANT, which may be "now". If
it is "wait", it is told on standard input: "clock" is answered with the time, "go INSTANT SECONDS" with how far off
that is ("going"), or by how much it is missed ("late"): then nothing is sent. After so many seconds, or when standard
input ends, sending ends.

It needs nothing but the standard library, so that it can be copied to another machine. A gap is slept through but for
its end, which is waited for without sleeping. Where it may, it runs in real time (SCHED_FIFO) and keeps its memory from
being paged out; it then pauses briefly every millisecond that it has not slept in, since the kernel stops for 50 ms who
takes more than 95 % of a second.

What is overdue is never sent all at once: no gap is shorter than half of the planned one, so that a sender which has
fallen behind catches up at twice the pace; more than 10 ms are not made up for: the rest of the schedule moves by them.
On the way out, also by SIGTERM, it prints one JSON document: what was sent, and how late (on standard error if it was
told the instant). Linux only: packet(7), setns(2), sched(7), adjtimex(2).
"""

from __future__ import annotations

import ctypes
import gc
import heapq
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LATE_NS = 1_000_000  # from here on a packet counts as late
MOST_OVERDUE_NS = 10_000_000  # beyond this the schedule moves

_MAGIC = 0xA1B23C4D
_PRIORITY = 10  # above captures, below the kernel's own
_AWAKE_NS = 300_000  # how long before its instant a packet is waited for without sleeping
_AWAKE_REAL_TIME_NS = 80_000
_STINT_NS = 1_000_000  # after half of it any gap that has room is slept in, after all of it none is waited for
_LEAST_NAP_NS = 15_000
_PAUSE_S = 80e-6  # with what waking takes, a tenth of the time
_LATE_STATUS = 3
_CUT_OFF_STATUS = 4
_NOW_NS = 100_000_000
_LEAST_LEAD_NS = 2_000_000  # an instant that is nearer is as good as over
_CLONE_NEWNET = 0x40000000
_MCL_CURRENT = 1
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_TIME_ERROR = 5
_STATUS_UNSYNCHRONISED = 0x40

_LIBC = ctypes.CDLL(None, use_errno=True)

Frame = tuple[int, int, int, int]
"""When, from which file, and where in it: time in nanoseconds, file, first and last byte."""


class Standing(NamedTuple):
    """What the kernel has granted."""

    real_time: bool
    memory_locked: bool


class Punctuality:
    """How a schedule was kept: `late` packets and the latest of them, and how often and far the schedule was moved."""

    def __init__(self) -> None:
        self.late = self.latest_ns = self.shifts = self.shifted_ns = 0


def frames(data: mmap.mmap, file: int) -> Iterator[Frame]:
    """The frames of a nanosecond pcap, little-endian."""
    if struct.unpack_from("<I", data)[0] != _MAGIC:
        raise SystemExit(f"file {file + 1} is no nanosecond pcap")
    at, end, header = 24, len(data), struct.Struct("<III").unpack_from
    while at + 16 <= end:
        seconds, nanoseconds, size = header(data, at)
        at += 16
        yield seconds * 1_000_000_000 + nanoseconds, file, at, at + size
        at += size


def opened(space: str, interface: str) -> socket.socket:
    """A raw socket on an interface of a namespace; this process stays there."""
    if space != "-":
        handle = os.open(f"/run/netns/{space}", os.O_RDONLY)
        if _LIBC.setns(handle, _CLONE_NEWNET) != 0:
            raise SystemExit(f"namespace {space}: {os.strerror(ctypes.get_errno())}")
        os.close(handle)
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((interface, 0))
    return made


def favoured() -> Standing:
    """Ask for real time and locked memory. Captures that are mapped later are not locked: they may exceed memory."""
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        real_time = True
    except OSError:
        real_time = False
    return Standing(real_time, _LIBC.mlockall(_MCL_CURRENT) == 0)


class _Timex(ctypes.Structure):
    """The beginning of what adjtimex(2) tells, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


def most_wrong_ns() -> int | None:
    """By how much the clock is off at most, as the kernel was told by what synchronises it; None if nothing does."""
    state = _Timex()
    if _LIBC.adjtimex(ctypes.byref(state)) in (-1, _TIME_ERROR) or state.status & _STATUS_UNSYNCHRONISED:
        return None
    return int(state.maxerror) * 1000


def told() -> int:
    """Say that all is ready, answer until the instant is told, and return it. From then on the end of input ends this.

    Exits if the instant is over, or nobody asks any more.
    """
    _answer({"ready": True, "most_wrong_ns": most_wrong_ns()})
    heard = b""
    while True:
        more = os.read(0, 4096)
        if not more:
            sys.exit(0)
        heard += more
        while b"\n" in heard:
            line, _, heard = heard.partition(b"\n")
            word, *rest = line.split()
            if word == b"clock":
                _answer({"clock": time.time_ns()})
            elif word == b"go":
                instant_ns, limit_s = int(rest[0]), float(rest[1])
                left_ns = instant_ns - time.time_ns()
                if left_ns < _LEAST_LEAD_NS:
                    _answer({"late": -left_ns})
                    sys.exit(_LATE_STATUS)
                _answer({"going": left_ns})
                threading.Thread(target=_end_with_input, daemon=True).start()
                signal.signal(signal.SIGALRM, lambda *_: sys.exit(_CUT_OFF_STATUS))
                signal.setitimer(signal.ITIMER_REAL, left_ns / 1e9 + limit_s)
                return instant_ns


def instant_of(text: str) -> int:
    """The instant that the command line names."""
    if text == "wait":
        return told()
    return time.time_ns() + _NOW_NS if text == "now" else int(text)


def _answer(content: object) -> None:
    os.write(1, json.dumps(content).encode() + b"\n")


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def start(command: list[str], instant: str) -> int:
    """Start a command at the instant, and wait for it; it ends with this process. What it prints is standard error."""
    favoured()
    start_ns = instant_of(instant)
    left_ns = start_ns - time.time_ns()
    time.sleep(max(0, left_ns - _AWAKE_NS) / 1e9)
    while time.time_ns() < start_ns:
        pass

    def ordinary() -> None:
        """What waits without sleeping would be stopped in real time."""
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, preexec_fn=ordinary)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def send(
    schedule: Iterable[Frame],
    start_ns: int,
    views: list[memoryview],
    sends: list[socket.socket],
    *,
    real_time: bool,
    sent: list[int],
    failed: list[int],
    kept: Punctuality,
) -> None:
    """Send the frames, the first at `start_ns`; `sent`, `failed` and `kept` are renewed with every frame."""
    awake_ns = _AWAKE_REAL_TIME_NS if real_time else _AWAKE_NS
    clock, sleep, give = time.time_ns, time.sleep, [each.send for each in sends]
    shift: int | None = None
    before_ns = left_ns = rested_ns = 0
    for time_ns, file, first, last in schedule:
        if shift is None:
            shift, before_ns = start_ns - time_ns, time_ns
        due_ns = time_ns + shift
        now_ns = clock()
        spare_ns, stint_ns = due_ns - now_ns - awake_ns, now_ns - rested_ns
        if spare_ns > awake_ns or (real_time and spare_ns > _LEAST_NAP_NS and stint_ns > _STINT_NS // 2):
            sleep(spare_ns / 1e9)
            rested_ns = now_ns = clock()
        elif real_time and stint_ns > _STINT_NS:
            sleep(_PAUSE_S)
            rested_ns = now_ns = clock()
        overdue_ns = now_ns - due_ns
        if overdue_ns > MOST_OVERDUE_NS:
            shift += overdue_ns
            kept.shifts += 1
            kept.shifted_ns += overdue_ns
        due_ns = max(due_ns, left_ns + (time_ns - before_ns) // 2)
        while now_ns < due_ns:
            now_ns = clock()
        if overdue_ns > LATE_NS:
            kept.late += 1
            kept.latest_ns = max(kept.latest_ns, overdue_ns)
        before_ns, left_ns = time_ns, now_ns
        try:
            give[file](views[file][first:last])
            sent[file] += 1
        except OSError:
            failed[file] += 1


def main(arguments: list[str]) -> int:
    """Send what the arguments name."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if arguments[1] == "--":
        return start(arguments[2:], arguments[0])
    waits = arguments[0] == "wait"
    triples = [arguments[at : at + 3] for at in range(1, len(arguments), 3)]
    sent, failed = [0] * len(triples), [0] * len(triples)
    kept, standing = Punctuality(), Standing(False, False)
    try:
        data = []
        for _, _, path in triples:
            with Path(path).open("rb") as opened_file:
                data.append(mmap.mmap(opened_file.fileno(), 0, prot=mmap.PROT_READ))
        sends = [opened(space, interface) for space, interface, _ in triples]
        views = [memoryview(content) for content in data]
        schedule = [frames(content, number) for number, content in enumerate(data)]
        standing = favoured()
        start_ns = instant_of(arguments[0])
        gc.disable()
        send(
            schedule[0] if len(schedule) == 1 else heapq.merge(*schedule),
            start_ns,
            views,
            sends,
            real_time=standing.real_time,
            sent=sent,
            failed=failed,
            kept=kept,
        )
    finally:
        rows = [{"file": path, "sent": sent[n], "failed": failed[n]} for n, (_, _, path) in enumerate(triples)]
        print(
            json.dumps({"files": rows, **standing._asdict(), **vars(kept)}),
            file=sys.stderr if waits else sys.stdout,
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
