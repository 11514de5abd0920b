"""`segcast testbed run`: a forecast's schedule through the testbed that stands for its scenario."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.forecast.reading import check_captured, find_cell, read_schedule, trace_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.inject.plan import Options, plan_replay
from segcast.replay.inject.run import refuse_in_use, run_replay
from segcast.replay.inventory import read_inventory
from segcast.replay.rewrite.of_forecast import captures_of, encapsulation
from segcast.replay.rewrite.run import Hosts, rewrite_schedule
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.testbed.bed import DEFAULT_NAME, held, standing
from segcast.traces.errors import InputError


def write_schedule(
    folder: Path,
    out: Path,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    load: float | None = None,
) -> RewriteSummary:
    """Write a schedule for the testbed: one capture per attachment, as its hosts inject it, all steered.

    Policies that do not steer are written onto their forecast paths as well: what they chose is to be seen, not what
    the kernel's own hash would choose. Raises InputError as `segcast.replay.rewrite.of_forecast.rewrite_forecast` does.
    """
    scenario = read_scenario(folder / "scenario.toml")
    cell = find_cell(folder, policy, timeout, seed, load)
    trace = trace_of(folder)
    flows = trace.flow_table()
    schedule = read_schedule(folder, cell["cell"])
    built = network_of(folder, scenario)
    groups = built.groups
    names = list(dict.fromkeys(source for source, _ in groups))
    paths = built.network.paths
    enters = np.array([names.index(groups[path.group][0]) for path in paths], np.int64)
    of_flow = np.zeros(flows.num_rows, np.int64)
    path_id = schedule.column("path_id").to_numpy().astype(np.int64)
    if len(path_id) and int(path_id.max()) >= len(paths):
        raise InputError(f"{folder}: its schedule has path {path_id.max()}, its scenario {len(paths)}; forecast again")
    of_flow[schedule.column("flow_id").to_numpy()] = enters[path_id]
    if scenario.srv6.mode.inserts:
        refuse_unrouted(scenario, flows, schedule, [groups[path.group][1] for path in paths])
    return rewrite_schedule(
        schedule,
        flows,
        captures_of(trace),
        encapsulation(scenario, built, len(names), steered=True),
        Hosts(tuple(names), of_flow),
        out,
        cell=cell["cell"],
        layer=trace.layer,
        sids=scenario.sid_table(built),
        resumed=trace.resumed_files,
    )


def refuse_unrouted(scenario: ValidScenario, flows: pa.Table, schedule: pa.Table, leaves: Sequence[str]) -> None:
    """Raise InputError if a flow's destination is in no prefix of the attachment that its path leads to (`leaves`).

    In insert modes packets have no outer header, so the testbed routes them by it. Those of IPv4 are not sent.
    """
    prefixes = {
        place.name: [ipaddress.ip_network(prefix) for prefix in place.prefixes]
        for place in scenario.fabric().attachments
    }
    for row in schedule.group_by("flow_id").aggregate([("path_id", "min")]).to_pylist():
        address = ipaddress.ip_address(flows["dst"][row["flow_id"]].as_py())
        place = leaves[row["path_id_min"]]
        if address.version == 6 and not any(address in prefix for prefix in prefixes[place]):
            raise InputError(
                f"srv6.mode {scenario.srv6.mode}: packets to {address} have no route to {place}: "
                "give that attachment their prefix"
            )


def run_in_testbed(
    folder: Path,
    out: Path,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    load: float | None = None,
    name: str = DEFAULT_NAME,
    transit: bool = False,
    limit_ns: int | None = None,
    options: Options,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Rewrite, replay through the standing testbed, and leave the run folder; returns run.json.

    The rewrite goes to RUN-rewrite, beside the run. Raises InputError if the testbed does not stand or was built for
    another network than the forecast's.
    """
    check_captured(folder)  # refused first
    with held(name):
        built, inventory_file = standing(name)
        wanted = read_scenario(folder / "scenario.toml")
        for part in ("network", "attachments", "srv6"):
            if getattr(built, part) != getattr(wanted, part):
                raise InputError(
                    f"testbed {name}: was built for another {part} than that of {folder}; "
                    f"run segcast testbed up {folder}"
                )
        refuse_in_use(out)
        rewrite = out.with_name(f"{out.name}-rewrite")
        write_schedule(folder, rewrite, policy=policy, timeout=timeout, seed=seed, load=load)
        replay = plan_replay(
            rewrite,
            read_inventory(inventory_file),
            forecast=str(folder.absolute()),
            sender=options.sender,
            transit=transit,
            limit_ns=limit_ns,
        )
        return run_replay(replay, out, options, progress)
