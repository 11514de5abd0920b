"""The sentences of a comparison of plans: who goes further in the second, and what limits saying so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from segcast.analyzer.answers.wording import change, change_interval
from segcast.analyzer.compare.differences import listed
from segcast.analyzer.compare.plan_document import ComparedEdge, PlanCompareDocument, PolicyTimeout, StatedEdgeChange
from segcast.analyzer.plan.axes import axis_named
from segcast.analyzer.plan.words import bounds_words, value_words

_NAMED: Final = 3
_IMMATERIAL: Final = re.compile(r"between|cost(\..*)?|seeds|packets|traffic\.(resamples|block)|(policies|timeouts)\[.*")
"""Keys from which no edge of what both have follows."""


def name_of(one: StatedEdgeChange | PolicyTimeout) -> str:
    """A policy and its timeout."""
    return one.policy if one.timeout is None else f"{one.policy}, {one.timeout}"


def side_words(over: str, side: ComparedEdge) -> str:
    """How far a policy goes: `load 1.34`, or that it has no edge."""
    if side.value is None:
        return "nowhere" if side.state == "nowhere" else "wherever it was asked"
    return value_words(axis_named(over), side.value)


def bounds_of(over: str, side: ComparedEdge) -> str:
    """The interval of that: `1.29 to 1.4`; empty without one."""
    if side.low is None or side.high is None:
        return ""
    return bounds_words(axis_named(over), side.low, side.high).strip(" ()")


def changed_by(one: StatedEdgeChange) -> str:
    """A change of an edge with its interval: `+12 % (9 to 15)`; empty where there are not two."""
    if one.change is None:
        return ""
    bounds = change_interval(one.low, one.high)
    return change(one.change) + (f" ({bounds})" if bounds else "")


def answer_of(document: PlanCompareDocument) -> str:
    """What differs, in a sentence or two."""
    first, second = document.first, document.second
    if first.over != second.over:
        asked = f"the first varies {first.over}, the second {second.over}"
        return f"Different questions, so no edge is compared: {asked}. {_both_answers(document)}"
    of_traffic = [each for each in document.differences if each.of == "traffic"]
    if of_traffic:
        return f"Different traffic, so no edge is compared: {listed(of_traffic, _NAMED)}. {_side_by_side(document)}"
    if not document.edges:
        return f"No policy and timeout is in both, so no edge is compared. {_both_answers(document)}"
    if all(one.verdict in ("equal", "beyond") for one in document.edges) and not document.differences:
        return "Nothing differs: the same question, traffic and scenario, and the same edges to the last digit."
    reasons = [each for each in document.differences if not _IMMATERIAL.fullmatch(each.key)]
    if all(one.verdict == "equal" for one in document.edges):
        which = f"{listed(document.differences, _NAMED)}, yet" if reasons else "What both were asked is the same, and"
        return f"{which} every edge that both have is the same to the last digit."
    few = first.few or second.few
    said = f"{_moved(document)}{_turned(document)}"
    said = (
        said
        if few is None
        else f"Too little to tell: {few}. Seen so far, and no answer yet: {said[:1].lower()}{said[1:]}"
    )
    if reasons:
        return f"{said} What differs: {listed(reasons, _NAMED)}."
    return f"{said} Nothing that was asked differs, so what made them does: {_makers(document)}."


def _makers(document: PlanCompareDocument) -> str:
    versions = document.first.segcast, document.second.segcast
    return "Segcast {} and {}".format(*versions) if versions[0] != versions[1] else "the seeds, the code, or a policy"


def _both_answers(document: PlanCompareDocument) -> str:
    return f"The first says: {document.first.answer}. The second: {document.second.answer}."


def _side_by_side(document: PlanCompareDocument) -> str:
    """Where the policy that comes first goes in both, without saying that one is better."""
    if not document.edges:
        return "No policy and timeout is in both."
    one = document.edges[0]
    sides = f"{one.first.words} in the first and {one.second.words} in the second"
    return f"Side by side, {name_of(one)} keeps its budgets {sides}."


def _moved(document: PlanCompareDocument) -> str:
    """Under which policies the second keeps its budgets further, or less far."""
    rises = axis_named(document.first.over).rises
    words = {
        "better": "further under" if rises else "with less under",
        "worse": "less far under" if rises else "only with more under",
    }
    said = []
    for verdict, phrase in words.items():
        ones = sorted(
            (one for one in document.edges if one.verdict == verdict), key=lambda one: -abs(one.change or 0.0)
        )
        if ones:
            names = [_by(one, document.first.over) for one in ones[:_NAMED]]
            said.append(
                f"{phrase} {_joined([*names, *([f'{len(ones) - _NAMED} more'] if len(ones) > _NAMED else [])])}"
            )
    for verdict, phrase in (("unclear", "not clearly differently under"), ("equal", "alike under")):
        ones = [one for one in document.edges if one.verdict == verdict]
        if ones:
            names = [name_of(one) for one in ones]
            said.append(f"{phrase} {_joined(names) if len(names) <= _NAMED else f'{len(names)} others'}")
    for state, phrase in (("everywhere", "wherever it was asked"), ("nowhere", "nowhere that was asked")):
        names = [name_of(one) for one in document.edges if one.verdict == "beyond" and one.second.state == state]
        if names:
            said.append(f"{phrase}, as in the first, under {_joined(names) if len(names) <= _NAMED else 'others'}")
    budgets = document.second.slo if document.first.slo == document.second.slo else "what it asks"
    return f"In the second, {budgets} is kept {'; '.join(said)}."


def _by(one: StatedEdgeChange, over: str) -> str:
    """A policy, where its edge is and was, and by how much that moved: `ecmp (load 2 instead of load 1, +100 %)`."""
    sides = f"{side_words(over, one.second)} instead of {side_words(over, one.first)}"
    moved = f", {change(one.change)}" if one.change is not None else ""
    bounds = change_interval(one.low, one.high)
    return f"{name_of(one)} ({sides}{moved}{f', {bounds}' if bounds else ''})"


def _turned(document: PlanCompareDocument) -> str:
    """That another policy is best, where one is."""
    best = document.first.furthest, document.second.furthest
    return "" if best[0] == best[1] else f" The best is {best[0]} in the first and {best[1]} in the second."


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def limits_of(document: PlanCompareDocument) -> list[str]:
    """What speaks against the answer, or what it leaves out, worst first."""
    found: list[str] = []
    first, second = document.first, document.second
    if not document.same_question and first.over == second.over:
        found.append(f"each is held to its own budgets: {first.slo} in the first, {second.slo} in the second")
    found += [f"{which}: {one.but}" for which, one in (("first", first), ("second", second)) if one.but]
    if first.segcast != second.segcast:
        found.append(f"made by Segcast {first.segcast} and {second.segcast}")
    for which, ones in (("first", document.only_first), ("second", document.only_second)):
        if ones:
            names = [name_of(one) for one in ones]
            shown = _joined(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - 3} more"
            found.append(f"only in the {which}: {shown}")
    return found


def why_not(found: dict[str, Any]) -> str:
    """Why a comparison's second plan does not hold, in a line, from the content of its document."""
    document = PlanCompareDocument.model_validate(found)
    worse = [name_of(one) for one in document.edges if one.verdict == "worse"]
    if not document.same_question or not worse:
        return document.second.answer
    shown = _joined(worse) if len(worse) <= _NAMED else f"{len(worse)} policies"
    return (
        f"{shown} keep{'s' if len(worse) == 1 else ''} {document.second.slo} less far than in {document.first.folder}"
    )
