"""The sentences of an answer: what a policy carries within the budgets, or needs to keep them."""

from __future__ import annotations

from collections.abc import Sequence

from segcast.analyzer.plan.axes import Axis
from segcast.analyzer.plan.document import StatedEdge
from segcast.traces.units import say_number


def name_of(edge: StatedEdge) -> str:
    """A policy and its timeout."""
    return edge.policy if edge.timeout is None else f"{edge.policy}, {edge.timeout}"


def value_words(axis: Axis, value: float) -> str:
    """A value of the axis to three digits, as `load 0.71`, `5 paths`, `10Gbps`."""
    if axis.name == "load":
        return f"load {say_number(float(f'{value:.3g}'))}"
    if axis.whole:
        return f"{round(value)} {axis.name}" if value != 1 else f"1 {axis.name.removesuffix('s')}"
    return _rounded(axis, value)


def _rounded(axis: Axis, value: float) -> str:
    return axis.write(float(f"{value:.3g}"))


def _percent(value: float) -> str:
    return say_number(float(f"{value:.3g}"))


def bounds_words(axis: Axis, low: float, high: float) -> str:
    """Both bounds of an interval, as ` (0.69 to 0.73)`; empty where they are one."""
    first, last = ((str(round(v)) if axis.whole else _rounded(axis, v)) for v in (low, high))
    return "" if first == last else f" ({first} to {last})"


def edge_words(axis: Axis, edge: StatedEdge, share: float | None) -> str:
    """How far one policy goes."""
    name = name_of(edge)
    if edge.value is None or edge.low is None or edge.high is None:
        if edge.state == "nowhere":
            return f"{name} nowhere"
        return f"{name} wherever it was asked"
    verb = "up to" if axis.rises else "from"
    interval = bounds_words(axis, *_widest(edge)).strip(" ()")
    of_link = (
        "" if share is None or axis.name != "load" else f"{_percent(100 * edge.value * share)} % of the busiest link"
    )
    beside = "; ".join(each for each in (interval, of_link) if each)
    return f"{name} {verb} {value_words(axis, edge.value)}" + (f" ({beside})" if beside else "")


def _widest(edge: StatedEdge) -> tuple[float, float]:
    low, high = edge.traffic_low, edge.traffic_high
    if low is None or high is None:
        low, high = edge.low, edge.high
    assert low is not None
    assert high is not None
    return low, high


def answer_words(
    axis: Axis,
    edges: Sequence[StatedEdge],
    baseline: StatedEdge,
    slo: str,
    bounds: tuple[float, float],
    share: float | None,
) -> str:
    """The answer in one sentence: the baseline's edge, the best other's, and what lies between them.

    `bounds` are the values of the axis between which was asked. Which policy is best is said only where its interval
    against the baseline's is clear of 0; those whose edges cannot be told from the best are named with it.
    """
    ends = f"{axis.write(min(bounds))} to {axis.write(max(bounds))}"
    if all(edge.state == "nowhere" for edge in edges):
        return f"no policy keeps {slo} at any {axis.noun} from {ends}"
    if all(edge.state == "everywhere" for edge in edges):
        return f"every policy keeps {slo} at every {axis.noun} from {ends}; ask further out"
    said = f"{slo} is kept by {edge_words(axis, baseline, share)}"
    others = [edge for edge in edges if edge is not baseline]
    if not others:
        return said
    beyond = [edge for edge in others if _beyond(axis, edge, baseline)]
    if not beyond:
        worse = all(_beyond(axis, baseline, edge) for edge in others)
        return f"{said}; {'no other policy goes as far' if worse else 'nothing else clearly goes further'}"
    best = beyond[0]  # in order, the furthest first
    alike = [edge for edge in beyond[1:] if not _beyond(axis, best, edge)]
    together = f" ({', '.join(name_of(edge) for edge in alike)} alike)" if alike else ""
    return f"{said}, by {edge_words(axis, best, share)}{together}{_gain_words(axis, best, baseline)}"


def _beyond(axis: Axis, edge: StatedEdge, other: StatedEdge) -> bool:
    """Whether an edge clearly lies further out than another."""
    rank = {"nowhere": 0, "edge": 1, "everywhere": 2}
    if edge.state != "edge" or other.state != "edge":
        return rank[edge.state] > rank[other.state]
    (low, high), (other_low, other_high) = _widest(edge), _widest(other)
    return low > other_high if axis.rises else high < other_low


def _gain_words(axis: Axis, best: StatedEdge, baseline: StatedEdge) -> str:
    if best.gain is None or best.value is None or baseline.value is None:
        return ""
    if axis.whole:
        fewer = round(baseline.value - best.value)
        return f": {fewer} fewer" if fewer > 0 else ""
    percent = _whole_percent(best.gain)
    if best.gain_low is not None and best.gain_high is not None:
        ends = sorted((best.gain_low, best.gain_high), key=abs)
        percent += f" % ({_whole_percent(ends[0])} to {_whole_percent(ends[1])})"
    else:
        percent += " %"
    return f": {percent} {'more traffic' if axis.name == 'load' else 'less'}"


def _whole_percent(ratio: float) -> str:
    """A change without its sign, in whole percent from ten on."""
    value = abs(100 * ratio)
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"
