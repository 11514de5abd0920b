"""What there is to ask about: captures read into traces, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segcast.traces.trace import Trace

if TYPE_CHECKING:
    from segcast.analyzer.workload.source import WorkloadFile
    from segcast.traces.quality.cross_check import CrossCheck

TIMEOUTS: Final = ("50us", "100us", "500us", "1ms", "5ms")
"""Flowlet timeouts that are looked at unless others are asked for."""

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


def open(  # noqa: A001
    source: str | Path, *, layer: str | None = None, say: Say | None = None
) -> Trace | WorkloadFile:
    """A trace folder, captures (which are ingested into the user's cache), or a flow list. Raises InputError."""
    from segcast.analyzer.workload.source import open_source

    return open_source(source, layer=layer, say=say)


def ingest(
    captures: Sequence[str | Path],
    out: str | Path,
    progress: Progress | None = None,
    *,
    layer: str | None = None,
    filter: str | None = None,  # noqa: A002
    flows: str = "tenant",
    drop_duplicates: bool = False,
    split_offload: str | None = None,
    line_rate: str | None = None,
    anonymize: str | Path | None = None,
    keep_going: bool = False,
    to_cross_check: int | None = None,
    say: Say | None = None,
) -> Trace:
    """Read captures into the trace folder `out`, as `segcast ingest` does, whose flags these are; the trace, opened.

    `captures` are files, URLs, "-" for standard input, folders and patterns. With `to_cross_check` it is refused
    beforehand if `cross_check` could not compare so many frames. `progress` is told bytes read and in all, `say` gets
    lines for the user. Raises InputError before anything is written, and DamagedCapture after what precedes the damage
    was, unless it is to `keep_going`.
    """
    from segcast.traces.ingest.intake import choose
    from segcast.traces.ingest.run import ingest as run

    choices = choose(
        drop_duplicates=drop_duplicates,
        split_offload=split_offload,
        line_rate=line_rate,
        anonymize=None if anonymize is None else Path(anonymize),
        filter_text=filter,
        flows_by=flows,
    )
    if to_cross_check is not None:
        from segcast.traces.quality.cross_check import check_possible

        check_possible(captures, to_cross_check, layer)
    return run(
        captures,
        out,
        progress=progress,
        say=say,
        layer=layer or "outer",
        keep_going=keep_going,
        choices=choices,
    )


def inspect(
    trace: Trace | str | Path, progress: Progress | None = None, *, layer: str | None = None, say: Say | None = None
) -> dict[str, Any]:
    """What a trace holds, what is wrong with it, and a verdict: the document of `segcast inspect --json`.

    `progress` is told bytes read and in all of captures, which are ingested on the way. Raises InputError.
    """
    return _trace(trace, layer, say, progress).facts()


def cross_check(trace: Trace, frames: int, progress: Progress | None = None) -> CrossCheck:
    """Decode so many of a trace's frames with dpkt as well, and compare.

    What differs is in the result; its `require_agreement()` raises CheckFailed if anything does. Raises InputError
    where frames cannot be had.
    """
    from segcast.traces.quality.cross_check import cross_check as run

    return run(trace, frames, progress)


def flowlets(
    trace: Trace | str | Path,
    timeouts: Sequence[str] = TIMEOUTS,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    layer: str | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Flowlets and their sizes at each timeout: the document of `segcast flowlets --json`.

    Every flowlet goes to the Parquet file `out`, if it is named. `progress` is that of `inspect`. Raises InputError.
    """
    from segcast.analyzer.flowlets.report import flowlet_report
    from segcast.traces.units import duration_ns

    timeouts_ns = [duration_ns(each) for each in timeouts]
    return flowlet_report(_trace(trace, layer, say, progress), timeouts_ns, None if out is None else Path(out))


def sample() -> Path:
    """The capture that comes with Segcast: three seconds of TCP and UDP between nine hosts in namespaces."""
    from segcast.traces.samples import CLUSTER

    return CLUSTER


def _trace(trace: Trace | str | Path, layer: str | None, say: Say | None, progress: Progress | None) -> Trace:
    from segcast.traces.ingest.opening import open_trace

    return trace if isinstance(trace, Trace) else open_trace(trace, layer=layer, progress=progress, say=say)
