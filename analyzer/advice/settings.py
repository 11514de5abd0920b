"""What is advised as settings that people type: in a scenario, in SONiC, in Junos; each checked against the skew.

docs/advise.md says where the names, ranges and defaults of SONiC and Junos come from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

import tomli_w

from segcast.analyzer.advice.decide import Decision
from segcast.analyzer.advice.document import Evidence, StatedSetting
from segcast.analyzer.answers.wording import duration, percent
from segcast.analyzer.scenario.choices import PolicyChoice
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.units import say_duration

SONIC_NS: Final = 256_000
JUNOS_NS: Final = 16_000
ELSEWHERE_NS: Final = (JUNOS_NS, SONIC_NS)
_SONIC_US: Final = (2, 2047)
_JUNOS_US: Final = (16, 32_000)


def settings_of(
    evidence: Evidence, decision: Decision, scenario: ValidScenario, choices: Sequence[PolicyChoice]
) -> list[StatedSetting]:
    """What is advised, as our scenario, SONiC and Junos have it; then what the two have if nobody sets anything.

    `choices` are the policies that were tried, by their label.
    """
    chosen = decision.chosen
    found = []
    if decision.kind in ("flowlets", "spray", "hash") and chosen is not None:
        timeout_ns = chosen.key[2]
        found.append(_setting("scenario", timeout_ns, _scenario_text(evidence, decision, scenario, choices), evidence))
        if decision.kind == "spray":
            found.append(_setting("SONiC", None, sonic_text(None), evidence))
        elif timeout_ns is not None and timeout_ns not in ELSEWHERE_NS:
            us = -(-timeout_ns // 1000)
            for where, (least, most), text in (("SONiC", _SONIC_US, sonic_text), ("Junos", _JUNOS_US, junos_text)):
                typed = text(us) if least <= us <= most else f"cannot be set: {least} to {most} us"
                found.append(_setting(where, timeout_ns, typed, evidence))
    found.append(_setting("SONiC, default", SONIC_NS, sonic_text(SONIC_NS // 1000), evidence))
    found.append(_setting("Junos, default", JUNOS_NS, junos_text(JUNOS_NS // 1000), evidence))
    return found


def _scenario_text(
    evidence: Evidence, decision: Decision, scenario: ValidScenario, choices: Sequence[PolicyChoice]
) -> str:
    """The keys of a scenario with the baseline and what is advised."""
    chosen = decision.chosen
    assert chosen is not None
    by_label = {choice.label: choice for choice in choices}
    mend = evidence.hash.mend or {}
    policies = (_short(by_label[decision.base.policy], ()), _short(by_label[chosen.policy], mend))
    timeouts = [each for each in scenario.timeouts if _is_of(each.label, each.timeout_ns, chosen.key)]
    dumped = scenario.model_copy(update={"policies": policies, "timeouts": tuple(timeouts)}).model_dump(
        mode="json", exclude_none=True
    )
    keys = ["policies", *(["timeouts"] if timeouts else [])]
    return _inline({key: dumped[key] for key in keys})


def _short(choice: PolicyChoice, kept: Collection[str]) -> PolicyChoice:
    """The policy without the parameters that it has anyway, but for those that are kept."""
    usual = choice.policy.parameters().model_dump(mode="json")
    others = {name: value for name, value in choice.parameters.items() if usual.get(name) != value or name in kept}
    label = "" if choice.label == choice.name else choice.label
    return choice.model_copy(update={"parameters": others, "label": label})


def _is_of(label: str, timeout_ns: int | None, key: tuple[str, str | None, int | None]) -> bool:
    return timeout_ns == key[2] if key[2] is not None else label == key[1]


def _inline(keys: dict[str, list[object]]) -> str:
    """Keys whose values are lists, a line each, in TOML."""
    lines = []
    for key, values in keys.items():
        written = [
            "{ " + ", ".join(tomli_w.dumps(value).strip().splitlines()) + " }"
            if isinstance(value, dict)
            else json.dumps(value)
            for value in values
        ]
        lines.append(f"{key} = [{', '.join(written)}]")
    return "\n".join(lines)


def sonic_text(microseconds: int | None) -> str:
    """An ARS object of CONFIG_DB; without an idle time one that chooses for each packet."""
    entry = {"assign_mode": "per_packet_quality"}
    if microseconds is not None:
        entry = {"assign_mode": "per_flowlet_quality", "flowlet_idle_time": str(microseconds)}
    return json.dumps({"ARS_OBJECT": {"ars_obj": entry}})


def junos_text(microseconds: int) -> str:
    """A line of Junos' configuration."""
    return f"set forwarding-options enhanced-hash-key ecmp-dlb flowlet inactivity-interval {microseconds}"


def _setting(where: str, timeout_ns: int | None, text: str, evidence: Evidence) -> StatedSetting:
    if timeout_ns is None:
        return StatedSetting.model_validate({"where": where, "text": text, "note": "has no timeout"})
    skew = evidence.skew
    supply = next(each for each in evidence.supply if each.timeout_ns == timeout_ns)
    above_base = timeout_ns > skew.base_ns
    above_queues = None if skew.p99_ns is None else timeout_ns > skew.p99_ns
    share = percent(supply.overtaken)
    if not above_base:
        note = (
            f"not above the paths' own skew of {duration(skew.base_ns)}: what moves overtakes, even with empty queues"
        )
    elif above_queues is None:
        note = f"above the paths' own skew of {duration(skew.base_ns)}; that of queues is not known"
    elif not above_queues:
        note = f"above the paths' own skew, but {share} of packets were slower than another path by more"
    elif supply.overtaken:
        note = f"above all skews but those of {share} of packets"
    else:
        note = "above every skew that was seen"
    return StatedSetting(
        where=where,
        timeout_ns=timeout_ns,
        text=text,
        above_base=above_base,
        above_queues=above_queues,
        movable=supply.movable,
        note=f"{say_duration(timeout_ns)} is {note}",
    )
