"""Loads that are a share of the network's: by what factor a trace or a flow list brings the busiest link there."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

from segcast.analyzer.forecast.asked import asked_of_list
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.compare import load_label
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.scenario.growth import MOST_GROWTH, KnownLoad, Offered, share_of
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.traffic.share import Demand, even_share
from segcast.analyzer.traffic.streamed import survey
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.document import Finding
from segcast.traces.trace import Trace
from segcast.traces.units import say_number

_LEAST: Final = Fraction(1, 1_000_000)
_MOST: Final = 1_000_000
_DIGITS: Final = 6
_ROOM: Final = Fraction(3, 2)
_ROUNDS: Final = 3


class Offering(NamedTuple):
    """What a source sends on a network, before loads; of copies of its connections, too, where it `growth`s."""

    network: Network
    plan: FlowPlan
    demand: Demand
    growth: Growth | None = None

    def share(self, one: Offered) -> tuple[float, str] | None:
        """Utilisation of the busiest link, evenly spread, and its name; None where nothing says how long it takes."""
        demand = self.demand if self.growth is None else self.demand.grown(self.growth, one.flows)
        found = even_share(self.network, self.plan, demand)
        return None if found is None else (found[0] * float(one.rate), found[1])


def offering_of(source: Trace | WorkloadFile, scenario: ValidScenario) -> Offering:
    """What a trace or a flow list sends on the scenario's network. Raises InputError if it does not fit."""
    if isinstance(source, WorkloadFile) or scenario.transport is not None:
        asked = (
            asked_of_list(source, scenario) if isinstance(source, WorkloadFile) else asked_of_trace(source, scenario)
        )
        demand = asked.demand(scenario.transport or TransportSpec())
        return Offering(asked.traffic.network, asked.traffic.plan, demand, asked.growth)
    surveyed = survey(source, scenario)
    outline = surveyed.outline
    return Offering(outline.network, outline.plan, surveyed.demand, outline.growth)


def with_known_loads(source: Trace | WorkloadFile, scenario: ValidScenario) -> ValidScenario:
    """The scenario with the factors of all loads that are shares of the busiest link. Raises InputError.

    The source is read once more if there are any.
    """
    shares = scenario.unknown_shares
    if not shares:
        return scenario
    by_flows = scenario.growth is not None and scenario.growth.by == "flows"
    plain = scenario.model_copy(update={"load": (1.0,), "growth": None})
    found = offering_of(source, plain).share(Offered(Fraction(1), Fraction(1)))
    if found is None:
        what = "its flows all start at once" if isinstance(source, WorkloadFile) else "all at one time"
        raise scenario.wrong(("load",), f"{shares[0]}: {what}, so nothing says what share of a link that is")
    share, link = found
    known: dict[str, KnownLoad] = {}
    for text in shares:
        factor = float(share_of(text)) / share
        if not float(_LEAST) <= factor <= _MOST:
            raise scenario.wrong(
                ("load",),
                f"{text} of {link}, which the trace fills to {100 * share:.3g} %, needs {factor:.3g} times the trace; "
                f"from {float(_LEAST):g} to {_MOST} are supported",
            )
        if by_flows:
            known[text] = _by_flows(source, scenario, text, _rounded(factor))
        else:
            known[text] = KnownLoad(_rounded(factor), share * float(_rounded(factor)), link)
    return scenario.with_known(known)


def _rounded(factor: float) -> Fraction:
    return Fraction(f"{factor:.{_DIGITS}g}")


def _by_flows(source: Trace | WorkloadFile, scenario: ValidScenario, text: str, about: Fraction) -> KnownLoad:
    """The factor of growth at which whole connections come to the share, as nearly as they do; `about` is their mean.

    What is sent rises with the factor, so it is found by halving.
    """
    assert scenario.growth is not None
    wanted, most = float(share_of(text)), about
    for _ in range(_ROUNDS):
        most = _rounded(float(min(max(most * _ROOM, Fraction(1)) + 1, Fraction(MOST_GROWTH))))
        growth = scenario.growth.model_copy(update={"factor": (float(most),), "per_year": None, "years": None})
        offering = offering_of(source, scenario.model_copy(update={"load": (1.0,), "growth": growth}))
        if _flows_share(offering, most) >= wanted:
            break
        most *= 4
    low, high = _LEAST, most
    if _flows_share(offering, high) < wanted or _flows_share(offering, low) > wanted:
        few, many = (100 * _flows_share(offering, factor) for factor in (low, high))
        raise scenario.wrong(
            ("load",), f"{text}: growth by flows comes from {few:.3g} % to {many:.3g} % of the busiest link here"
        )
    while _rounded(float(high)) - _rounded(float(low)) > low / 10**5:
        middle = (low + high) / 2
        low, high = (low, middle) if _flows_share(offering, middle) >= wanted else (middle, high)
    ends = [_rounded(float(each)) for each in (low, high)]
    best = min(ends, key=lambda factor: abs(_flows_share(offering, factor) - wanted))
    found = offering.share(Offered(Fraction(1), best))
    assert found is not None
    return KnownLoad(best, *found)


def _flows_share(offering: Offering, factor: Fraction) -> float:
    found = offering.share(Offered(Fraction(1), factor))
    return 0.0 if found is None else found[0]  # a small factor sends nothing


def share_findings(scenario: ValidScenario) -> list[Finding]:
    """What loads that are shares of the network's came to, if any are."""
    by_flows = scenario.growth is not None and scenario.growth.by == "flows"
    way = "by copies of its connections" if by_flows else "by rate: its time is compressed"
    return [
        Finding(
            code="load_of_network",
            severity="info",
            count=1,
            detail=f"{load_label(float(known.factor), share=text)} is {say_number(float(known.factor))} times the "
            f"trace, {way}; if all paths are used alike, that takes the busiest link, {known.link}, to "
            f"{100 * known.share:.3g} %, SRv6's headers aside",
            effect="what links carry under each policy is measured, and differs where policies do",
        )
        for text, known in scenario.known_loads.items()
    ]
