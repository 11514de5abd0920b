"""Plans: edges that are known in closed form, on every axis, resumed, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.plan.axes import axis_named, axis_of
from segcast.analyzer.plan.cost import cost_of, money, parse_cost
from segcast.analyzer.plan.document import StatedEdge, StatedProbe
from segcast.analyzer.plan.run import PROBES, Asked, budgets_of, plan
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.plan.words import answer_words, end_of, unsettled_words
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.slo import parse_slo
from segcast.reports.plan.content import PlanContent
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.support.queues import SERVICE_NS, capture


def planned(trace: Trace, out: Path, slo: str, over: str = "load", between: str | None = None, **flags: Any) -> Any:
    axis = axis_named(over)
    bounds = None if between is None else axis.between(between)
    most = flags.pop("most", 1000)
    store = flags.pop("store", None) or CellStore(out.with_suffix(".sqlite"))
    asked = Asked(parse_slo(slo), axis, bounds, most=most)
    return plan(trace, scenario_of(None, flags), asked, out, store=store)


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A packet every 40 us: a quarter of 1 Gbit/s."""
    return capture(tmp_path_factory.mktemp("constant") / "c.pcap", np.arange(5000) * 40_000, flows=16)


def test_the_load_of_an_md1_queue(tmp_path: Path) -> None:
    """Pollaczek-Khinchine: the mean wait is s * rho / (2 (1 - rho)); at rho 0.7 it is 11,667 ns."""
    rng = np.random.default_rng(5)
    trace = capture(tmp_path / "m.pcap", np.cumsum(rng.exponential(SERVICE_NS / 0.35, 400_000)))
    found = planned(trace, tmp_path / "p", "mean_queueing < 11667ns", paths="1x1Gbps", policy="ecmp", buffer=None)
    (edge,) = found["edges"]
    assert edge["state"] == "edge"
    assert edge["value"] == pytest.approx(2.0, rel=0.01)
    assert edge["low"] <= edge["value"] <= edge["high"] <= 1.011 * edge["low"]
    assert edge["binding"] == "mean_queueing < 11667ns"


def test_the_load_at_which_a_buffer_overflows(constant: Trace, tmp_path: Path) -> None:
    """Constant traffic fills a buffer of 10 packets within 5,000 only where the link is over 0.2 % too slow."""
    found = planned(constant, tmp_path / "p", "drops == 0", paths="1x1Gbps", policy="ecmp", buffer="12KiB")
    (edge,) = found["edges"]
    assert edge["value"] == pytest.approx(4.0, rel=0.01)
    assert edge["low"] <= 4.01
    assert edge["high"] >= 4.0
    assert not any("draws" in words and "drops == 0" in words for words in found["but"])  # on one path none are


def test_the_rate_that_constant_traffic_needs(constant: Trace, tmp_path: Path) -> None:
    found = planned(
        constant, tmp_path / "p", "drops == 0", "links.rate", paths="1x1Gbps", policy="ecmp", buffer="12KiB"
    )
    (edge,) = found["edges"]
    assert edge["value"] == pytest.approx(250e6, rel=0.01)
    assert not found["rises"]
    assert found["now"] == 1e9
    assert "from 2" in found["answer"]


def test_the_paths_that_constant_traffic_needs(constant: Trace, tmp_path: Path) -> None:
    """Packets in turn use every path alike, at times that are even: 250 Mbit/s need 3 paths of 100."""
    flags = {"paths": "8x100Mbps", "policy": "round-robin,ecmp", "timeout": "1us"}
    found = planned(constant, tmp_path / "p", "drops == 0 and p99_queueing < 1ms", "paths", **flags)
    by_policy = {edge["policy"]: edge for edge in found["edges"]}
    assert by_policy["round-robin"]["value"] == 3
    ecmp = by_policy["ecmp"]
    assert ecmp["value"] is None or ecmp["value"] >= 3
    assert found["edges"][0]["policy"] == "round-robin"


