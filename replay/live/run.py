"""A flow list by real TCP through the testbed that stands, measured."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Final, NamedTuple

from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.table import Workload
from segcast.replay.live.counters import counted, processors
from segcast.replay.live.failures import failures_of
from segcast.replay.live.generator import send_list
from segcast.replay.live.plan import LivePlan, plan_live
from segcast.replay.live.results import LiveRun, flowlets_of, summary_of, table_of
from segcast.replay.live.routes import prepare, seed_hashes
from segcast.replay.live.sockets import Options, make_sockets
from segcast.replay.live.steering import AtHosts, Steering
from segcast.replay.testbed.bed import DEFAULT_NAME, held, standing
from segcast.replay.testbed.plan import Space, plan_bed
from segcast.replay.testbed.spaces import within
from segcast.traces.errors import InputError

__all__ = ["PATIENCE_S", "ByProgram", "LiveRun", "run_live", "summary_of"]

_CUBIC: Final = Options()

PATIENCE_S: Final = 60.0
"""How long a list may take beyond the last start that it says."""


class ByProgram(NamedTuple):
    """A cell that a program at the hosts' interfaces is to follow."""

    steering: Steering
    cell: CellPlan


def run_live(
    workload: Workload,
    scenario: ValidScenario,
    *,
    policy: str,
    seed: int,
    name: str = DEFAULT_NAME,
    options: Options = _CUBIC,
    super_frames: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
    patience_s: float = PATIENCE_S,
    by_program: ByProgram | None = None,
    tick: Callable[[int], None] = lambda passed_ns: None,
) -> LiveRun:
    """Send a list through the testbed that `segcast testbed up` built for this scenario, and measure its flows.

    `policy` and `seed` choose the paths (`plan_live`), or what `by_program` says; of `ecmp` the seed is that of the
    nodes' hash, where the kernel has one. `super_frames` says whether TCP hands several segments down at once,
    `settings` are written below /proc/sys/net of hosts, `tick` is told twice a second how much time of the list has
    passed. Links fail and recover as the scenario's events say, and are as they were built at the end; if this process
    is killed, the testbed says that they are not, and has to be built anew. It ends `patience_s` after the last start
    of the list at the latest; Ctrl-C ends it at once, and so does whatever ends this process, whose sockets alone are
    in the namespaces. Raises InputError if the testbed does not stand, was built for another network, or cannot carry
    the list.
    """
    if os.geteuid() != 0:
        raise InputError("real TCP in the testbed: enters network namespaces, which takes root; run it with sudo")
    plan = plan_live(workload, scenario, policy, seed, by_program=by_program is not None)
    with held(name):
        built, _ = standing(name)
        for part in ("network", "attachments", "srv6"):
            if getattr(built, part) != getattr(scenario, part):
                raise InputError(f"testbed {name}: was built for another {part}; run segcast testbed up again")
        bed = plan_bed(scenario, name)
        hosts = bed.hosts()
        failures = failures_of(scenario, plan.assembled, bed)
        prepare(plan, hosts, super_frames=super_frames, settings=settings)
        seed_hashes([space for space in bed.spaces if not space.host], seed)

        def there(place: int, work: Callable[[], list[socket.socket]]) -> list[socket.socket]:
            return within(hosts[place].namespace, work)

        with _steered(scenario, plan, hosts, by_program) as at_hosts, failures:

            def turn(passed_ns: int) -> None:
                tick(passed_ns)
                if at_hosts is not None:
                    at_hosts.turn()

            sockets = make_sockets(plan.connections, options, there)
            before, began = counted(name, hosts), processors()
            seconds = float(workload.start_ns.max() - workload.start_ns.min()) / 1e9 + patience_s
            timed = failures.timed()
            result = send_list(workload, plan.connections, plan.half_of_row, sockets, seconds, turn, timed)
            busy, outages = processors().busy_since(began), failures.outages()
            counts = counted(name, hosts).since(before).without(outages)
            steered = None if at_hosts is None else at_hosts.collected()
        flowlets = None if steered is None else flowlets_of(plan, result, steered)
        return LiveRun(
            table_of(plan, result, flowlets),
            counts,
            result.unfinished_why,
            busy,
            steered,
            flowlets,
            outages,
            failures.left,
        )


def _steered(
    scenario: ValidScenario, plan: LivePlan, hosts: list[Space], by_program: ByProgram | None
) -> AbstractContextManager[AtHosts | None]:
    if by_program is None:
        return nullcontext()
    return by_program.steering.attached(scenario, plan, hosts, by_program.cell)
