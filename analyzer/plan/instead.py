"""More traffic on the same network, or the same traffic on less of one: with how many paths the best policy does."""

from __future__ import annotations

from collections.abc import Sequence

from segcast.analyzer.plan.axes import OF_TRAFFIC, Axis, axis_named
from segcast.analyzer.plan.cost import cost_of
from segcast.analyzer.plan.document import StatedEdge, StatedInstead
from segcast.analyzer.plan.searches import Searches
from segcast.analyzer.plan.stating import stated
from segcast.analyzer.plan.words import beyond
from segcast.analyzer.topologies.leaf_spine import LeafSpineSpec
from segcast.traces.errors import InputError


def instead_of(axis: Axis, edges: Sequence[StatedEdge], baseline: StatedEdge, search: Searches) -> StatedInstead | None:
    """With how many paths the best policy keeps the budgets at the baseline's edge; None if that is no saving.

    It is asked only where the traffic was varied, the best is clearly beyond the baseline, and the network has paths to
    take away; by a search of its own, so that nothing is said that was not run.
    """
    best, paths, value = edges[0], axis_named("paths"), baseline.value
    if axis.name not in OF_TRAFFIC or best is baseline or value is None or not beyond(axis, best, baseline):
        return None
    there = axis.put(search.scenario, value)
    try:
        now = paths.now(there)
        if now <= 1:
            return None
        variant = next(each for each in search.edges if (each.policy.label, each.label) == _labels(best))
        found = search.over(paths, there, (1.0, now), variant)
    except InputError:  # such as an event of a spine that would not be there
        return None
    edge = stated(variant, found.edges[variant], found.asked, found)
    if edge.state == "everywhere":
        needs = low = high = 1.0
    elif edge.value is None or edge.low is None or edge.high is None:
        return None
    else:
        needs, low, high = edge.value, edge.low, edge.high
    if high >= now:
        return None
    own, fewer = cost_of(there), cost_of(paths.put(there, high))
    return StatedInstead(
        policy=best.policy,
        timeout=best.timeout,
        value=value,
        of="spine" if isinstance(there.network, LeafSpineSpec) else "path",
        now=round(now),
        needs=round(needs),
        low=round(low),
        high=round(high),
        saved=None if own is None or fewer is None else own - fewer,
        probes=edge.probes,
    )


def _labels(edge: StatedEdge) -> tuple[str, str]:
    return edge.policy, edge.policy if edge.timeout is None else f"{edge.policy}, {edge.timeout}"
