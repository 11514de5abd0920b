"""A forecast proved in a lab: its schedule written as captures, sent, measured, and compared with the forecast.

`import segcast as sc; sc.lab.rewrite(...)`. What a function needs is imported when it is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from segcast.replay.inject.plan import Options, Replay
    from segcast.replay.inventory import Inventory

__all__ = [
    "calibrate",
    "clear",
    "commands",
    "export",
    "is_live",
    "measure",
    "plan",
    "probes",
    "replay",
    "rewrite",
    "validate",
]

Progress = Callable[[int, int], None]
Folder = str | Path
Tool = Literal["tcpreplay", "absolute"]


def rewrite(
    forecast: Folder,
    out: Folder,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    load: float | None = None,
    mtu: int | None = None,
    oversize: Literal["refuse", "shorten", "drop"] = "refuse",
    map: Sequence[str] = (),  # noqa: A002
    map_mac: Sequence[str] = (),
    vlan: str = "strip",
    speed: str = "1",
    pcap: Literal["ns", "us"] = "ns",
    interfaces: Folder | None = None,
    steer_all: bool = False,
) -> dict[str, Any]:
    """Write the schedule of one policy as SRv6 captures into `out`, as `segcast rewrite` does: its document.

    `policy`, `timeout`, `seed` and `load` name the cell, the others are the command's flags. Raises InputError.
    """
    from segcast.replay.rewrite.of_forecast import Wanted, rewrite_forecast

    wanted = Wanted(
        mtu=mtu,
        oversize=oversize,
        map=tuple(map),
        map_mac=tuple(map_mac),
        vlan=vlan,
        speed=speed,
        pcap=pcap,
        interfaces=None if interfaces is None else Path(interfaces),
        steer_all=steer_all,
    )
    made = rewrite_forecast(
        Path(forecast), Path(out), policy=policy, timeout=timeout, seed=seed, load=load, wanted=wanted
    )
    return made.as_dict()


def export(forecast: Folder, cell: str, out: Folder) -> dict[str, Any]:
    """Write the packets that a flow list's senders made in a cell as the capture `out`. Raises InputError."""
    from segcast.replay.export.run import export_cell

    return export_cell(Path(forecast), cell, Path(out))


def plan(
    rewritten: Folder,
    inventory: Folder,
    *,
    forecast: Folder | None = None,
    sender: Tool = "tcpreplay",
    transit: bool = False,
    limit: str | None = None,
    allow_default_route: bool = False,
) -> dict[str, Any]:
    """What `replay` would send, where, and what speaks against it (`refused`). Sends nothing.

    `inventory` is the file of interfaces and machines (docs/replay.md), `limit` the time after which sending is cut
    off. Raises InputError.
    """
    with _planned(rewritten, inventory, forecast, sender, transit, limit, allow_default_route) as planned:
        return planned.as_dict() | {"sent": False}


def commands(
    rewritten: Folder,
    inventory: Folder,
    out: Folder,
    *,
    forecast: Folder | None = None,
    sender: Tool = "tcpreplay",
    transit: bool = False,
    limit: str | None = None,
    compensation: str | None = None,
    calibrate: bool = False,
    snaplen: str = "0B",
    allow_default_route: bool = False,
) -> list[str]:
    """Write what is to be sent to `out`, and give the lines of shell that send it by hand. Raises InputError."""
    from segcast.replay.inject.wording import worded

    options = _options(sender, compensation, snaplen, calibrate)
    with _planned(rewritten, inventory, forecast, sender, transit, limit, allow_default_route) as planned:
        return worded(planned, Path(out), options)


def replay(
    rewritten: Folder,
    inventory: Folder,
    out: Folder,
    progress: Progress | None = None,
    *,
    forecast: Folder | None = None,
    sender: Tool = "tcpreplay",
    transit: bool = False,
    limit: str | None = None,
    compensation: str | None = None,
    calibrate: bool = False,
    snaplen: str = "0B",
    allow_default_route: bool = False,
) -> dict[str, Any]:
    """Send what `rewrite` wrote, and capture departures and arrivals into the run folder `out`: its document.

    Sends packets at the inventory's interfaces. `progress` is told nanoseconds since the start, and those there are.
    Raises InputError if sending is refused, or something fails on the way.
    """
    from segcast.replay.inject.run import run_replay
    from segcast.replay.testbed.bed import held

    options = _options(sender, compensation, snaplen, calibrate)
    with contextlib.ExitStack() as stack:
        planned = stack.enter_context(
            _planned(rewritten, inventory, forecast, sender, transit, limit, allow_default_route)
        )
        if planned.inventory.testbed is not None:
            stack.enter_context(held(planned.inventory.testbed))
        return run_replay(planned, Path(out), options, progress or _silent)


def clear(inventory: Folder) -> dict[str, dict[str, list[str]]]:
    """Remove what killed replays left on the inventory's machines: by machine, what was `removed` and is `in_use`."""
    from segcast.replay.inject.machines import clear as run

    with _connected(inventory) as lab:
        return run(lab.machines)


