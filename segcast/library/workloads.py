"""Flow lists: made for a network, or told from a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segcast.analyzer.workload.source import WorkloadFile
from segcast.analyzer.workload.writing import check_target, write_workload
from segcast.library.scenarios import Asks, scenario
from segcast.traces.trace import Trace
from segcast.traces.units import duration_ns, size_bytes

Progress = Callable[[int, int], None]


def synth(
    kind: str,
    network: Asks,
    *,
    load: float,
    flows: int,
    seed: int = 1,
    size: str | None = None,
    jitter: str | None = None,
    out: str | Path,
    progress: Progress | None = None,
    **choices: Any,
) -> WorkloadFile:
    """Make a flow list as `segcast synth` does, into the file `out` (.csv or .parquet); `size` is its `--bytes`.

    What `segcast synth --json` says of it is the result's `document`. Raises InputError.
    """
    from segcast.analyzer.workload.synthesis.run import request_of, synthesise

    file = Path(out)
    check_target(file)
    request = request_of(
        kind=kind,
        load=load,
        flows=flows,
        seed=seed,
        size_bytes=None if size is None else size_bytes(size),
        jitter_ns=None if jitter is None else duration_ns(jitter),
        **choices,
    )
    tick = progress or _silent
    tick(0, 0)
    made, document = synthesise(request, scenario(network))
    tick(0, 0)
    write_workload(made, file)
    return WorkloadFile(file, made, {"workload": str(file), **document})


def workload(
    trace: Trace | str | Path,
    out: str | Path,
    progress: Progress | None = None,
    *,
    layer: str | None = None,
    say: Callable[[str], None] | None = None,
) -> WorkloadFile:
    """Make a flow list of a trace's TCP connections, into the file `out` (.csv or .parquet).

    What `segcast workload --json` says of it is the result's `document`. Raises InputError.
    """
    from segcast.analyzer.workload.recorded.run import recorded_workload
    from segcast.traces.ingest.opening import open_trace

    file = Path(out)
    check_target(file)
    opened = trace if isinstance(trace, Trace) else open_trace(trace, layer=layer, say=say)
    made, document = recorded_workload(opened, progress or _silent)
    write_workload(made, file)
    return WorkloadFile(file, made, {"workload": str(file), **document})


def _silent(done: int, total: int) -> None:
    """Shows nothing."""
