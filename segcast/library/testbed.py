"""The network of a scenario in network namespaces of this machine, as `segcast testbed` has it.

`import segcast as sc; sc.testbed.up("fabric.toml")`. Building, sending and removing take root. What a function needs is
imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from segcast.library.scenarios import Asks, scenario

if TYPE_CHECKING:
    from segcast.analyzer.network.sid_table import SidTable
    from segcast.replay.live.study import LiveStudy

__all__ = ["configuration", "down", "live", "plan_live", "run", "sids", "status", "up"]

NAME: Final = "sgtb"
LIVE_NAME: Final = "sglive"

Progress = Callable[[int, int], None]


def up(
    network: Asks,
    progress: Progress | None = None,
    *,
    name: str = NAME,
    max_rate: str = "2Gbps",
    burst: str = "10kB",
) -> dict[str, Any]:
    """Build the network of a scenario, whatever stood under this name before; its `status`.

    What stands already as asked is left as it is. Networks with links faster than `max_rate` are refused; `burst` is
    of token buckets where the scenario has none. Raises InputError if it cannot be built; then nothing of it is left.
    """
    from segcast.replay.testbed.bed import up as run_up
    from segcast.traces.units import rate_bps, size_bytes

    chosen = scenario(network)
    return run_up(
        chosen, name, max_rate_bps=rate_bps(max_rate), burst_bytes=size_bytes(burst), progress=progress or _silent
    )


def status(name: str = NAME) -> dict[str, Any]:
    """What stands (`state` is up, partial or down), and what the shapers of its links have counted."""
    from segcast.replay.testbed.bed import status as run_status

    return run_status(name)


def down(name: str = NAME) -> dict[str, Any]:
    """Remove everything that a testbed made, also after a crash; says what was removed. Raises InputError."""
    from segcast.replay.testbed.bed import down as run_down

    return run_down(name)


def sids(network: Asks) -> SidTable:
    """Every SID of a network, and the segment list of every path. Builds nothing. Raises InputError."""
    return scenario(network).whole_sid_table()


def configuration(
    network: Asks, form: str, node: str | None = None, *, name: str = NAME, burst: str = "10kB"
) -> dict[str, Any]:
    """The configuration of every node, or of one: addresses, routes and SIDs as `text`, and what is `left_out`.

    `form` is ip, frr, sonic or vpp; of ip it is what `up` builds. Raises InputError.
    """
    from segcast.replay.testbed.formats.registry import as_document, planned
    from segcast.traces.units import size_bytes

    made = planned(scenario(network), name, burst_bytes=size_bytes(burst))
    return {**as_document(made, form, node), "notes": made.bed.notes, "sids": made.sids.as_dict()}


def run(
    forecast: str | Path,
    out: str | Path,
    progress: Progress | None = None,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    load: float | None = None,
    name: str = NAME,
    transit: bool = False,
    sender: Literal["tcpreplay", "absolute"] = "tcpreplay",
    limit: str | None = None,
    compensation: str | None = None,
    calibrate: bool = True,
    snaplen: str = "0B",
) -> dict[str, Any]:
    """Send the schedule of one policy through the testbed that stands, into the run folder `out`: its document.

    `policy`, `timeout`, `seed` and `load` name the cell; the others are as for `lab.replay`. Raises InputError.
    """
    from segcast.library.lab import _options
    from segcast.replay.testbed.run import run_in_testbed
    from segcast.traces.units import duration_ns

    options = _options(sender, compensation, snaplen, calibrate)
    return run_in_testbed(
        Path(forecast),
        Path(out),
        policy=policy,
        timeout=timeout,
        seed=seed,
        load=load,
        name=name,
        transit=transit,
        limit_ns=None if limit is None else duration_ns(limit),
        options=options,
        progress=progress or _silent,
    )


def plan_live(
    network: Asks,
    workload: str | Path,
    *,
    policies: Sequence[str] | None = None,
    timeouts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    control: str | None = None,
    ack_timeout: str = "300ms",
    super_frames: bool = False,
    name: str = LIVE_NAME,
) -> dict[str, Any]:
    """What `live` would run, and for how long. Sends nothing. Raises InputError for what cannot be run."""
    study = _study(network, workload, policies, timeouts, seeds, control, ack_timeout, super_frames, name)
    return study.as_dict() | {"sent": False}


def live(
    network: Asks,
    workload: str | Path,
    out: str | Path,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    policies: Sequence[str] | None = None,
    timeouts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    control: str | None = None,
    ack_timeout: str = "300ms",
    super_frames: bool = False,
    name: str = LIVE_NAME,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Send a flow list by the kernel's own TCP under each policy and seed, into the folder `out`: its document.

    "{seed}" in `workload` stands for each seed. The network is built for it and removed at the end. `control` is the
    kernel's congestion control; a packet that nobody has acknowledged within `ack_timeout` is in flight no more.
    `progress` is told seconds done and in all, and what runs. The same call takes up a run that was
    interrupted; `say` is told so. Raises InputError.
    """
    from segcast.replay.live.study import run_study

    study = _study(network, workload, policies, timeouts, seeds, control, ack_timeout, super_frames, name)
    return run_study(study, Path(out), progress=progress or _silent_named, say=say or _unsaid)


def _study(
    network: Asks,
    workload: str | Path,
    policies: Sequence[str] | None,
    timeouts: Sequence[str] | None,
    seeds: Sequence[int] | None,
    control: str | None,
    ack_timeout: str,
    super_frames: bool,
    name: str,
) -> LiveStudy:
    from segcast.analyzer.scenario.reading import with_cells
    from segcast.replay.live.by_program import ByKernel
    from segcast.replay.live.study import plan_study
    from segcast.traces.units import duration_ns

    chosen = with_cells(scenario(network), policies=policies, timeouts=timeouts, seeds=seeds)
    steering = ByKernel(duration_ns(ack_timeout))
    return plan_study(chosen, str(workload), control=control, super_frames=super_frames, steering=steering, name=name)


def _silent(done: int, total: int) -> None:
    """Shows nothing."""


def _silent_named(done: int, total: int, what: str) -> None:
    """Shows nothing."""


def _unsaid(line: str) -> None:
    """Says nothing."""
