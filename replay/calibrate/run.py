"""`segcast calibrate`: from runs of probe trains to a scenario whose links are those of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.fabric import BACK
from segcast.analyzer.network.model import Network
from segcast.analyzer.network.shapes import Override
from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.calibrate.document import (
    PROBES_FILE,
    SCHEMA_VERSION,
    CalibratedPath,
    CalibrationDocument,
    PathEstimate,
    ProbesDocument,
    Train,
)
from segcast.replay.calibrate.estimate import Probe, estimate_path
from segcast.replay.calibrate.probes import write_probes
from segcast.replay.measure.match import Planned, match_run
from segcast.replay.measure.run import path_keys
from segcast.replay.measure.run_folder import Run, marks_of, read_run, rewrite_of
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import new_file
from segcast.traces.errors import InputError
from segcast.traces.units import write_duration, write_rate, write_size
from segcast.traces.version import VERSION

_AGAIN: Final = "write the probes again with segcast calibrate probes, and replay them"
_SAME: Final = 1.02  # rates of links of a path that count as its slowest

Progress = Callable[[int, int], None]


def probes(scenario: Path, out: Path) -> dict[str, Any]:
    """Write the probe trains of a scenario into `out`. Raises InputError."""
    document = write_probes(read_scenario(scenario), out)
    return {
        "packets": document.packets,
        "duration_ns": document.duration_ns,
        "folder": str(out),
        "trains": len(document.trains),
    }


def calibrate(
    runs: Sequence[Path], scenario_file: Path, out: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Estimate the paths of a scenario from runs of its probes, and write it with what was found to `out`.

    Returns the estimates, by path. Raises InputError if a run is none of probes of this scenario, or too little of them
    arrived.
    """
    scenario = read_scenario(scenario_file)
    collected: dict[int, list[Probe]] = {}
    groups: list[tuple[str, str]] = []
    for number, folder in enumerate(runs):
        run = read_run(folder)
        sent = _probes_of(folder, run)
        own = [(a, b) for a, b in (group[:2] for group in sent.groups)]
        if groups and own != groups:
            raise InputError(f"{folder}: probes another network than {runs[0]}; calibrate them one by one")
        groups = own
        built = scenario.between(groups)
        matched = match_run(folder, run, marks_of(scenario, rewrite_of(folder, run)))
        keys = path_keys(scenario, built, insert=scenario.srv6.mode.inserts)
        for path_id, probe in trains_of(matched.packets, sent.trains, keys):
            collected.setdefault(path_id, []).append(probe)
        if progress is not None:
            progress(number + 1, len(runs))
    if not collected:
        raise InputError(f"{runs[0]}: none of its packets are on a path of {scenario_file}; {_AGAIN}")
    network = built.network
    estimates = {
        path: estimate_path(found, _overhead(network, path), f"path {path}")
        for path, found in sorted(collected.items())
    }
    overrides = _overrides(network, estimates)
    spec = scenario.network.model_copy(update={"overrides": (*scenario.network.overrides, *overrides)})
    text = _comment(network, estimates) + scenario.model_copy(update={"network": spec}).to_toml()
    with new_file(out) as aside:
        aside.write_text(text, encoding="utf-8")
    return CalibrationDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        scenario=str(out),
        paths=[
            CalibratedPath.model_validate(
                {
                    "path_id": path,
                    "links": [network.links[link].name for link in network.paths[path].links],
                    **found.as_dict(),
                }
            )
            for path, found in estimates.items()
        ],
        overrides=[override.model_dump(mode="json", exclude_none=True) for override in overrides],
    ).as_dict()


def _probes_of(folder: Path, run: Run) -> ProbesDocument:
    if run.rewrite is None:
        raise InputError(f"{folder}: names no folder of probes; {_AGAIN}")
    file = folder / run.rewrite / PROBES_FILE
    return read_shape(file, ProbesDocument, f"{file}: not found, so this is no run of probes; {_AGAIN}", _AGAIN)


