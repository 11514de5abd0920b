"""The search for an edge, on functions whose edge is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segcast.analyzer.plan.search import Edge, Question, find_edge, stages_to, verdict

Margin = Callable[[float, int], list[float]]


def searched(question: Question, margin: Margin) -> Edge:
    """The edge, found by answering every ask with margins of the function."""
    search = find_edge(question)
    answers: list[NDArray[np.float64]] | None = None
    asked: set[tuple[float, int]] = set()
    while True:
        try:
            asks = next(search) if answers is None else search.send(answers)
        except StopIteration as ended:
            edge: Edge = ended.value
            assert edge.cells == len(asked) <= question.most
            return edge
        answers = []
        for ask in asks:
            seeds = range(ask.first, ask.stop)
            assert not asked & {(ask.place, seed) for seed in seeds}, "asked twice"
            asked |= {(ask.place, seed) for seed in seeds}
            answers.append(np.array([margin(ask.place, seed) for seed in seeds]))


def plain(near: float = 0.0, far: float = 1.0, *, exact: tuple[bool, ...] = (False,), **others: object) -> Question:
    return Question(near, far, exact, **{"step": 0.01, **others})  # type: ignore[arg-type]


@given(st.floats(0.02, 0.98), st.floats(0.2, 5.0))
@settings(max_examples=60, deadline=None)
def test_without_noise_the_edge_is_bracketed(at: float, power: float) -> None:
    edge = searched(plain(), lambda u, seed: [at**power - u**power])
    assert edge.state == "edge"
    assert edge.settled
    assert edge.monotone
    assert edge.place is not None
    assert edge.low is not None
    assert edge.high is not None
    assert abs(edge.place - at) <= 0.01
    assert edge.low <= edge.place <= edge.high
    assert edge.high - edge.low <= 0.01


def test_noise_widens_the_interval_to_cover() -> None:
    rng = np.random.default_rng(7)
    covered, widths = 0, []
    for _ in range(100):
        draw = rng.normal(0, 0.05, 40)
        own = rng.normal(0, 0.02, (1000, 40))
        edge = searched(plain(), lambda u, seed, d=draw, o=own: [0.6 - u + d[seed] + o[int(u * 997), seed]])  # type: ignore[misc]
        assert edge.low is not None
        assert edge.high is not None
        covered += edge.low <= 0.6 <= edge.high
        widths.append(edge.high - edge.low)
    assert covered >= 88
    assert np.median(widths) < 0.05  # 40 seeds of 0.054 are 0.034 wide


def test_more_seeds_are_asked_for_only_where_they_tell() -> None:
    def margin(u: float, seed: int) -> list[float]:
        return [0.5 - u + (0.2 if seed % 2 else -0.2)]

    edge = searched(plain(), margin)
    seeds = {probe.place: probe.seeds for probe in edge.probes}
    assert seeds[0.0] == 10
    assert max(seeds.values()) == 40


def test_an_exact_budget_breaks_with_one_seed() -> None:
    edge = searched(plain(exact=(True,)), lambda u, seed: [-1.0 if u > 0.37 and seed == 3 else 0.0])
    assert edge.place is not None
    assert edge.high is not None
    assert edge.place <= 0.37 < edge.high <= edge.place + 0.01


def test_an_exact_budget_is_kept_by_all_seeds_or_not() -> None:
    """A seed of the last stage breaks it: ten that keep it do not make the edge."""
    edge = searched(plain(exact=(True,)), lambda u, seed: [-1.0 if u > (0.37 if seed == 33 else 0.8) else 0.0])
    assert edge.place is not None and edge.high is not None
    assert edge.settled
    assert edge.place <= 0.37 < edge.high <= edge.place + 0.01
    (inner,) = (probe for probe in edge.probes if probe.place == edge.place)
    assert inner.seeds == 40
    assert min(probe.seeds for probe in edge.probes if probe.place > 0.8) == 10  # one that breaks it is enough


def test_the_budget_that_breaks_first_binds() -> None:
    edge = searched(plain(exact=(False, True, False)), lambda u, s: [0.8 - u, -float(u > 0.9), 0.3 - u])
    assert edge.binding == 2
    assert edge.place == pytest.approx(0.3, abs=0.01)
    edge = searched(plain(exact=(False, True)), lambda u, s: [0.8 - u, -float(u > 0.5)])
    assert edge.binding == 1
    assert edge.place == pytest.approx(0.5, abs=0.01)


def test_an_axis_on_one_side_has_no_edge() -> None:
    nowhere = searched(plain(), lambda u, s: [-1.0 - u])
    assert (nowhere.state, nowhere.place) == ("nowhere", None)
    everywhere = searched(plain(), lambda u, s: [2.0 - u])
    assert (everywhere.state, everywhere.place) == ("everywhere", None)


def test_what_is_not_monotone_says_so_and_takes_the_first_edge() -> None:
    edge = searched(plain(), lambda u, s: [math.cos(3 * math.pi * u)])
    assert not edge.monotone
    assert edge.place == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("last", range(1, 16))
def test_whole_places_are_found_exactly(last: int) -> None:
    question = plain(1.0, 16.0, whole=True, step=1.0)
    edge = searched(question, lambda u, s: [last + 0.5 - u] if u == round(u) else [math.nan])
    assert edge.low is not None
    assert edge.high is not None
    kept = [probe.place for probe in edge.probes if verdict(probe.margins, (False,)) == "kept"]
    assert max(kept) == last


def test_nothing_delivered_is_outside() -> None:
    edge = searched(plain(), lambda u, s: [-math.inf if u > 0.5 else 1.0])
    assert edge.place is not None
    assert edge.high is not None
    assert edge.place <= 0.5 <= edge.high <= edge.place + 0.01


def test_no_more_is_asked_than_may_be() -> None:
    rng = np.random.default_rng(1)
    edge = searched(plain(most=50), lambda u, s: [0.5 - u + float(rng.normal(0, 1))])
    assert edge.cells <= 50


def test_as_many_seeds_as_it_says_settle_what_fewer_did_not() -> None:
    """Draws of 0.2 over places 0.01 apart: an interval of 40 seeds is some twelve steps wide, and shrinks as a root."""
    rng = np.random.default_rng(11)
    draw = rng.normal(0, 0.2, 20_000)
    few = plain(stages=stages_to(40), most=100_000)
    edge = searched(few, lambda u, s: [0.5 - u + draw[s]])
    wanted = edge.seeds_wanted(few)
    assert edge.low is not None and edge.high is not None and wanted is not None
    assert not edge.settled
    assert wanted == pytest.approx(40 * ((edge.high - edge.low) / 0.01) ** 2, rel=0.01)
    many = plain(stages=stages_to(wanted), most=1_000_000)
    better = searched(many, lambda u, s: [0.5 - u + draw[s]])
    assert better.low is not None and better.high is not None
    assert better.high - better.low < 0.02 < 0.05 < edge.high - edge.low
    settled = searched(plain(), lambda u, s: [0.5 - u])
    assert settled.settled
    assert settled.seeds_wanted(plain()) is None


def test_seeds_of_an_end_that_noise_hides() -> None:
    """A margin of 0.02 with draws of 0.2, at the end that is best: about (t 0.2 / 0.02)^2 seeds tell it from 0."""
    draw = np.random.default_rng(2).normal(0, 0.2, 40)
    question = plain()
    edge = searched(question, lambda u, s: [-0.02 - u + float(draw[s] - draw.mean())])
    assert (edge.state, edge.settled) == ("nowhere", False)
    assert edge.seeds_wanted(question) == pytest.approx((2.02 * draw.std(ddof=1) / 0.02) ** 2, rel=0.01)


@pytest.mark.parametrize(("most", "stages"), [(2, (2,)), (10, (10,)), (25, (10, 20, 25)), (40, (10, 20, 40))])
def test_stages_double_up_to_the_most(most: int, stages: tuple[int, ...]) -> None:
    assert stages_to(most) == stages


def beyond_by_seed(rate: float, seed: int, values: int) -> list[float]:
    """How many more of a seed's values may be beyond a p99.9, and how many may be; they come in clusters of ten."""
    found = 10 * np.random.default_rng([seed, values]).poisson(rate * values / 10)
    return [0.001 * values - found, 0.001 * values]


