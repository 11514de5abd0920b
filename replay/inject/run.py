"""`segcast replay`: captures start, packets are sent together at an instant, all is drained, and a run folder says so.

RUN/run.json is written before anything is sent and renewed as things happen, so that what was measured until a crash
can be read: `complete` is false until all has ended as it should.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from segcast.replay.inject.calibrating import costs
from segcast.replay.inject.captures import READY_S, captures_of, listens, refuse_other_stamps, start_capture, watched
from segcast.replay.inject.children import Children, Speaker
from segcast.replay.inject.connections import keeping
from segcast.replay.inject.departed import kept
from segcast.replay.inject.document import Document
from segcast.replay.inject.files import least_snaplen, write_records
from segcast.replay.inject.machines import fetch, here
from segcast.replay.inject.plan import Options, Replay
from segcast.replay.inject.senders import accounts, jobs_of, start_senders
from segcast.replay.inject.starting import SendingProcess, begin, clocks_of
from segcast.replay.inventory import Point
from segcast.replay.measure.identity import LEAST_BYTES
from segcast.traces.errors import InputError

_FOLDER_S: Final = 30.0
_LEAST_FREE_BYTES: Final = 4 << 20
_SPARE_BYTES: Final = 64 << 20

Progress = Callable[[int, int], None]


def run_replay(
    replay: Replay, out: Path, options: Options, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Send and capture; returns the content of run.json. `progress`: nanoseconds since the start, and those there are.

    Raises InputError if sending is refused, or something fails on the way: then what was captured is there, and
    run.json says why it is not complete.
    """
    if replay.refusals:
        more = f" (and {len(replay.refusals) - 1} more)" if len(replay.refusals) > 1 else ""
        raise InputError(f"nothing was sent: {replay.refusals[0]}{more}")
    refuse_short(replay, options.snaplen)
    try:
        prepare(replay, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted before anything was sent; {out} can be removed") from None
    document = Document(replay, out)
    document.write()
    with contextlib.ExitStack() as stack:
        try:
            far = far_folders(replay, out, stack)
            cost = costs(replay, out, options, far)
            document.compensation_ns = max(cost.values(), default=0)
            _send(replay, out, options, cost, far, document, progress)
        except KeyboardInterrupt:
            document.reason = "interrupted"
            raise KeyboardInterrupt(f"interrupted; what was captured until then is in {out}") from None
        except BaseException as error:
            document.reason = str(error) or type(error).__name__
            raise
        finally:
            document.ended_ns = time.time_ns()
            document.write()
            shutil.rmtree(out / ".sending", ignore_errors=True)
    return document.content().as_dict()


def far_folders(replay: Replay, out: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """A folder on each machine behind ssh, gone when `stack` is left, or when the connection ends."""
    points: list[Point] = [stream.sender for stream in replay.streams]
    points += [*replay.inventory.receivers.values(), *(replay.inventory.transit[name] for name in replay.transit)]
    keepers = {}
    for ssh, point in {point.ssh: point for point in points if point.ssh is not None}.items():
        keeper = Speaker(f"the folder on {ssh}", here(point, keeping()), out / "log" / f"folder-{ssh}.txt", remote=True)
        stack.callback(keeper.finish)
        keepers[ssh] = keeper
    for keeper in keepers.values():
        stack.callback(keeper.ask_to_end)
    return {ssh: keeper.hear(_FOLDER_S) for ssh, keeper in keepers.items()}


def refuse_short(replay: Replay, snaplen: int) -> None:
    """Raise InputError if captures would hold too little of packets to tell them apart (`snaplen` 0: all is held)."""
    least = 0
    for stream in replay.streams:
        rows = stream.records
        for number, data in enumerate(rows.data):
            mine = rows.file == number
            least = max(least, least_snaplen(data, rows.first[mine], rows.size[mine], LEAST_BYTES))
    if 0 < snaplen < least:
        raise InputError(
            f"--snaplen {snaplen}B: holds too little of packets to tell them apart; give {least}B or more, or 0B for "
            "all; nothing was sent"
        )


def refuse_in_use(out: Path) -> None:
    """Raise InputError if a run folder holds anything, or is a file."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; give a run a folder of its own")


def prepare(replay: Replay, out: Path) -> None:
    """Make the run folder with what is to be sent. Raises InputError if it is in use, or there is no room."""
    refuse_in_use(out)
    try:
        for name in ("planned", "sent", "received", "transit", "log", ".sending"):
            (out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from None
    per_copy = sum(stream.load.bytes + 16 * stream.load.packets for stream in replay.streams)
    needed = (4 + (1 + len(replay.transit)) // 2) * per_copy + _SPARE_BYTES
    if (free := shutil.disk_usage(out).free) < needed:
        raise InputError(f"{out}: has {free >> 20} MiB free, but {needed >> 20} MiB may be written; nothing was sent")
    for stream in replay.streams:
        planned = out / "planned" / f"{stream.name}.pcap"
        try:
            write_records(
                stream.records, planned, source_mac=stream.sender.source_mac, next_hop_mac=stream.sender.next_hop_mac
            )
        except OSError as error:
            raise InputError(f"{planned}: cannot be written: {error.strerror}") from None


def _send(
    replay: Replay,
    out: Path,
    options: Options,
    cost: Mapping[str, int],
    far: Mapping[str, str],
    document: Document,
    progress: Progress,
) -> None:
    captures = captures_of(replay, out, far)
    jobs = jobs_of(replay, out, cost, far, options)
    senders: list[SendingProcess] = []
    with Children() as children:
        try:
            for capture in captures:
                capture.child = start_capture(capture, replay, options, out)
                children.captures.append(capture.child)
            ready = children.until(lambda: all(listens(child) for child in children.captures), READY_S)
            if not ready:
                raise InputError(f"a capture did not start within {READY_S:.0f} s, so nothing was sent")
            refuse_other_stamps(captures)
            senders = start_senders(jobs, far, options, out)
            children.senders += [sender.child for sender in senders]
            clocks = clocks_of(senders)
            document.clocks = {name: clocks[sender.child.name] for sender in senders for name in sender.streams}
            instant = document.started_ns = begin(senders, clocks, replay.limit_ns)
            document.write()

            def tick() -> None:
                # tcpdump writes on without a word when nothing can be written any more.
                if shutil.disk_usage(out).free < _LEAST_FREE_BYTES:
                    raise InputError(f"{out}: the disk is full, so the replay was stopped; make room")
                progress(min(max(time.time_ns() - instant, 0), replay.duration_ns), replay.duration_ns)

            limit_s = (instant - time.time_ns() + replay.limit_ns) / 1e9
            ended = children.until(lambda: all(c.code is not None for c in children.senders), limit_s, tick)
            if not ended:
                raise InputError(f"sending took longer than {replay.limit_ns / 1e9:.1f} s (--limit), so it was stopped")
            document.accounts = accounts(options, senders)
            drain = time.monotonic() + options.drain_ns / 1e9
            children.until(lambda: time.monotonic() >= drain, options.drain_ns / 1e9 + 1, tick)
            document.complete = True
        finally:
            children.end_senders()
            if children.senders and not document.complete:
                time.sleep(options.drain_ns / 1e9)
            with contextlib.suppress(InputError):
                document.accounts = document.accounts or accounts(options, senders)
            children.end_captures()
            for capture in captures:
                if capture.child is not None:
                    document.watches[capture.file.relative_to(out)] = watched(capture.child)
            with contextlib.suppress(InputError):
                fetch([(each.point, each.far, each.file) for each in captures if each.child and each.far])
    for capture in captures:
        if not capture.file.exists() or capture.file.stat().st_size == 0:
            document.complete = False
            raise InputError(f"{capture.file}: the capture is missing; see {out / 'log'}")
    for stream in replay.streams:
        name = f"{stream.name}.pcap"
        found = kept(out / "planned" / name, out / "sent" / name, options.snaplen)
        if found.first_ns is not None:
            asked_ns = instant - replay.start_ns + document.clocks[stream.name].ahead_ns + stream.sender.tai_offset
            late_ns = None if stream.sender.unsynchronised else found.first_ns - asked_ns
            found = found._replace(first_ns=late_ns)
        document.kept[stream.name] = found