def trains_of(packets: Planned, trains: Sequence[Train], keys: dict[tuple[int, int], int]) -> list[tuple[int, Probe]]:
    """The trains of a run by path, told by `path_keys`: those of their packets that were seen leaving."""
    if not len(packets.planned_ns) or not trains:
        return []
    order = np.argsort(packets.planned_ns, kind="stable")
    planned = packets.planned_ns[order]
    shift = int(planned[0]) - trains[0].first_ns
    lists: dict[int, list[int]] = {}
    for (_, key), path in keys.items():
        lists.setdefault(path, []).append(key)
    found = []
    for train in trains:
        first = np.searchsorted(planned, train.first_ns + shift, "left")
        stop = np.searchsorted(planned, train.last_ns + shift, "right")
        rows = order[first:stop]
        rows = rows[np.isin(packets.segments[rows], np.array(lists.get(train.path_id, []), np.uint64))]
        rows = rows[packets.send_ns[rows] != -1]
        rows = rows[np.argsort(packets.send_ns[rows], kind="stable")]
        if len(rows):
            size = int(packets.frame_bytes[rows[0]])
            found.append((train.path_id, Probe(train.kind, size, packets.send_ns[rows], packets.receive_ns[rows])))
    return found


def _slowest(network: Network, path: int) -> list[int]:
    """The links of a path that its rate may be that of, by what the scenario says."""
    links = network.paths[path].links
    least = min(network.links[link].rate_bps for link in links)
    return [link for link in links if network.links[link].rate_bps <= _SAME * least]


def _overhead(network: Network, path: int) -> int:
    return network.links[_slowest(network, path)[0]].overhead_bytes


def _overrides(network: Network, estimates: dict[int, PathEstimate]) -> list[Override]:
    """What of the scenario's links is different: both directions of a link have one entry.

    A link is as fast as the fastest path that it may be the slowest link of, and has the buffer and burst of that path.
    Base delays of paths are shared out among their links, least squares.
    """
    named: dict[str, list[PathEstimate]] = {}
    for path, found in estimates.items():
        for link in _slowest(network, path):
            named.setdefault(_edge(network, link), []).append(found)
    delays = _delays(network, estimates)
    overrides = []
    for name, delay_ns in delays.items():
        values: dict[str, Any] = {"link": name, "delay": write_duration(max(0, round(delay_ns)))}
        if name in named:
            best = max(named[name], key=lambda found: found.rate_bps.value)
            alike = [found for found in named[name] if found.rate_bps.value * _SAME >= best.rate_bps.value]
            rate_bps = round(float(np.median([found.rate_bps.value for found in alike])))
            overhead = round(float(np.median([found.overhead_bytes.value for found in alike])))
            values |= {"rate": write_rate(rate_bps), "overhead": write_size(max(0, overhead))}
            buffers = [found.buffer_bytes.value for found in alike if found.buffer_bytes is not None]
            if buffers:
                values["buffer"] = write_size(round(float(np.median(buffers))))
            burst = float(np.median([found.burst_bytes.value for found in alike]))
            values["burst"] = write_size(round(burst))
        overrides.append(Override.model_validate(values))
    return overrides


def _edge(network: Network, link: int) -> str:
    return network.links[link].name.removesuffix(BACK)


def _delays(network: Network, estimates: dict[int, PathEstimate]) -> dict[str, float]:
    """Delay of each link that was probed: the smallest that add up to the base delays of the paths."""
    names = list(dict.fromkeys(_edge(network, link) for path in estimates for link in network.paths[path].links))
    uses: NDArray[np.float64] = np.zeros((len(estimates), len(names)))
    for row, path in enumerate(estimates):
        for link in network.paths[path].links:
            uses[row, names.index(_edge(network, link))] += 1
    wanted = np.array([found.base_delay_ns.value for found in estimates.values()])
    shares = np.linalg.lstsq(uses, wanted, rcond=None)[0]
    return dict(zip(names, shares.tolist(), strict=True))


def _comment(network: Network, estimates: dict[int, PathEstimate]) -> str:
    """The estimates of each path with their intervals, as comments."""
    lines = ["# Calibrated: what probes found on each path, 95 % intervals in parentheses."]
    for path, found in estimates.items():
        links = " ".join(network.links[link].name for link in network.paths[path].links)
        rate, base, burst = found.rate_bps, found.base_delay_ns, found.burst_bytes
        line = f"# path {path} ({links}): rate {rate.value:.0f} bit/s ({rate.low:.0f} to {rate.high:.0f})"
        line += f", base delay {base.value:.0f} ns ({base.low:.0f} to {base.high:.0f})"
        line += f", burst {burst.value:.0f} B ({burst.low:.0f} to {burst.high:.0f})"
        overhead, buffer = found.overhead_bytes, found.buffer_bytes
        line += f", overhead {overhead.value:.1f} B ({overhead.low:.1f} to {overhead.high:.1f})"
        if buffer is not None:
            line += f", buffer {buffer.value:.0f} B ({buffer.low:.0f} to {buffer.high:.0f})"
        lines.append(line)
    return "\n".join(lines) + "\n"
