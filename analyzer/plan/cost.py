"""What networks cost by the scenario's prices, and in words."""

from __future__ import annotations

from segcast.analyzer.scenario.cost import CostSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.topologies.leaf_spine import LeafSpineSpec
from segcast.traces.errors import InputError

_PRICES = ("spine", "link", "gbps")


def cost_of(scenario: ValidScenario) -> float | None:
    """What the links and spines of the scenario's network cost; None if it has no prices.

    Raises InputError if it prices spines and has none.
    """
    prices = scenario.cost
    if prices is None:
        return None
    network = scenario.network
    spines = network.spines if isinstance(network, LeafSpineSpec) else None
    if prices.spine and spines is None:
        raise scenario.wrong(("cost", "spine"), f"a {scenario.kind} network has no spines; give link or gbps")
    fabric = scenario.fabric()
    gbps = sum(fabric.links[edge.forward].rate_bps for edge in fabric.edges) / 1e9
    return (spines or 0) * prices.spine + len(fabric.edges) * prices.link + gbps * prices.gbps


def parse_cost(text: str) -> CostSpec:
    """Prices as `--cost` has them: `spine=12000,link=400,currency=EUR`. Raises InputError."""
    found: dict[str, float | str] = {}
    for part in text.split(","):
        name, _, value = (each.strip() for each in part.partition("="))
        if name == "currency" and value:
            found[name] = value
            continue
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if name not in _PRICES or not 0 <= float(found[name]) <= 1e12:
            raise InputError(f"--cost {part.strip()!r}: write it like spine=12000,link=400,gbps=30,currency=EUR")
    if len(str(found.get("currency", ""))) > 12:
        raise InputError("--cost: a currency has at most 12 letters")
    return CostSpec.model_validate(found)


def money(value: float, currency: str | None) -> str:
    """A price: `36,000 EUR`; small ones to the hundredth."""
    number = f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:,.2f}"
    return f"{number} {currency}".strip()
