"""Policies that count bytes in flight, run again with errors of that count: how far does a forecast rest on it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from segcast.analyzer.scenario.choices import PolicyChoice
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError

ERRORS: Final[dict[str, dict[str, Any]]] = {
    "late 100us": {"ack_late": "100us"},
    "late 1ms": {"ack_late": "1ms"},
    "lost 1%": {"ack_loss": 0.01},
    "lost 10%": {"ack_loss": 0.1},
    "timeouts": {"ack": "timeout"},
    "recorded": {"ack": "recorded"},
    "unseen 50%": {"ack": "recorded", "unseen": 0.5},
}
"""What the host sees, by the end of the label: acknowledgements late or lost; none (a capture of one side); those of
the trace; those of half of its packets (headers snapped off)."""


def with_errors(scenario: ValidScenario) -> ValidScenario:
    """The scenario with each policy that counts bytes in flight also run under each of ERRORS that it can bear.

    Raises InputError if no policy counts.
    """
    more = [variant for choice in scenario.policies for variant in _variants(scenario, choice)]
    if not more:
        raise InputError("no policy of the scenario counts bytes in flight; add inflight to them")
    labels = {choice.label for choice in scenario.policies}
    new = tuple(choice for choice in more if choice.label not in labels)
    return scenario.model_copy(update={"policies": (*scenario.policies, *new)})


def _variants(scenario: ValidScenario, choice: PolicyChoice) -> Iterator[PolicyChoice]:
    policy = choice.policy
    # What learns, or suspects, must be told what returns.
    told = (
        policy.learns or scenario.steering_of(choice).suspect_after or any(t.detector.learns for t in scenario.timeouts)
    )
    awaits = any(t.detector.awaits for t in scenario.timeouts)
    if not policy.counts_inflight or choice.steering:
        return
    for name, steering in ERRORS.items():
        if not (told and "ack" in steering) and not (awaits and steering.get("ack") == "timeout"):
            yield choice.model_copy(
                update={"label": f"{choice.label} {name}", "steering": {"ack": "modelled"} | steering}
            )