def measure(
    run: Folder, out: Folder, progress: Progress | None = None, *, forecast: Folder | None = None
) -> dict[str, Any]:
    """Say what became of every packet of a run, in the columns of a forecast's packets: the document of `out`.

    `forecast`: the one that was sent, if not the one that the run names. Raises InputError.
    """
    from segcast.replay.measure.run import measure as run_measure

    return run_measure(Path(run), Path(out), forecast=None if forecast is None else Path(forecast), progress=progress)


def probes(scenario: Folder, out: Folder) -> dict[str, Any]:
    """Write the probe trains of a scenario's network into `out`, for `replay` to send. Raises InputError."""
    from segcast.replay.calibrate.run import probes as run

    return run(Path(scenario), Path(out))


def calibrate(
    runs: Sequence[Folder], scenario: Folder, out: Folder, progress: Progress | None = None
) -> dict[str, Any]:
    """Estimate links from runs of probes, and write the scenario with what was found to the file `out`.

    Gives the estimates by path. Raises InputError.
    """
    from segcast.replay.calibrate.run import calibrate as run

    return run([Path(each) for each in runs], Path(scenario), Path(out), progress=progress)


def is_live(folders: Sequence[Folder]) -> bool:
    """Whether a live run (`testbed.live`) is among these folders: `validate` then compares completion times."""
    from segcast.replay.validate.live.run import is_live as run

    return run([Path(each) for each in folders])


def validate(
    forecast: Folder,
    measurements: Sequence[Folder],
    out: Folder,
    progress: Progress | None = None,
    *,
    judge: Literal["as-sent", "end-to-end", "both"] = "as-sent",
    scenario: Folder | None = None,
    burst: str | None = None,
    tolerances: Folder | None = None,
    fct: float | None = None,
    **limits: float | str | None,
) -> dict[str, Any]:
    """Whether a forecast held, from measurements of it, one per policy: the document of `out`, whose `holds` says it.

    `scenario`: a calibrated one for packets as sent; `burst`: what links let pass at once; `tolerances`: their file;
    `limits` are loss, p50, p99, residual, absolute ("60us") and reordering. Live runs among the folders are compared
    with the forecasts of their lists, in any order; then `fct` alone may be given. Raises InputError.
    """
    folders = [Path(each) for each in (forecast, *measurements)]
    if is_live(folders):
        given = {"scenario": scenario, "burst": burst, "tolerances": tolerances, **limits}
        return _validate_live(folders, Path(out), fct, [name for name, value in given.items() if value])
    from segcast.replay.validate.run import validate as run
    from segcast.replay.validate.tolerances import read_tolerances
    from segcast.reports.validation.page import write_validation
    from segcast.traces.errors import InputError
    from segcast.traces.units import size_bytes

    if fct is not None:
        raise InputError("--fct: is of completion times in live runs, and none is given")
    return run(
        folders[0],
        folders[1:],
        Path(out),
        tolerances=read_tolerances(None if tolerances is None else Path(tolerances), **limits),
        judge=judge,
        scenario=None if scenario is None else Path(scenario),
        burst_bytes=None if burst is None else size_bytes(burst),
        finish=write_validation,
        progress=progress,
    )


def _validate_live(folders: list[Path], out: Path, fct: float | None, others: list[str]) -> dict[str, Any]:
    from segcast.replay.validate.live.run import DEFAULT_TOLERANCE, validate_live
    from segcast.reports.validation.live import write_live_validation
    from segcast.traces.errors import InputError

    if others:
        raise InputError(f"--{others[0]}: is of packets that were replayed; a live run has --fct alone")
    tolerance = DEFAULT_TOLERANCE if fct is None else fct
    if not 0 < tolerance < 10:
        raise InputError(f"--fct {tolerance:g}: give a share above 0, such as 0.1")
    return validate_live(folders, out, tolerance=tolerance, finish=write_live_validation)


@contextlib.contextmanager
def _connected(inventory: Folder) -> Iterator[Inventory]:
    """The inventory, its machines connected meanwhile."""
    from segcast.replay.inject.connections import connected
    from segcast.replay.inventory import read_inventory

    lab = read_inventory(Path(inventory))
    with connected(lab.machines):
        yield lab


@contextlib.contextmanager
def _planned(
    rewritten: Folder,
    inventory: Folder,
    forecast: Folder | None,
    sender: str,
    transit: bool,
    limit: str | None,
    allow_default_route: bool,
) -> Iterator[Replay]:
    """A replay that may be run, its machines connected meanwhile."""
    from segcast.replay.inject.plan import plan_replay
    from segcast.traces.units import duration_ns

    limit_ns = None if limit is None else duration_ns(limit)
    with _connected(inventory) as lab:
        yield plan_replay(
            Path(rewritten),
            lab,
            forecast=None if forecast is None else str(Path(forecast).absolute()),
            sender=sender,
            transit=transit,
            limit_ns=limit_ns,
            allow_default_route=allow_default_route,
        )


def _options(sender: str, compensation: str | None, snaplen: str, calibrate: bool) -> Options:
    """How a replay is run, as its flags say it. Raises InputError."""
    from segcast.replay.inject.plan import Options
    from segcast.traces.units import duration_ns, size_bytes

    taken = None if compensation is None else duration_ns(compensation)
    return Options(sender=sender, compensation_ns=taken, calibrate=calibrate, snaplen=size_bytes(snaplen))


def _silent(done: int, total: int) -> None:
    """Shows nothing."""
