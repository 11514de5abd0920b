"""The sentences of a failure study: what failures cost under a policy, and the answer over all policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from segcast.analyzer.forecast.compare import variant_label
from segcast.analyzer.plan.failures.kinds import Failures, Kind
from segcast.analyzer.slo import Slo
from segcast.traces.units import say_duration, say_number

_FULL: Final = 0.001  # of packets: what queues drop beyond this is said
_SUSPECT: Final = 3


class Told(NamedTuple):
    """A policy with its timeout and load: `rows` of FAILURES, `intact` budgets broken without a failure.

    `never_learns` and `suspects` as its hosts are: they never suspect paths, or they do and try them again after
    `suspect_for_ns`.
    """

    variant: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    intact: tuple[str, ...]
    never_learns: bool
    suspects: bool
    suspect_for_ns: int

    @property
    def label(self) -> str:
        """The variant in words."""
        of = self.variant
        return variant_label(of["policy"], of["timeout_ns"], of["timeout"], of["load"], share=of["share"])

    def failing(self, judge: str) -> list[dict[str, Any]]:
        """The failures that break budgets."""
        return [row for row in self.rows if row["broken_after"] or (judge == "whole" and row["broken"])]


def percent(ratio: float) -> str:
    """A share as pages write it: whole percents from 10 % on, else two digits."""
    value = 100 * ratio
    return f"{round(value) if value >= 9.95 else say_number(float(f'{value:.2g}'))} %"


def duration(value_ns: float) -> str:
    """A time to three digits."""
    return say_duration(int(float(f"{value_ns:.3g}")))


def worst(rows: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]) -> dict[str, Any] | None:
    """The row of the highest value above 0; the first of equals."""
    known = [(number, row) for row in rows if (number := value(row)) is not None and number > 0]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def noun(kind: Kind, count: int) -> str:
    """How many failures of a kind, in words."""
    names = {"links": "link", "nodes": "node", "groups": "group"}
    return f"{count:,} {names[kind]} failure{'' if count == 1 else 's'}"


def says(told: Told, kind: Kind, detection_ns: int, reacts: bool) -> list[str]:
    """What failures cost under a policy, the hole first."""
    found = [*_hole(told, detection_ns), *_recovery(told, reacts), *_after(told, reacts), *_cut_off(told)]
    return found or [f"none of the {noun(kind, len(told.rows))} changes anything that was measured"]


def _hole(told: Told, detection_ns: int) -> list[str]:
    rows = told.rows
    found = []
    first = worst(rows, lambda row: row["lost_hole"])
    if first is not None:
        until = "hosts can know" if told.suspects else f"routing knows ({duration(detection_ns)})"
        found.append(
            f"in the hole, until {until}, at most {_packets(first['lost_hole'])} are lost ({first['failure']})"
        )
    later = worst(rows, lambda row: row["lost_later"])
    if later is None:
        return found
    goes_on = worst([row for row in rows if row["still_losing"]], lambda row: row["lost_later"])
    count = sum(bool(row["still_losing"]) for row in rows)
    if told.never_learns and goes_on is not None:
        found.append(
            f"hosts steer on into dead links until the end after {count} of {len(rows)} failures, at worst "
            f"{percent(goes_on['lost_ratio'])} of all packets ({goes_on['failure']}): nothing tells them, whatever "
            f"routing knows. Set steering.suspect_after (to {_SUSPECT}, say), and they leave a path after so many "
            "losses in a row; queues have no part in this"
        )
    elif told.suspects and goes_on is not None:
        found.append(
            f"hosts leave a dead path after steering.suspect_after losses in a row there, and try it again every "
            f"{duration(told.suspect_for_ns)} (steering.suspect_for): up to {_packets(goes_on['lost_later'])} are lost "
            f"meanwhile, until the end ({goes_on['failure']})"
        )
    else:
        found.append(f"after that up to {_packets(later['lost_later'])} more go into dead links ({later['failure']})")
    return found


def _recovery(told: Told, reacts: bool) -> list[str]:
    slowest = worst(told.rows, lambda row: row["recover_ns"])
    if slowest is None:
        return []
    last = "every flow that lost packets is heard again" if reacts else "no packet goes into a dead link"
    found = [f"{last} from {duration(slowest['recover_ns'])} after a failure on, at the latest ({slowest['failure']})"]
    stalled = worst(told.rows, lambda row: row["stall_max_ns"]) if reacts else None
    if stalled is not None:
        found.append(
            f"flows that lost packets stall {duration(stalled['stall_p50_ns'])} (median), "
            f"{duration(stalled['stall_max_ns'])} at most ({stalled['failure']})"
        )
    return found


def _after(told: Told, reacts: bool) -> list[str]:
    rows, found = told.rows, []
    slow = worst(rows, lambda row: row["fct_p99_after_ns"] if reacts else row["delay_p99_after_ns"])
    busy = worst(rows, lambda row: row["utilisation_after"])
    if busy is not None and busy["utilisation_intact"] is not None:
        # More than its rate is what was sent then, and still waits in its queue when the stage ends.
        verb = "carries" if busy["utilisation_after"] <= 1 else "is sent"
        found.append(
            f"once settled the busiest link {verb} up to {percent(busy['utilisation_after'])} of its rate "
            f"({busy['bottleneck']}, after {busy['failure']}), against {percent(busy['utilisation_intact'])} without a "
            f"failure: {percent(busy['headroom'])} is left"
        )
    if slow is not None:
        name = "p99 completion time" if reacts else "p99 delay"
        key = "fct_p99" if reacts else "delay_p99"
        calm = slow[f"{key}_intact_ns"]
        against = "" if calm is None else f", against {duration(calm)} without it"
        found.append(f"{name} is then at worst {duration(slow[f'{key}_after_ns'])} ({slow['failure']}){against}")
    full = worst([row for row in rows if _full_ratio(row) > _FULL], _full_ratio)
    if full is not None:
        found.append(
            f"full queues drop up to {_packets(full['lost_full'])} more than without a failure ({full['failure']}): "
            "the links that are left carry too little"
        )
    stuck = worst(rows, lambda row: row["unfinished"])
    if stuck is not None:
        found.append(f"up to {stuck['unfinished']:.3g} more messages never finish ({stuck['failure']})")
    return found


def _full_ratio(row: dict[str, Any]) -> float:
    lost = row["lost_hole"] + row["lost_later"] + row["no_path"] + row["lost_full"]
    return float(row["lost_ratio"] * row["lost_full"] / lost) if lost else 0.0


def _cut_off(told: Told) -> list[str]:
    cut = [row for row in told.rows if row["no_path"] > 0]
    if not cut:
        return []
    most = worst(cut, lambda row: row["no_path"]) or cut[0]
    lost = f"at worst {_packets(most['no_path'])} ({most['failure']}): no policy helps there"
    return [f"{len(cut)} of {len(told.rows)} failures leave hosts without any path, {lost}"]


def _packets(count: float) -> str:
    rounded = f"{count:,.0f}" if count >= 100 else say_number(float(f"{count:.3g}"))
    return f"{rounded} packet{'' if rounded == '1' else 's'}"


def answer(told: Sequence[Told], kind: Kind, slo: Slo | None, judge: str, reacts: bool) -> str:
    """The headline: with budgets, how many failures each policy survives; else the worst that each suffers."""
    count = len(told[0].rows)
    tried = f"Worst of {noun(kind, count)} tried"
    if slo is None:
        return f"{tried}: " + "; ".join(_suffers(one, reacts) for one in told)
    already = [one for one in told if one.intact]
    if len(already) == len(told):
        return "Broken without any failure: " + "; ".join(f"{' and '.join(one.intact)} ({one.label})" for one in told)
    when = "" if judge == "whole" else " once settled"
    return f"{slo.text}{when}: " + "; ".join(_survives(one, count, judge) for one in told) + f", of {noun(kind, count)}"


def _suffers(one: Told, reacts: bool) -> str:
    key = "fct_p99" if reacts else "delay_p99"
    slow = worst(one.rows, lambda row: row[f"{key}_after_ns"])
    lossy = worst([row for row in one.rows if not row["no_path"]], lambda row: row["lost_ratio"])
    cut = sum(row["no_path"] > 0 for row in one.rows)
    parts = []
    if slow is not None:
        calm = slow[f"{key}_intact_ns"]
        name = "p99 completion time" if reacts else "p99 delay"
        before = "" if calm is None else f"{duration(calm)} to "
        parts.append(f"{name} {before}{duration(slow[f'{key}_after_ns'])} ({slow['failure']})")
    if lossy is not None:
        forever = ", and goes on" if lossy["still_losing"] else ""
        parts.append(f"{percent(lossy['lost_ratio'])} of packets lost ({lossy['failure']}{forever})")
    if cut:
        parts.append(f"{cut} of them cut{'s' * (cut == 1)} hosts off")
    return f"{one.label}: {', '.join(parts) or 'nothing measured changes'}"


def _survives(one: Told, count: int, judge: str) -> str:
    if one.intact:
        return f"{one.label} breaks it without any failure"
    failing = one.failing(judge)
    if not failing:
        return f"{one.label} keeps it after all {count}"
    settled = sum(bool(row["broken_after"]) for row in failing)
    hole = len(failing) - settled
    only = f" ({hole} of the others for what happens before things settle)" if hole and judge == "whole" else ""
    return f"{one.label} after {count - len(failing)}{only}"


def limits(failures: Failures, kind: Kind, scenario_limits: Sequence[str]) -> list[str]:
    """What was not tried, and what limits the answer."""
    singles = [failure for failure in failures.tried if " + " not in failure.name]
    pairs = len(failures.tried) - len(singles)
    others = {"links": "nodes and groups", "nodes": "single links and groups", "groups": "single links and nodes"}[kind]
    if not failures.pairs:
        untried = f"two at once, {others}"
    elif pairs < failures.pairs:
        untried = (
            f"{failures.pairs - pairs:,} of {failures.pairs:,} pairs (those that share a node came first), {others}"
        )
    else:
        untried = f"three at once, {others}"
    found = [f"not tried: {untried}, hosts' own links, links that are slow or flap, and other moments than this one"]
    if failures.idle:
        some = ", ".join(failures.idle[:5]) + (f" and {len(failures.idle) - 5} more" if len(failures.idle) > 5 else "")
        found.append(f"on no path of this traffic, so without effect and not run: {some}")
    return [*found, *scenario_limits]
