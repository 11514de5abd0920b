"""What sending a packet adds to the gaps of a sender that does not make up for it: stated, or measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from segcast.replay.inject.captures import READY_S, Capture, listens, start_capture
from segcast.replay.inject.children import Children
from segcast.replay.inject.files import Records, load_of, open_records
from segcast.replay.inject.machines import fetch, push
from segcast.replay.inject.plan import ABSOLUTE, DRAIN_NS, Options, Replay, Stream, keeps_time
from segcast.replay.inject.senders import file_to_send, start_at_once, tcpreplay_command
from segcast.traces.errors import InputError

_CALIBRATION_PACKETS: Final = 5000
_CALIBRATION_NS: Final = 1_000_000_000


def costs(replay: Replay, out: Path, options: Options, far: Mapping[str, str]) -> dict[str, int]:
    """What sending a packet adds to every gap, by stream."""
    if options.sender == ABSOLUTE:
        return {}
    late = [stream for stream in replay.streams if not keeps_time(stream.facts.tcpreplay or "")]
    if options.compensation_ns is not None:
        return {stream.name: options.compensation_ns for stream in late}
    if not options.calibrate:
        return {}
    return {stream.name: _calibrated(stream, replay, out, options, far) for stream in late}


def _calibrated(stream: Stream, replay: Replay, out: Path, options: Options, far: Mapping[str, str]) -> int:
    """Send the first second while it is captured: by how much gaps are longer, at the median, which stalls do not move.

    Afterwards the network drains.
    """
    times = stream.records.time_ns
    count = min(int(np.searchsorted(times, times[0] + _CALIBRATION_NS)), _CALIBRATION_PACKETS)
    if count < 2:
        return 0
    begun = Records(stream.records.data, *(column[:count] for column in stream.records[1:]))
    trial = Stream(f"{stream.name}-trial", stream.sender, begun, load_of(begun), stream.facts)
    ssh = stream.sender.ssh
    written = file_to_send(trial, out, 0, always=True)
    file = f"{far[ssh]}/{written.name}" if ssh else str(written)
    if ssh:
        push([(stream.sender, written, file)])
    seen = out / ".sending" / f"{trial.name}-seen.pcap"
    there = f"{far[ssh]}/{trial.name}-seen.pcap" if ssh else None
    capture = Capture("sent", trial.name, stream.sender, seen, there)
    with Children() as children:
        children.captures.append(start_capture(capture, replay, options, out, "tcpdump"))
        if not children.until(lambda: listens(children.captures[0]), READY_S):
            raise InputError(f"the capture {trial.name} did not start within {READY_S:.0f} s, so nothing was sent")
        child = start_at_once(trial, tcpreplay_command(stream.sender.interface, file, count), out, trial.name)
        children.senders.append(child)
        patience_s = 10 + 10 * int(times[count - 1] - times[0]) / 1e9
        if not children.until(lambda: child.code is not None, patience_s):
            raise InputError(f"the calibration of {stream.name} did not end, so it was stopped")
        drained = time.monotonic() + DRAIN_NS / 1e9
        children.until(lambda: time.monotonic() >= drained, DRAIN_NS)
    if capture.far is not None:
        fetch([(capture.point, capture.far, seen)])
    left = open_records([seen]).time_ns
    if len(left) != count:
        raise InputError(
            f"the calibration of {stream.name} captured {len(left)} of {count} packets; give --compensation"
        )
    return max(0, int(np.median(np.diff(left) - np.diff(times[:count]))))