def test_a_quantile_of_all_seeds_together_is_kept_by_how_many_are_beyond() -> None:
    """At 0.6 a thousandth of the values is beyond; the rate rises with the fourth power."""
    question = plain(shares=(0,), step=0.02)
    held = 0
    for study in range(40):
        edge = searched(question, lambda u, s, n=study: beyond_by_seed(0.001 * (u / 0.6) ** 4, 1000 * n + s, 20_000))
        assert edge.place is not None and edge.low is not None and edge.high is not None
        assert edge.place == pytest.approx(0.6, rel=0.1)
        held += edge.low <= 0.6 <= edge.high
    assert held >= 0.88 * 40


def test_too_few_values_beyond_a_quantile_tell_nothing_and_say_how_many_seeds_would() -> None:
    """Of 100 values a tenth may be beyond p99.9: 40 seeds have four, and thirty take 300."""
    question = plain(shares=(0,))
    edge = searched(question, lambda u, s: [0.1 - (u > 0.5) * 0.2, 0.1])
    assert not edge.settled
    assert edge.seeds_wanted(question) == 300
    assert (edge.low, edge.high) == (0.0, 1.0)
    many = plain(shares=(0,), stages=stages_to(400), most=10_000)
    edge = searched(many, lambda u, s: [0.1 - (u > 0.5) * 0.2, 0.1])
    assert edge.place == pytest.approx(0.5, abs=0.01)


def test_one_seed_with_all_values_beyond_is_one_event() -> None:
    """Once seen is at most 5.6 times expected; of 400 that may be beyond, 20 are little enough, 100 are not."""
    alone = np.array([[10.0 - (20 if seed == 3 else 0), 10.0] for seed in range(40)])
    assert verdict(alone, (False,), (0,)) == "kept"
    more = np.array([[10.0 - (100 if seed == 3 else 0), 10.0] for seed in range(40)])
    assert verdict(more, (False,), (0,)) == "unclear"
    spread = np.array([[10.0 - 12, 10.0] for _ in range(40)])
    assert verdict(spread, (False,), (0,)) == "broken"