def test_the_buffer_that_a_burst_needs(tmp_path: Path) -> None:
    """Bursts of 20 packets at once; all but the one on the wire wait."""
    trace = capture(tmp_path / "b.pcap", np.repeat(np.arange(200) * 1_000_000, 20))
    found = planned(trace, tmp_path / "p", "drops == 0", "buffer", paths="1x1Gbps", policy="ecmp", buffer="64KiB")
    (edge,) = found["edges"]
    assert edge["state"] == "edge"
    own = planned(trace, tmp_path / "q", "drops == 0", "buffer", "1000B..64KiB", paths="1x1Gbps", policy="ecmp")
    assert own["edges"][0]["value"] == pytest.approx(edge["value"], rel=0.03)
    assert 19 * 1226 * 0.9 <= edge["value"] <= 21 * 1250


@pytest.mark.parametrize(("bursts", "said"), [(1, True), (50, False)])
def test_an_edge_of_few_busy_periods_says_so(tmp_path: Path, bursts: int, said: bool) -> None:
    """The slowest packet in a hundred is one of a burst of 200, or of one of 50 bursts that are as long together."""
    even = np.arange(5000) * 100_000
    times = np.concatenate(
        [even, *(np.full(200 // bursts + 1, even[-1] // (bursts + 1) * (k + 1)) for k in range(bursts))]
    )
    trace = capture(tmp_path / "b.pcap", np.sort(times))
    found = planned(trace, tmp_path / "p", "p99_delay < 30us", paths="1x1Gbps", policy="ecmp")
    words = [each for each in found["but"] if each.startswith("too few busy periods: p99 delay at the edge of ecmp")]
    assert bool(words) is said
    assert all("rests on about 1 separate busy period of the queues, 10 would be needed" in each for each in words)


def test_nothing_is_run_twice_and_files_are_the_same(constant: Trace, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells.sqlite")
    flags = {"paths": "2x100Mbps", "policy": "ecmp,random", "timeout": "100us", "store": store}
    first = planned(constant, tmp_path / "a", "p99_delay < 500us", **flags)
    second = planned(constant, tmp_path / "b", "p99_delay < 500us", **flags)
    assert first["ran"] == first["cells"] > 0
    assert second["ran"] == 0
    assert {**first, "ran": 0} == second
    assert (tmp_path / "a" / "probes.parquet").read_bytes() == (tmp_path / "b" / "probes.parquet").read_bytes()
    table = pq.read_table(tmp_path / "a" / "probes.parquet")
    assert table.schema.remove_metadata().equals(PROBES.arrow_schema())
    assert len(table) == first["cells"]


def test_no_policy_takes_more_cells_than_it_may(constant: Trace, tmp_path: Path) -> None:
    for most in (20, 60):
        out = tmp_path / f"p{most}"
        found = planned(constant, out, "p99_delay < 500us", paths="2x10Gbps", policy="ecmp,random", most=most)
        rows = pq.read_table(out / "probes.parquet")["policy"].to_pylist()
        assert 0 < max(rows.count("ecmp"), rows.count("random")) <= most
        assert len(rows) <= found["cells"]


def test_an_interrupted_plan_goes_on(constant: Trace, tmp_path: Path) -> None:
    store, flags = CellStore(tmp_path / "cells.sqlite"), {"paths": "2x100Mbps", "policy": "ecmp", "buffer": "12KiB"}
    whole = planned(constant, tmp_path / "whole", "drops == 0", **flags)

    def stop(done: int, total: int) -> None:
        if done >= 25:
            raise KeyboardInterrupt

    asked = Asked(parse_slo("drops == 0"), axis_named("load"))
    with pytest.raises(KeyboardInterrupt):
        plan(constant, scenario_of(None, flags), asked, tmp_path / "p", stop, store=store)
    assert not (tmp_path / "p").exists()
    again = planned(constant, tmp_path / "p", "drops == 0", store=store, **flags)
    assert 0 < again["ran"] <= whole["ran"] - 20
    assert {**again, "ran": 0} == {**whole, "ran": 0}


def test_an_axis_without_an_edge_says_so(constant: Trace, tmp_path: Path) -> None:
    flags = {"paths": "1x1Gbps", "policy": "ecmp"}
    never = planned(constant, tmp_path / "n", "p99_delay < 1us and drops == 0", between="0.5..2", **flags)
    edge = never["edges"][0]
    assert edge["state"] == "nowhere"
    # 5 us of propagation and 10 us of sending a frame, but for its overhead behind it.
    assert (edge["end"]["value"], edge["end"]["budget"], edge["end"]["limit"]) == (0.5, "p99_delay < 1us", 1000)
    assert edge["end"]["figure"] == pytest.approx(15_000, rel=0.02)
    assert never["answer"] == (
        "no policy keeps p99_delay < 1us and drops == 0 at any load from 0.5 to 2: "
        f"p99 delay {edge['end']['figure'] / 1000:.3g} us at load 0.5, the lowest asked: "
        f"{edge['end']['figure'] / 1000:.3g} times the budget of 1 us"
    )
    ever = planned(constant, tmp_path / "e", "drops == 0 and p99_delay < 20us", between="0.5..2", **flags)
    assert ever["edges"][0]["state"] == "everywhere"
    said = "every policy keeps drops == 0 and p99_delay < 20us at every load from 0.5 to 2: p99 delay 1"
    assert (
        f"of 16 flows of one size, and it takes at least 20. Seen so far, and no answer yet: {said}" in ever["answer"]
    )
    assert "at load 2, the highest asked: 7" in ever["answer"] and "% of the budget of 20 us; ask" in ever["answer"]


@pytest.mark.parametrize(
    ("slo", "figures", "state", "words"),
    [
        ("drops == 0", {"drop_ratio": 0.02}, "nowhere", "drops 2 % at load 0.5, the lowest asked: none is allowed"),
        ("drops < 1%", {"drop_ratio": 0.02}, "nowhere", "drops 2 % at load 0.5, the lowest asked: 2 times the budget"),
        (
            "drops == 0 and p99_delay < 2ms and jain > 0.5",
            {"drop_ratio": 0.02, "delay_p99_ns": 2.4e6, "jain": 0.6},
            "nowhere",
            "p99 delay 2.4 ms at load 0.5, the lowest asked: 20 % over the budget of 2 ms, drops == 0 broken, too",
        ),
        (
            "drops == 0 and p99_delay < 2ms and jain > 0.5",
            {"drop_ratio": 0.0, "delay_p99_ns": 1e6, "jain": 0.55},
            "everywhere",
            "jain 0.55 at load 0.5, the highest asked: 10 % over the budget of 0.5 and more",
        ),
        ("jain >= 0.5", {"jain": 0.4}, "nowhere", "jain 0.4 at load 0.5, the lowest asked: 20 % below the budget of"),
        ("p99_delay < 2ms", {"delay_p99_ns": None}, "nowhere", "nothing is received at load 0.5, the lowest asked"),
        ("drops == 0", {"drop_ratio": 0.0}, "everywhere", "drops 0 % at load 0.5, the highest asked: none is allowed"),
        (
            "max_queueing < 3us",
            {"queue_max_ns": 0.0},
            "everywhere",
            "max queueing 0 ns at load 0.5, the highest asked: within the budget of 3 us",
        ),
    ],
)
def test_an_end_says_which_budget_and_by_how_much(
    slo: str, figures: dict[str, float | None], state: str, words: str
) -> None:
    end = end_of(axis_named("load"), parse_slo(slo).budgets, figures, 0.5, state)
    assert end.words.startswith(words), end.words
    falling = end_of(axis_named("buffer"), parse_slo(slo).budgets, figures, 64000, state)
    assert f"the {'highest' if state == 'nowhere' else 'lowest'} asked" in falling.words


def test_what_seeds_leave_open_says_how_many_would_tell() -> None:
    edge = stated(Said("ecmp", 2.0, 1.9, 2.1)).model_copy(update={"settled": False, "seeds_wanted": 160})
    probe = StatedProbe(value=2.0, seeds=40, verdict="unclear", figures={})
    edge = edge.model_copy(update={"probes": [probe]})
    load, paths = axis_named("load"), axis_named("paths")
    (line,) = unsettled_words(load, [edge, stated(Said("inflight", 3.0))], 0.01, 1000)
    assert line.startswith("ecmp: 40 seeds a place leave the edge within 1.9 to 2.1; to know it within 1 % would take ")
    assert line.endswith("about 160 (--seeds 160)")
    (line,) = unsettled_words(paths, [edge.model_copy(update={"seeds_wanted": 1234})], 0.01, 1000)
    assert line.endswith("40 seeds a place do not tell kept from broken; to tell would take about 1,300 (--seeds 1300)")
    (line,) = unsettled_words(load, [edge.model_copy(update={"seeds_wanted": 30})], 0.01, 1000)
    assert line.endswith("; the 1,000 cells that a policy may take ran out (--cells)")


@pytest.mark.parametrize(
    ("slo", "over", "flags", "message"),
    [
        ("p99_fct < 2ms", "load", {}, "takes as long as it was recorded"),
        ("timeouts == 0", "load", {}, "leave as captured"),
        ("drops == 0", "links.rate", {"paths": "1x1Gbps,1x2Gbps"}, "links that are alike"),
    ],
)
def test_a_question_that_makes_no_sense(
    constant: Trace, tmp_path: Path, slo: str, over: str, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        planned(constant, tmp_path / "p", slo, over, **({"paths": "1x1Gbps"} | flags))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("over", "text", "message"),
    [
        ("load", "1", "write it like"),
        ("load", "2..1", "lower one"),
        ("load", "a..b", "not a number"),
        ("load", "nan..2", "not a finite number"),
        ("load", "0..2", "not within"),
        ("links.rate", "1..2", "a number with a unit"),
        ("paths", "1.5..3", "not a whole number"),
        ("paths", "1..100000", "not within"),
        ("paths", "0..4", "not within"),
    ],
)
def test_bounds_that_are_none(over: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        axis_named(over).between(text)


def test_links_without_a_buffer_have_none_to_vary(constant: Trace, tmp_path: Path) -> None:
    asked = Asked(parse_slo("drops == 0"), axis_named("buffer"))
    with pytest.raises(InputError, match="have no buffer"):
        plan(constant, short_scenario(paths="1x1Gbps", buffer=None), asked, tmp_path / "p")


def test_budgets_are_those_given_else_the_scenarios() -> None:
    with pytest.raises(InputError, match="has no budgets"):
        budgets_of(short_scenario(paths="1x1Gbps"), None)
    own = short_scenario(paths="1x1Gbps", slo={"keep": "drops == 0"})
    assert budgets_of(own, None).text == "drops == 0"
    assert budgets_of(own, "jain > 0.5").text == "jain > 0.5"


@dataclass
class Said:
    """An edge in short."""

    policy: str
    value: float | None
    low: float | None = None
    high: float | None = None
    state: str = "edge"


def stated(said: Said) -> StatedEdge:
    empty: dict[str, Any] = dict.fromkeys(StatedEdge.model_fields)
    low = said.value if said.low is None else said.low
    high = said.value if said.high is None else said.high
    own = {"policy": said.policy, "value": said.value, "low": low, "high": high, "state": said.state}
    gain = {"gain": 0.2, "gain_low": 0.1, "gain_high": 0.3}
    return StatedEdge.model_validate(empty | gain | {"settled": True, "monotone": True, "cells": 1, "probes": []} | own)


def said(over: str, *edges: Said) -> str:
    found = [stated(each) for each in edges]
    baseline = next(each for each in found if each.policy == "ecmp")
    return answer_words(axis_named(over), found, baseline, "drops == 0", (0.5, 4.0))


def test_the_best_is_named_only_if_it_is_clear() -> None:
    clear = said("load", Said("inflight", 2.0, 1.9, 2.1), Said("ecmp", 1.5, 1.4, 1.6))
    assert clear == (
        "drops == 0 is kept by ecmp up to load 1.5 (1.4 to 1.6), by inflight up to load 2 (1.9 to 2.1): "
        "20 % (10 to 30) more traffic"
    )
    unclear = said("load", Said("inflight", 1.6, 1.5, 1.7), Said("ecmp", 1.5, 1.4, 1.6))
    assert unclear.endswith("nothing else clearly goes further")
    worse = said("load", Said("ecmp", 1.5, 1.4, 1.6), Said("inflight", 1.0, 0.9, 1.1))
    assert worse.endswith("no other policy goes as far")


def test_ties_are_said_as_ties() -> None:
    tied = said(
        "load", Said("inflight", 2.0, 1.9, 2.1), Said("two-choices", 1.95, 1.85, 2.05), Said("ecmp", 1.5, 1.4, 1.6)
    )
    assert "(two-choices alike)" in tied


def test_less_is_better_where_more_helps() -> None:
    rate = said("links.rate", Said("inflight", 1e9, 0.9e9, 1.1e9), Said("ecmp", 2e9, 1.9e9, 2.1e9))
    assert "ecmp from 2Gbps (1900Mbps to 2100Mbps), by inflight from 1Gbps" in rate
    assert rate.endswith("less")
    paths = said("paths", Said("inflight", 3.0), Said("ecmp", 5.0))
    assert paths == "drops == 0 is kept by ecmp from 5 paths, by inflight from 3 paths: 2 fewer"


def test_a_policy_that_never_breaks_is_beyond_one_that_does() -> None:
    beyond = said("load", Said("inflight", None, state="everywhere"), Said("ecmp", 1.5))
    assert beyond == "drops == 0 is kept by ecmp up to load 1.5, by inflight wherever it was asked"
    below = said("load", Said("inflight", 1.5), Said("ecmp", None, state="nowhere"))
    assert below == "drops == 0 is kept by ecmp nowhere, by inflight up to load 1.5"


def test_a_load_is_said_of_the_busiest_link(constant: Trace, tmp_path: Path) -> None:
    """250 Mbit/s over two paths of 500 are a quarter of each."""
    found = planned(constant, tmp_path / "p", "drops == 0", paths="2x500Mbps", policy="ecmp", buffer="12KiB")
    assert found["share"] == pytest.approx(0.25, rel=0.001)
    (edge,) = found["edges"]
    assert edge["share"] == pytest.approx(edge["value"] * 0.25, rel=0.001)
    assert f"{100 * edge['share']:.3g} % of the busiest link" in found["answer"]
    few = "the traffic is spread as if of 16 flows of one size"
    assert found["answer"].startswith(
        f"too little to tell: {few}, and it takes at least 20. Seen so far, and no answer"
    )
    assert (found["few"], found["but"][0].partition(":")[0]) == (few, few)
    assert found["but"][1] == (
        "drops == 0: kept by all 40 draws that were tried; at 95 %, up to 7.2 % of others may break it "
        "(--seeds 299 for 1 %)"
    )
    rate = planned(constant, tmp_path / "q", "drops == 0", "links.rate", paths="2x500Mbps", policy="ecmp")
    assert rate["share"] is None


def test_more_traffic_or_fewer_paths_and_what_they_save(constant: Trace, tmp_path: Path) -> None:
    """In turn over paths of 100 Mbit/s, what ecmp carries on eight needs as many as its rate says."""
    flags = {"paths": "8x100Mbps", "policy": "round-robin,ecmp", "timeout": "1us"}
    scenario = scenario_of(None, flags).model_copy(update={"cost": parse_cost("link=100,gbps=10,currency=EUR")})
    asked = Asked(parse_slo("drops == 0 and p99_queueing < 1ms"), axis_named("load"))
    found = plan(constant, scenario, asked, tmp_path / "p", store=CellStore(tmp_path / "s.sqlite"))
    by_policy = {edge["policy"]: edge for edge in found["edges"]}
    carried = by_policy["ecmp"]["value"]
    assert found["edges"][0]["policy"] == "round-robin"
    instead = found["instead"]
    assert (instead["policy"], instead["of"], instead["now"], instead["value"]) == ("round-robin", "path", 8, carried)
    assert instead["needs"] == math.ceil(carried * 2.5)
    assert instead["low"] <= instead["needs"] <= instead["high"] < 8
    fewer = 8 - instead["high"]
    assert instead["saved"] == pytest.approx(fewer * 101)  # a link, and a tenth of a Gbit/s
    noun = "path" if fewer == 1 else "paths"
    words = f"more traffic, or {fewer} {noun} fewer for the same ({instead['high']} instead of 8), which saves "
    assert found["answer"].endswith(f"{words}{fewer * 101} EUR"), found["answer"]
    assert found["cost"] == pytest.approx(808)
    places = [probe["value"] for probe in instead["probes"]]
    assert places == sorted(places) and set(places) <= set(range(1, 9))


def test_what_paths_and_rates_cost(constant: Trace, tmp_path: Path) -> None:
    flags = {"paths": "8x100Mbps", "policy": "round-robin", "timeout": "1us"}
    scenario = scenario_of(None, flags).model_copy(update={"cost": parse_cost("link=100,gbps=10,currency=EUR")})
    for over, cost, words in (("paths", 303, "3 paths (303 EUR)"), ("links.rate", None, " EUR)")):
        asked = Asked(parse_slo("drops == 0 and p99_queueing < 1ms"), axis_named(over))
        found = plan(constant, scenario, asked, tmp_path / over, store=CellStore(tmp_path / "s.sqlite"))
        (edge,) = found["edges"]
        assert edge["cost"] == pytest.approx(800 + 8 * 10 * edge["value"] / 1e9 if cost is None else cost)
        assert words in found["answer"]
    with pytest.raises(InputError, match="a parallel network has no spines; give link or gbps"):
        plan(constant, scenario.model_copy(update={"cost": parse_cost("spine=1")}), asked, tmp_path / "x")


@pytest.mark.parametrize(
    "text", ["spine", "spine=x", "spine=-1", "leaf=3", "link=nan", "link=1e13", "currency=", "currency=a very long one"]
)
def test_prices_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--cost"):
        parse_cost(text)


def test_a_leaf_spine_costs_its_spines_links_and_rates(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        "[network]\nkind = 'leaf-spine'\nleaves = 4\nspines = 3\nparallel = 2\n"
        "links = { rate = '10Gbps', delay = '1us' }\n[cost]\nspine = 1000\nlink = 50\ngbps = 2\n"
    )
    assert cost_of(read_scenario(tmp_path / "s.toml")) == 3 * 1000 + 24 * (50 + 20)
    assert money(12345.6, "EUR") == "12,346 EUR"
    assert money(12.345, "") == "12.35"


def test_growth_breaks_where_copies_fill_the_link(constant: Trace, tmp_path: Path) -> None:
    """Sixteen flows are a quarter of the link: the sixty-fifth is too many."""
    flags = {"paths": "1x1Gbps", "policy": "ecmp", "buffer": "128KiB", "growth": "30%/y", "until": "10y"}
    scenario = scenario_of(None, flags)
    axis = axis_of("growth", scenario)
    store = CellStore(tmp_path / "s.sqlite")
    found = plan(constant, scenario, Asked(parse_slo("drops == 0"), axis), tmp_path / "p", store=store)
    (edge,) = found["edges"]
    assert edge["state"] == "edge"
    assert edge["high"] >= 4.0 and edge["low"] <= 4.0 + 1 / 16
    assert edge["years"] == pytest.approx(math.log(edge["value"]) / math.log(1.3))
    assert edge["share"] == pytest.approx(1.0, rel=0.02)
    assert (found["over"], found["per_year"]) == ("growth", 0.3)
    assert "up to growth 4" in found["answer"] and "in 5.3 years" in found["answer"]
    assert "at 30 % a year" in found["answer"]
    page = PlanContent(tmp_path / "p")
    assert "years" in page.rows[0]["edge"]
    few = scenario_of(None, flags | {"until": "2y"})
    found = plan(constant, few, Asked(parse_slo("drops == 0"), axis), tmp_path / "q", store=store)
    assert found["edges"][0]["state"] == "everywhere"
    assert "from 1 (0 years) to 1.69 (2 years)" in found["answer"]


def test_bounds_of_the_busiest_link(constant: Trace, tmp_path: Path) -> None:
    """A quarter of the link at load 1."""
    scenario = scenario_of(None, {"paths": "1x1Gbps", "policy": "ecmp"})
    asked = Asked(parse_slo("drops == 0"), axis_named("load"), "50%..90%")
    found = plan(constant, scenario, asked, tmp_path / "p", store=CellStore(tmp_path / "s.sqlite"))
    assert (found["near"], found["far"]) == pytest.approx((2.0, 3.6), rel=0.001)


def test_a_load_by_copies_is_no_rate_to_vary(constant: Trace, tmp_path: Path) -> None:
    scenario = scenario_of(None, {"paths": "1x1Gbps", "load": "50%", "growth": "1"})
    with pytest.raises(InputError, match="vary those, --over growth"):
        plan(constant, scenario, Asked(parse_slo("drops == 0"), axis_named("load")), tmp_path / "p")
    shrinks = scenario_of(None, {"paths": "1x1Gbps", "growth": "-5%/y", "until": "3y"})
    with pytest.raises(InputError, match="what shrinks breaks nothing"):
        axis_of("growth", shrinks)
