"""The cells of a forecast: which policy runs with which flowlet timeout, load and seed."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.valid import ValidScenario


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: which policy runs with which timeout (None if it has no use for one), load and seed.

    Where senders react the flowlets of the one that is `profiled` stand for those of the traffic.
    """

    policy: PolicyChoice
    timeout: TimeoutChoice | None
    offered: Offered
    seed: int
    keep_packets: bool
    keep_series: bool
    profiled: bool = False

    @property
    def load(self) -> Fraction:
        """How much more it is offered than the trace has."""
        return self.offered.load

    @property
    def name(self) -> str:
        """The cell's name in tables and file names."""
        parts = [self.policy.label]
        if self.timeout is not None:
            parts.append(self.timeout.label)
        if self.offered.rate != 1:
            parts.append(f"x{float(self.offered.rate):g}")
        if self.offered.flows != 1:
            parts.append(f"g{float(self.offered.flows):g}")
        return re.sub(r"[^A-Za-z0-9._+=-]", "_", "-".join([*parts, f"s{self.seed}"]))

    def columns(self) -> dict[str, Any]:
        """The columns every table of a forecast begins with."""
        return {
            "cell": self.name,
            "policy": self.policy.label,
            "timeout": None if self.timeout is None else self.timeout.label,
            "timeout_ns": None if self.timeout is None else self.timeout.timeout_ns,
            "load": float(self.load),
            "seed": self.seed,
        }

    def growth(self) -> dict[str, Any]:
        """The columns that say in the summary what its load is made of."""
        return {"growth": float(self.offered.flows), "year": self.offered.year, "share": self.offered.share}


def plan_cells(scenario: ValidScenario) -> list[CellPlan]:
    """All cells in order: policy, timeout, load, seed, duplicates dropped.

    Raises InputError if two would have one name, or a cell needs feedback that the scenario's acknowledgements do not
    give.
    """
    if scenario.sweep is not None:
        raise scenario.wrong(("sweep",), "is what segcast sweep runs; leave it out here")
    _check_offered(scenario)
    cells: list[CellPlan] = []
    for choice in scenario.policies:
        timeouts: list[TimeoutChoice | None] = [None]
        if choice.policy.granularity == "flowlet":
            timeouts = list(scenario.timeouts)
        elif choice.policy.timed:
            timeouts = [timeout for timeout in scenario.timeouts if timeout.timeout_ns is not None]
            if not timeouts:
                raise scenario.wrong(
                    ("timeouts",), f'{choice.label} needs a fixed flowlet timeout; add one, such as "100us"'
                )
        seeds = enumerate(dict.fromkeys(scenario.seeds))
        for timeout, offered, (place, seed) in itertools.product(timeouts, scenario.offered, seeds):
            keep = scenario.packets == "all" or (scenario.packets == "first" and place == 0)
            cells.append(CellPlan(choice, timeout, offered, seed, keep, place == 0, not cells))
    names: dict[str, CellPlan] = {}
    for cell in cells:
        # Some file systems do not tell upper from lower case.
        if (other := names.setdefault(cell.name.lower(), cell)) is not cell:
            raise scenario.wrong(
                ("policies",),
                f"the cells of {other.policy.label!r} and {cell.policy.label!r} would both be called {cell.name}; "
                "give one another label",
            )
        _check_feedback(cell, scenario)
    return cells


def _check_offered(scenario: ValidScenario) -> None:
    """Raise InputError if two kinds of growth come to one load: tables and pages tell cells by it."""
    of_load: dict[Fraction, Offered] = {}
    for one in scenario.offered:
        if (other := of_load.setdefault(one.load, one)) != one:
            ways = " and ".join(f"load {float(o.rate):g} with growth {float(o.flows):g}" for o in (other, one))
            raise scenario.wrong(
                ("growth",), f"{ways} both offer {float(one.load):g} times the trace; run them as two forecasts"
            )


def _check_feedback(cell: CellPlan, scenario: ValidScenario) -> None:
    steering = scenario.steering_of(cell.policy)
    ack = steering.ack
    learner = cell.policy.label if cell.policy.policy.learns else None
    if cell.timeout is not None and cell.timeout.detector.learns:
        learner = cell.timeout.label
    if steering.suspect_after and cell.policy.policy.steered:
        learner = "steering.suspect_after"
    place = ("policies",) if "ack" in cell.policy.steering else ("steering", "ack")
    if ack == "timeout" and cell.timeout is not None and cell.timeout.detector.awaits:
        raise scenario.wrong(
            place, f'{cell.timeout.label} awaits acknowledgements, and with steering.ack = "timeout" there are none'
        )
    if ack != "modelled" and learner is not None:
        raise scenario.wrong(
            place, f'{learner} needs steering.ack = "modelled": with "{ack}" no host learns what returned'
        )
