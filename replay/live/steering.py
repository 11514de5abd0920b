"""What a run of real TCP asks of whatever steers flowlets at its hosts: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.live.plan import End, LivePlan
from segcast.replay.testbed.plan import Space


class SteeredFlowlet(NamedTuple):
    """A flowlet as a host's program saw it, times by CLOCK_MONOTONIC; `ends`: of its sender, and whom it sends to."""

    ends: tuple[End, End]
    path_id: int
    start_ns: int
    packets: int
    bytes: int
    gap_ns: int


class Steered(NamedTuple):
    """What steering hosts say of a run, all of them together.

    `inflight_bytes`: what their counters hold when all connections are closed, `lost_records`: flowlets that the log
    had no room for, `tally`: the program's own counts by name.
    """

    flowlets: list[SteeredFlowlet]
    inflight_bytes: int
    lost_records: int
    tally: dict[str, int]


class AtHosts(Protocol):
    """What steers the hosts of a run, while it does."""

    def turn(self) -> None:
        """Do what is to be done now and then; called twice a second."""
        ...

    def collected(self) -> Steered:
        """What was done; called once, when all connections are closed."""
        ...


class Steering(Protocol):
    """Something that steers."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is run."""
        ...

    def settings(self) -> dict[str, Any]:
        """What it steers by besides the scenario and the cell, as JSON values."""
        ...

    def refusal(self, scenario: ValidScenario, cell: CellPlan) -> str | None:
        """Why it cannot follow the policy and timeout of a cell here; None if it can."""
        ...

    def attached(
        self, scenario: ValidScenario, plan: LivePlan, hosts: Sequence[Space], cell: CellPlan
    ) -> AbstractContextManager[AtHosts]:
        """Steer what hosts of a standing testbed, in the order of attachments, send at `e0` while this is entered."""
        ...
