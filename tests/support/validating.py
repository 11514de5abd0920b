"""A forecast's schedule sent through a network that is known, and what was measured of it."""

from __future__ import annotations

from pathlib import Path

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.measure.run import measure
from segcast.replay.rewrite.of_forecast import encapsulation, rewrite_forecast
from tests.support.measuring import Net, run_folder
from tests.support.networks import both_ways
from tests.twins.srv6 import parse_frame


def sent(lab: Path, scenario: ValidScenario, policy: str, net: Net, name: str) -> Path:
    """The measurement of a policy's schedule sent through `net`."""
    summary = rewrite_forecast(lab / "f", lab / f"{name}-out", policy=policy)
    lists = encapsulation(scenario, both_ways(scenario), 40, steered=True)
    both = {*lists.segments4, *lists.segments6}
    path = {
        sids: number
        for family in (lists.segments4, lists.segments6)
        for number, sids in enumerate(family)
        if sids in both
    }

    def path_of(frame: bytes) -> int:
        outer = parse_frame(frame, summary.mode).outer
        assert outer is not None
        return path[tuple(sid.packed for sid in outer.segments)]

    run = run_folder(lab / f"{name}-run", scenario, summary, lab / "f", path_of, net)
    measure(run, lab / f"{name}-m")
    return lab / f"{name}-m"
