"""The stages of a failure, by the clock: what is known of it when, and by whom (docs/failures.md, Stages)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from segcast.analyzer.scenario.choices import PolicyChoice
from segcast.analyzer.scenario.valid import ValidScenario

StageName = Literal["before", "hole", "routed", "suspected"]


class Stage(NamedTuple):
    """A stage, and when it begins, from the failure on; it ends where the next begins."""

    name: StageName
    begin_ns: int


def stages_of(scenario: ValidScenario, policy: PolicyChoice, left_ns: int) -> tuple[Stage, ...]:
    """The stages that a failure has under a policy, as far as they begin within `left_ns`, when traffic ends.

    hole: nobody knows. routed: the fabric's routing knows, `detection` after the failure; it chooses for policies that
    are not steered. suspected: the timeouts of the first packets lost have expired, so that steering hosts can leave
    the path; only where they suspect at all.
    """
    steering = scenario.steering_of(policy)
    found = [Stage("hole", 0)]
    suspects = policy.policy.steered and steering.suspect_after > 0
    if not suspects or scenario.detection < steering.loss_timeout:
        found.append(Stage("routed", scenario.detection))
    if suspects:
        found.append(Stage("suspected", steering.loss_timeout))
    return tuple(stage for stage in found if stage.begin_ns == 0 or stage.begin_ns < left_ns)


def never_learns(scenario: ValidScenario, policy: PolicyChoice) -> bool:
    """Whether the policy goes on choosing dead paths for good: hosts steer, and never suspect a path.

    Some learn by themselves: `hermes` senses failed paths, `flowbender` and `plb` are not steered.
    """
    return policy.policy.steered and not scenario.steering_of(policy).suspect_after
