"""What the page and the terminal say of advice, as lines of text."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from segcast.analyzer.advice.document import AdviceDocument, StatedSetting, Tried
from segcast.analyzer.advice.words import say_mend
from segcast.analyzer.answers.card import NAMED
from segcast.reports import text
from segcast.reports.advice import figures
from segcast.reports.style import Figure
from segcast.traces.disk.documents import read_shape
from segcast.traces.errors import InputError
from segcast.traces.units import say_duration


def name_of(tried: Tried) -> str:
    """A policy and its timeout."""
    if tried.timeout is None:
        return tried.policy
    timeout = tried.timeout if tried.timeout_ns is None else say_duration(tried.timeout_ns)
    return f"{tried.policy}, {timeout}"


def change_of(tried: Tried) -> str:
    """A change with its interval."""
    if tried.role == "baseline":
        return "baseline"
    bounds = text.change_interval(tried.low, tried.high)
    said = text.change(tried.change) + (f" ({bounds})" if bounds else "")
    others = text.change_interval(tried.traffic_low, tried.traffic_high)
    return f"{said}, with other traffic {others}" if others else said


def setting_rows(advice: AdviceDocument) -> list[list[str]]:
    """Timeouts as people type them, with a row of titles: whose, how long, whether above the skews, what it does."""
    rows = [["set", "timeout", "above skew", "could move", "against ecmp", "as"]]
    for each in advice.settings:
        timed = each.timeout_ns is not None
        rows.append(
            [
                each.where,
                say_duration(each.timeout_ns) if each.timeout_ns is not None else text.NO_VALUE,
                _above(each) if timed else text.NO_VALUE,
                text.percent(each.movable),
                _gain_at(advice, each),
                _typed(each),
            ]
        )
    return rows


def _above(setting: StatedSetting) -> str:
    """Whether a timeout is above the paths' skew: with empty queues, and as they were."""
    if not setting.above_base:
        return "no"
    return {True: "yes", False: "only empty", None: "if empty"}[setting.above_queues]


def _gain_at(advice: AdviceDocument, setting: StatedSetting) -> str:
    """What the best policy at that timeout would do; for switches, the best of theirs."""
    switches = not setting.where.startswith("scenario")
    at = [
        one
        for one in advice.evidence.tried
        if one.timeout_ns == setting.timeout_ns and one.timeout_ns is not None and one.change is not None
        if not switches or one.by == "switches"
    ]
    if not at:
        return text.NO_VALUE
    best = min(at, key=lambda one: (one.policy != advice.policy, one.change or 0.0, one.policy))
    return text.change(best.change) + (", over budget" if best.broken else "")


def _typed(setting: StatedSetting) -> str:
    """What to type, shortened to what matters, on one line."""
    if setting.where.startswith("Junos"):
        return setting.text.rpartition("flowlet ")[2] if "flowlet " in setting.text else setting.text
    if setting.where.startswith("SONiC"):
        found = setting.text.partition('"ars_obj": ')[2].rstrip("}").lstrip("{")
        return found.rpartition(", ")[2].replace('"', "") if found else setting.text
    return "; ".join(setting.text.splitlines())


class AdviceContent:
    """What the template lays out."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder holds no advice."""
        self.document = read_advice(folder)
        self.title = self.document.name

    @property
    def metric(self) -> str:
        """The headline metric in words."""
        return NAMED[self.document.evidence.reacts]

    @cached_property
    def tried(self) -> list[list[str]]:
        """What was tried, as text."""
        return [
            [
                name_of(one),
                text.duration(one.value),
                change_of(one),
                text.percent(one.reordered),
                text.percent(one.displaced),
                text.percent(one.dropped),
                text.tally(one.flowlets),
                "" if one.role == "baseline" else ", ".join([one.standing, *one.broken]),
            ]
            for one in self.document.evidence.tried
        ]

    @cached_property
    def settings(self) -> list[tuple[list[str], StatedSetting]]:
        """Timeouts as people type them: cells without what is typed, and the whole."""
        rows = setting_rows(self.document)[1:]
        return [(row[:-1], each) for row, each in zip(rows, self.document.settings, strict=True)]

    @cached_property
    def supply(self) -> list[list[str]]:
        """Flowlets at each timeout, as text."""
        return [
            [
                say_duration(each.timeout_ns),
                text.percent(each.movable),
                text.tally(each.per_flow),
                text.tally(each.per_elephant),
                text.percent(each.overtaken),
            ]
            for each in self.document.evidence.supply
        ]

    @cached_property
    def hashing(self) -> list[tuple[str, str]]:
        """The hash, as names and values."""
        found = self.document.evidence.hash
        rows = [
            ("hashed", f"{found.fields}, by {found.function}, seeds of tiers {found.seeds}"),
            ("flows with a choice", text.count(found.flows)),
            ("different values", f"{text.count(found.inputs)} ({text.plain(found.effective)} by bytes)"),
            ("busiest link", f"{text.plain(found.uneven)} times its even share"),
            ("with a perfect hash", f"{text.plain(found.perfect)} (95 of 100 below {text.plain(found.perfect_high)})"),
            ("best of 64 seeds", f"{text.plain(found.lucky)}, which is luck"),
        ]
        if found.mend is not None:
            rows.append((say_mend(found.mend), text.plain(found.mended)))
        return rows

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """Name, colour and dash of each line of what remedies do."""
        return figures.legend(figures.gains(self.document))

    @property
    def gap_legend(self) -> list[tuple[str, str, str]]:
        """Name, colour and dash of each line of what could move."""
        return figures.legend(figures.gaps(self.document))

    def drawings(self) -> dict[str, Figure]:
        """Figures by the name that the template gives them."""
        return {"gains": figures.gains(self.document), "gaps": figures.gaps(self.document)}


def read_advice(folder: Path) -> AdviceDocument:
    """The document of an advice folder. Raises InputError."""
    file = folder / "advice.json"
    document = read_shape(
        file, AdviceDocument, f"{folder}: no advice: it has no advice.json", "make it anew with segcast advise"
    )
    evidence = document.evidence
    if not evidence.supply or not evidence.tried or evidence.tried[0].role != "baseline":
        raise InputError(f"{file}: lacks its evidence; make it anew with segcast advise")
    return document
