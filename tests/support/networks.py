"""Networks of scenarios, as tests need them."""

from __future__ import annotations

from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.scenario.valid import ValidScenario


def both_ways(scenario: ValidScenario) -> Assembled:
    """The network between the first two attachments in both directions: of parallel paths, the whole."""
    return scenario.assembled(((0, 1), (1, 0)))
