"""The sentences of a comparison: what differs, and what limits saying so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from segcast.analyzer.answers.budgets import more_dropped, say_value
from segcast.analyzer.answers.wording import change, change_interval, count, counted
from segcast.analyzer.compare.differences import causes, listed
from segcast.analyzer.compare.document import CompareDocument, StatedChange
from segcast.analyzer.forecast.compare import variant_label
from segcast.analyzer.forecast.document import LoadedVariant

_NAMED: Final = 3
_FEW: Final = 4
_TITLES: Final = {"delay_p99_ns": "p99 delay", "fct_p99_ns": "p99 completion time"}


def name_of(variant: LoadedVariant, *, several: bool) -> str:
    """A variant in words; of `several` loads each is named."""
    grown = {"growth": variant.growth, "year": variant.year, "share": variant.share}
    rule = variant.timeout if variant.timeout_ns is None else None
    return variant_label(variant.policy, variant.timeout_ns, rule, variant.load, **grown, several=several)  # type: ignore[arg-type]


def changed_by(one: StatedChange) -> str:
    """A change with its interval: `-12 % (-15 to -9)`."""
    bounds = change_interval(one.low, one.high)
    return change(one.change) + (f" ({bounds})" if bounds else "")


def answer_of(document: CompareDocument) -> str:
    """What differs, in a sentence or two."""
    of_traffic = [each for each in document.differences if each.of == "traffic"]
    if of_traffic:
        return f"Different traffic, so nothing is paired: {listed(of_traffic, _NAMED)}. {_side_by_side(document)}"
    if not document.changes:
        return "No policy, timeout and load is in both, so no result is compared."
    if not document.paired:
        return f"No seed is in both, so nothing is paired. {_side_by_side(document)}"
    reasons = causes(document.differences)
    alike = all(one.verdict in ("equal", "none") for one in document.changes)
    if alike and not document.differences:
        return "Nothing differs: the same traffic and scenario, and the same results to the last digit."
    if alike:
        which = f"{listed(document.differences, _NAMED)}, yet" if reasons else "What both were asked is the same, and"
        return f"{which} every result that both have is the same to the last digit."
    headline = [one for one in document.changes if one.metric == document.headline]
    said = _moved(document, headline)
    if reasons:
        return f"{said} What differs: {listed(reasons, _NAMED)}."
    return f"{said} Nothing that was asked differs, so what made them does: {_makers(document)}."


def _makers(document: CompareDocument) -> str:
    versions = (document.first.segcast, document.second.segcast)
    return "Segcast {} and {}".format(*versions) if versions[0] != versions[1] else "the code, or a policy of one's own"


def _title(document: CompareDocument) -> str:
    return _TITLES[document.headline]


def _several(document: CompareDocument) -> bool:
    return len({one.load for one in [*document.changes, *document.only_first, *document.only_second]}) > 1


def _side_by_side(document: CompareDocument) -> str:
    """Figures of the variant that comes first, without saying that one is better: chance is not known."""
    found = [one for one in document.changes if one.metric == document.headline and one.verdict != "none"]
    if not found:
        return "No variant has a result in both."
    one = found[0]
    name = name_of(one, several=_several(document))
    values = [say_value(one.metric, value) for value in (one.first, one.second)]
    return f"Side by side, {name} has a {_title(document)} of {values[0]} in the first and {values[1]} in the second."


def _moved(document: CompareDocument, found: Sequence[StatedChange]) -> str:
    """Who is lower in the second, who is higher, and who cannot be told apart."""
    several, losses = _several(document), _losses(document)
    groups = {
        verdict: [one for one in found if one.verdict == verdict] for verdict in ("lower", "higher", "unclear", "equal")
    }
    said = []
    for verdict in ("lower", "higher"):
        ones = sorted(groups[verdict], key=lambda one: -abs(one.change or 0.0))
        if ones:
            names = [
                f"{name_of(one, several=several)} by {_by(one, losses.get(_variant(one)))}" for one in ones[:_NAMED]
            ]
            if len(ones) > _NAMED:
                names.append(f"{len(ones) - _NAMED} more")
            said.append(f"{verdict} under {_joined(names)}")
    for verdict, words in (("unclear", "not clearly different"), ("equal", "the same")):
        ones = groups[verdict]
        if ones:
            names = [name_of(one, several=several) for one in ones]
            said.append(f"{words} under {_joined(names) if len(names) <= _NAMED else f'{len(names)} others'}")
    if not said:
        return "No variant has a result in both."
    return f"In the second, {_title(document)} is {'; '.join(said)}."


def _by(one: StatedChange, lost: str | None) -> str:
    """A change, its interval, and what came with it: `-12 % (-15 to -9; 4 % dropped instead of 1 %)`."""
    beside = "; ".join(filter(None, [change_interval(one.low, one.high), lost]))
    return change(one.change) + (f" ({beside})" if beside else "")


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def limits_of(document: CompareDocument) -> list[str]:
    """What speaks against the answer, or what it leaves out, worst first."""
    found = list(_worse(document))
    first, second = document.first, document.second
    if document.same_traffic and first.packets != second.packets:
        found.append(
            f"of the same traffic {count(first.packets, ',')} packets cross the network in the first, and "
            f"{count(second.packets, ',')} in the second"
        )
    if first.segcast != second.segcast:
        found.append(f"made by Segcast {first.segcast} and {second.segcast}")
    if document.same_traffic and document.changes:
        seeds = [len(set(each.seeds)) for each in (first, second)]
        shared = len(document.seeds)
        if 0 < shared < max(seeds):
            found.append(f"paired are the {counted(shared, 'seed')} that both have, of {seeds[0]} and {seeds[1]}")
        if 0 < shared < _FEW:
            found.append(f"{counted(shared, 'seed')} can tell little apart: run both with 10")
        if not shared:
            found.append("give both the same seeds, to compare them seed by seed")
    for which, ones in (("first", document.only_first), ("second", document.only_second)):
        if ones:
            names = [name_of(one, several=_several(document)) for one in ones]
            shown = _joined(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - 3} more"
            found.append(f"only in the {which}: {shown}")
    return found


_LOST: Final = {"unfinished": "flows unfinished", "drop_ratio": "dropped"}


def _losses(document: CompareDocument) -> dict[tuple[Any, ...], str]:
    """What variants lost more than in the first, by variant; times are only of what arrived."""
    found: dict[tuple[Any, ...], str] = {}
    for one in document.changes:
        if one.metric not in _LOST or one.first is None or one.second is None:
            continue
        if more_dropped(one.second, one.first):
            words = _LOST[one.metric]
            before, now = (say_value(one.metric, value) for value in (one.first, one.second))
            found[_variant(one)] = f"{now} {words} instead of {before}"
    return found


def _variant(one: StatedChange) -> tuple[Any, ...]:
    return one.policy, one.timeout, one.timeout_ns, one.load, one.growth, one.year


def _worse(document: CompareDocument) -> Iterator[str]:
    """Who lost more than in the first and is not quicker or slower either, which the answer does not say."""
    losses = _losses(document)
    for one in document.changes:
        silent = one.metric == document.headline and one.verdict in ("unclear", "equal", "none")
        if silent and _variant(one) in losses:
            yield f"{name_of(one, several=_several(document))}: {losses[_variant(one)]}"
