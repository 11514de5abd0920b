"""What is measured of Segcast in processes of its own: `python -m benchmarks.worker JOB ...` prints JSON.

again WARM RUNS OUT CAPTURE...  ingests of each capture in a process whose kernels are loaded: best seconds of each
stages WARM CAPTURE             seconds of each stage alone
unpack WARM CAPTURE...          seconds of reading, decompressing and framing each
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measuring import best_seconds
from segcast.traces.captures.reader import BATCH_FRAMES, read_frames
from segcast.traces.errors import InputError
from segcast.traces.flows.assign import Flows
from segcast.traces.flows.tcp import announced_mss
from segcast.traces.headers.decode import Decoder, allocate
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.findings import Quality
from segcast.traces.quality.survey import Survey, Surveyed


def again(warm: str, runs: str, out: str, *captures: str) -> list[float]:
    ingest([warm], out)
    return [best_seconds(lambda capture=capture: ingest([capture], out), int(runs)) for capture in captures]


def stages(warm: str, capture: str) -> dict[str, float]:
    """Seconds of one core's time by stage, and of the wall clock for reading alone and with what follows."""
    _walk(warm)
    spent = _walk(capture)
    spent["read, frame"] = best_seconds(lambda: _drain(capture, False))
    spent["read, digest, frame"] = best_seconds(lambda: _drain(capture, True))
    spent["read, frame, decode"] = best_seconds(lambda: _decode(capture))
    return spent


def _walk(capture: str) -> dict[str, float]:
    """Each stage's seconds of this thread, which the reading thread does not count in."""
    spent = dict.fromkeys(("frame", "decode", "flows", "findings"), 0.0)
    into, ids = allocate(BATCH_FRAMES), np.empty(BATCH_FRAMES, np.uint32)
    mss = np.empty(BATCH_FRAMES, np.uint16)
    decoder, flows, survey, quality = Decoder(), Flows(), Survey(), Quality()

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        begin = time.thread_time()
        result = call()
        spent[stage] += time.thread_time() - begin
        return result

    def follow(batch: Any, headers: Any) -> None:
        rows = len(batch.start)
        announced_mss(batch.data, batch.start, batch.captured, headers, mss[:rows])
        flows.add(headers, batch.time_ns, batch.wire, ids[:rows], None, mss[:rows])

    def find(batch: Any, headers: Any) -> None:
        survey.add(Surveyed(batch.time_ns, batch.captured, batch.wire, headers.reason, batch.linktype))
        quality.add(batch, headers)

    with read_frames(capture) as reader:
        while (batch := timed("frame", lambda: next(reader, None))) is not None:
            headers = timed("decode", lambda batch=batch: decoder.decode(batch, into))
            timed("flows", lambda batch=batch, headers=headers: follow(batch, headers))
            timed("findings", lambda batch=batch, headers=headers: find(batch, headers))
    return spent


def _drain(capture: str, digest: bool) -> None:
    with read_frames(capture, digest=digest) as reader:
        for _ in reader:
            pass


def _decode(capture: str) -> None:
    into, decoder = allocate(BATCH_FRAMES), Decoder()
    with read_frames(capture) as reader:
        for batch in reader:
            decoder.decode(batch, into)


def unpack(warm: str, *captures: str) -> list[float | None]:
    """Seconds of our decompression and framing alone; None of a compression that the reader does not know."""
    _drain(warm, False)
    return [_unpacked(capture) for capture in captures]


def _unpacked(capture: str) -> float | None:
    try:
        return best_seconds(lambda: _drain(capture, False), 1)
    except InputError:
        return None


def main() -> None:
    jobs: dict[str, Callable[..., Any]] = {"again": again, "stages": stages, "unpack": unpack}
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
