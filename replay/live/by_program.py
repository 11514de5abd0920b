"""Hosts of a testbed steered by the kernel's program: the plan of each, its rules, and what it said at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from segcast.analyzer.detectors.drained import DrainedParameters
from segcast.analyzer.detectors.rtt import RttParameters
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.scenario.choices import TimeoutChoice
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.live.plan import LivePlan
from segcast.replay.live.steering import Steered, SteeredFlowlet
from segcast.replay.steer.attach import Steered as SteeredHost
from segcast.replay.steer.plan import POLICIES, SteerPlan, plan_steering, rules_of
from segcast.replay.steer.program import digest
from segcast.replay.steer.run import grouped
from segcast.replay.steer.surroundings import mtu_of
from segcast.replay.steer.tables import Rules
from segcast.replay.testbed.plan import Space
from segcast.replay.testbed.spaces import within
from segcast.traces.units import write_duration

DEFAULT_ACK_TIMEOUT_NS: Final = 300_000_000

_INTERFACE: Final = "e0"
_PLACE_BITS: Final = 48  # of a seed, above which the place stands: hosts of one are not to draw what those of others do
_LOG_TURN_S: Final = 0.05
_SWEEP_MORE_S: Final = 0.5


class ByKernel:
    """The kernel's program, at the interface of every host."""

    def __init__(self, ack_timeout_ns: int = DEFAULT_ACK_TIMEOUT_NS) -> None:
        """`ack_timeout_ns`: after which a packet that nobody has acknowledged counts as in flight no more."""
        self.ack_timeout_ns = ack_timeout_ns

    @property
    def digest(self) -> str:
        """SHA-256 of the program."""
        return digest()

    def settings(self) -> dict[str, Any]:
        """See `Steering`."""
        return {"program": self.digest, "ack_timeout_ns": self.ack_timeout_ns}

    def refusal(self, scenario: ValidScenario, cell: CellPlan) -> str | None:
        """Why it cannot follow the policy and timeout of a cell; None if it can."""
        choice = cell.policy
        if choice.name not in POLICIES:
            return f"the kernel's program has {', '.join(POLICIES)}"
        if choice.built() != choice.policy.parameters():
            return "the kernel's program has it with its usual parameters only"
        if choice.steering:
            return "in a live run all policies have the scenario's own steering"
        if cell.timeout is not None and _text_of(cell.timeout) is None:
            return f"the kernel's program has no flowlet timeout {cell.timeout.label}: give a duration, rtt or drained"
        return None

    @contextlib.contextmanager
    def attached(
        self, scenario: ValidScenario, plan: LivePlan, hosts: Sequence[Space], cell: CellPlan
    ) -> Iterator[_AtHosts]:
        """See `Steering`."""
        with contextlib.ExitStack() as held:
            steered, number = [], 0
            for place, host in enumerate(hosts):
                sources = _sources(scenario, plan, place)
                if not sources:
                    continue
                planned = plan_steering(scenario, host.place, sources, first_number=number, assembled=plan.assembled)
                number += len(sources)
                rules = self._rules(scenario, planned, host, cell, place)
                attach = partial(SteeredHost, _INTERFACE, planned, rules, checks=False)
                steered.append(held.enter_context(within(host.namespace, attach)))
            yield _AtHosts(steered, self.ack_timeout_ns)

    def _rules(self, scenario: ValidScenario, planned: SteerPlan, host: Space, cell: CellPlan, place: int) -> Rules:
        timeout = None if cell.timeout is None else _text_of(cell.timeout)
        rules = rules_of(
            planned,
            scenario.steering,
            policy=cell.policy.name,
            timeout=timeout,
            seed=cell.seed ^ place << _PLACE_BITS,
            mtu_bytes=within(host.namespace, partial(mtu_of, _INTERFACE)),
            minimum_frame_bytes=scenario.fabric().minimum_frame_bytes,
            ack_timeout_ns=self.ack_timeout_ns,
        )
        if cell.timeout is not None and isinstance(bounds := cell.timeout.built(), RttParameters):
            rules = dataclasses.replace(rules, **bounds.model_dump())
        return rules


class _AtHosts:
    """The program at all hosts' interfaces."""

    def __init__(self, steered: Sequence[SteeredHost], ack_timeout_ns: int) -> None:
        self._steered = steered
        self._patience_s = ack_timeout_ns / 1e9 + _SWEEP_MORE_S

    def turn(self) -> None:
        """Read the logs, so that there is room for more."""
        for each in self._steered:
            each.log.drain()

    def collected(self) -> Steered:
        """What they say of all that was sent; what nobody will acknowledge any more has timed out by then."""
        until = time.monotonic() + self._patience_s
        while (left := sum(int(each.inflight_bytes().sum()) for each in self._steered)) and time.monotonic() < until:
            time.sleep(_LOG_TURN_S)
        tally: dict[str, int] = {}
        flowlets: list[SteeredFlowlet] = []
        for each in self._steered:
            for name, count in each.tally().items():
                tally[name] = tally.get(name, 0) + count
            flowlets += _flowlets(each)
        return Steered(flowlets, left, sum(each.log.lost for each in self._steered), tally)


def _flowlets(host: SteeredHost) -> Iterator[SteeredFlowlet]:
    for row in host.flowlets().to_pylist():
        yield SteeredFlowlet(
            ((row["src"], row["src_port"]), (row["dst"], row["dst_port"])),
            row["path_id"],
            row["first_ns"] - host.log.utc_ahead_ns,
            row["packets"],
            row["bytes"],
            row["gap_ns"] or 0,
        )


def _sources(scenario: ValidScenario, plan: LivePlan, place: int) -> list[str]:
    """The steering hosts at an attachment: addresses that connections of the plan have there, or their prefixes."""
    own = {each.ends[side][0] for each in plan.connections for side in (0, 1) if each.places[side] == place}
    return grouped(sorted(own), scenario.steering.hosts)


def _text_of(timeout: TimeoutChoice) -> str | None:
    """A flowlet timeout as the program is told it; None if it has none such."""
    if timeout.timeout_ns is not None:
        return write_duration(timeout.timeout_ns)
    parameters = timeout.built()
    if isinstance(parameters, RttParameters):
        return "rtt"
    if isinstance(parameters, DrainedParameters):
        usual = parameters == timeout.detector.parameters()
        return "drained" if usual else f"{write_duration(parameters.gap_ns)}+drained"
    return None
