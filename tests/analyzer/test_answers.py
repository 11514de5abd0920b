"""What a forecast answers, from small tables of numbers: which sentence, of whom, for which loads."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from segcast.analyzer.answers.evidence import FEWEST_FLOWS, FLOWS_FOR_P999, PACKETS_FOR_P999
from segcast.analyzer.slo import parse_slo
from tests.support.deciding import SEEDS, US, cells, decided
from tests.support.forecasts import Row

WIDE = parse_slo("p99_delay < 1s")


def test_one_that_is_clearly_quicker_is_to_be_used_with_its_cost() -> None:
    found = decided(cells({"ecmp": 1000 * US, "inflight": 700 * US}, reordered_ratio={"inflight": 0.43}))
    assert found.do.startswith("Use inflight, 100 us: p99 delay -30 % (-30 to -")
    assert found.do.endswith(" against ecmp, at 43 % reordered packets.")
    assert found.because == (
        "99 % of packets arrive within 700 us instead of 1 ms; the busiest link carries 50 % of its rate under ecmp."
    )
    assert found.but == () and found.kept is None


def test_one_that_is_clearly_slower_is_not() -> None:
    found = decided(cells({"ecmp": 1000 * US, "inflight": 1300 * US}))
    assert found.do.startswith("Stay on ecmp: nothing tried beats it; the closest, inflight, 100 us: p99 delay +30 % (")


def test_what_is_surely_many_times_slower_is_not_too_wide_to_tell() -> None:
    found = decided(cells({"ecmp": 1000 * US, "inflight": 380_000 * US}))
    assert found.do == (
        "Stay on ecmp: nothing tried beats it; the closest, inflight, 100 us: p99 delay x380 (more than tenfold)."
    )


def test_no_clear_difference_is_said_as_such() -> None:
    rows = cells({"ecmp": 1000 * US, "inflight": 990 * US})
    for one in rows:
        if one["policy"] == "inflight":
            one["delay_p99_ns"] *= 1.3 if one["seed"] % 2 else 0.75
    found = decided(rows)
    assert found.do.startswith("Stay on ecmp: no clear difference; the closest, inflight, 100 us: p99 delay -")
    assert found.standings[0].verdict == "stay"
    assert found.but == ()


def test_what_may_be_worth_more_seeds_says_how_many() -> None:
    rows = cells({"ecmp": 1000 * US, "inflight": 990 * US})
    for one in rows:
        if one["policy"] == "inflight":
            one["delay_p99_ns"] *= 1.2 if one["seed"] % 2 else 0.5
    found = decided(rows)
    (said,) = found.but
    assert found.do.startswith("Stay on ecmp: no clear difference")
    words = said.split()
    assert said.startswith("-23 % by inflight, 100 us may be chance: about ") and said.endswith(
        " tell a change so large."
    )
    assert len(SEEDS) < int(words[words.index("seeds") - 1]) < 60


def test_a_lower_mean_that_may_be_chance_is_passed_over() -> None:
    rows = cells({"ecmp": 1000 * US, "spray": 300 * US, "random": 600 * US})
    for one in rows:
        if one["policy"] == "spray":
            one["delay_p99_ns"] *= (0.02, 50, 1)[one["seed"] % 3]
    assert decided(rows).do.startswith("Use random, 100 us: p99 delay -40 % (")


def test_equals_are_said_as_equals_and_who_loses_less_wins() -> None:
    alike = {"ecmp": 1000 * US, "inflight": 740 * US, "round-robin": 741 * US, "two-choices": 739 * US}
    assert decided(cells(alike)).do.startswith(
        "Use two-choices, inflight or round-robin, 100 us (alike): p99 delay -26 % ("
    )
    drops = {"ecmp": 0.09, "inflight": 0.088, "round-robin": 0.0027, "two-choices": 0.088}
    found = decided(cells(alike, drop_ratio=drops))
    assert found.do.startswith("Use round-robin, 100 us: ")
    assert found.because.startswith("99 % of the packets that arrive do so within ")
    assert found.because.endswith("; drops fall from 9 % to 0.27 % of packets.")
    rise = decided(cells(alike, drop_ratio={"inflight": 0.03, "two-choices": 0.03, "round-robin": 0.02}), slo=WIDE)
    first, second = rise.but
    assert first == "Drops rise from 0 % to 2 % of packets with round-robin, 100 us."
    assert second == (
        "Full queues drop 2 % of packets under round-robin, 100 us, at the least 0 %, under ecmp: delays are of what "
        "arrives, and senders that react ([transport]) would slow down."
    )
    assert rise.do.endswith(", at 2 % dropped packets.")


def test_of_those_that_come_close_who_loses_less_is_named() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 1017 * US, "hermes": 1017 * US}
    lost = {"ecmp": 0.09, "inflight": 0.088, "hermes": 0.0027}
    assert "the closest, hermes, 100 us:" in decided(cells(p99, drop_ratio=lost)).do


def test_who_stays_says_how_much_is_dropped() -> None:
    """Delay is of what arrives: where most is dropped, no sentence may sound as if all were well."""
    p99 = {"ecmp": 1000 * US, "inflight": 990 * US}
    lost = {"ecmp": 0.71, "inflight": 0.032}
    found = decided(cells(p99, drop_ratio=lost, displaced_3={"inflight": 60_000}))
    assert found.do.endswith("; 71 % of packets are dropped.")
    assert found.because.startswith("99 % of the packets that arrive do so within 1 ms under ecmp")
    assert found.but[0].startswith(
        "Full queues drop 71 % of packets under ecmp, at the least 3.2 %, under inflight, 100 us: "
    )
    slower = {"ecmp": 1000 * US, "inflight": 1010 * US}
    loads = decided(cells(slower, drop_ratio=0.02) + cells(slower, 2.0, drop_ratio=0.05))
    assert loads.do.endswith("; up to 5 % of packets are dropped.")
    dead = decided(cells(p99, drop_ratio=0.09, dropped_dead_link=9_000))
    assert "are dropped" not in dead.do and not any("Full queues" in said for said in dead.but)
    few = decided(cells(p99, drop_ratio=0.004))
    assert "dropped" not in few.do and few.because.startswith("99 % of the packets that arrive do so")


def test_where_there_is_one_path_there_is_nothing_to_balance() -> None:
    found = decided(cells({"ecmp": 1000 * US, "inflight": 1010 * US}, effective_flows=3.0), paths=1)
    assert found.do == "Stay on ecmp: there is one path between every two ends, so there is nothing to balance."
    assert found.few == ()


def test_of_few_seeds_one_number_is_asked_for() -> None:
    rows = cells({"ecmp": 1000 * US, "spray": 30 * US}, seeds=[1, 2])
    for one in rows:
        if one["policy"] == "spray":
            one["delay_p99_ns"] *= 1.4 if one["seed"] % 2 else 0.7
    found = decided(rows)
    assert "2 seeds cannot tell 1 comparison apart: run at least 10" in found.do
    assert not any("seeds would tell" in said for said in found.but)


def test_a_budget_decides_before_delay_does() -> None:
    p99 = {"ecmp": 1000 * US, "spray": 20 * US, "inflight": 700 * US}
    found = decided(cells(p99, displaced_3={"spray": 30_000, "inflight": 500}))
    assert found.do.startswith("Use inflight, 100 us: ")
    assert found.but[0] == "0.5 % of packets are displaced by three or more, which TCP takes for losses."
    assert found.but[1].startswith("spray, 100 us would be quicker, -98 % (")
    assert found.but[1].endswith("but breaks a budget: 30 % displaced by three or more.")
    only = decided(cells({"ecmp": 1000 * US, "spray": 20 * US}, displaced_3={"spray": 30_000}))
    assert only.do.startswith("Stay on ecmp: spray, 100 us would be quicker, p99 delay -98 % (")
    assert "at most 1 % of packets displaced by three or more, and no more dropped than under ecmp" in only.budgets


def test_more_drops_than_the_baseline_break_a_budget() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 700 * US}
    assert decided(cells(p99, drop_ratio={"ecmp": 0.01, "inflight": 0.0105})).do.startswith("Use inflight")
    found = decided(cells(p99, drop_ratio={"ecmp": 0.01, "inflight": 0.02}))
    assert found.do.startswith("Stay on ecmp: inflight, 100 us would be quicker, p99 delay -30 %")
    assert found.do.endswith(", but breaks a budget: 2 % dropped instead of 1 %; 1 % of packets are dropped.")


def test_the_scenarios_budgets_replace_those_of_everybody() -> None:
    rows = cells({"ecmp": 1000 * US, "spray": 20 * US, "inflight": 700 * US}, displaced_3={"spray": 30_000})
    found = decided(rows, slo=parse_slo("p99_delay < 800us"))
    assert found.kept is True
    assert found.do.startswith(
        "Use spray, 100 us: it keeps the budgets and ecmp does not, with 1 ms where p99_delay < 800us is asked; "
    )
    assert found.budgets == "Budgets of the scenario: p99_delay < 800us."
    none = decided(rows, slo=parse_slo("p99_delay < 10us and drops == 0"))
    assert none.kept is False
    assert (
        none.do
        == "Nothing tried keeps the budgets: the nearest, spray, 100 us, has 20 us where p99_delay < 10us is asked."
    )
    both = decided(rows, slo=parse_slo("p99_delay < 2ms"))
    assert both.kept is True and both.do.startswith("Use spray, 100 us: p99 delay -98 %")


def test_budgets_are_kept_only_if_somebody_keeps_them_at_each_load() -> None:
    rows = cells({"ecmp": 1000 * US, "inflight": 700 * US}) + cells({"ecmp": 9000 * US, "inflight": 7000 * US}, 2.0)
    found = decided(rows, slo=parse_slo("p99_delay < 800us"))
    assert found.kept is False
    assert found.do.startswith("At load 1 use inflight, 100 us: ")
    end = "; at load 2 nothing tried keeps the budgets: the nearest, inflight, 100 us, has 7 ms where p99_delay < 800us"
    assert found.do.endswith(f"{end} is asked.")


SIGN = {0.5: 1.0, 1.0: 1.2, 1.5: 0.8, 2.0: 0.5}


def over_loads(changes: Mapping[float, float] = SIGN) -> list[Row]:
    return [
        one
        for load, factor in changes.items()
        for one in cells({"ecmp": 1000 * US * load, "inflight": 1000 * US * load * factor}, load)
    ]


def test_the_answer_says_where_it_changes() -> None:
    found = decided(over_loads())
    assert found.do.startswith("Up to load 1 stay on ecmp: nothing tried is clearly better; ")
    assert (
        "; from load 1.5 up use inflight, 100 us: p99 delay -20 % (load 1.5) to -50 % (load 2) against ecmp" in found.do
    )
    assert found.because.startswith("At load 1.5, 99 % of packets arrive within ")
    assert any(said.startswith("inflight, 100 us is worse at load 1: +20 % (") for said in found.but)
    assert any(said.startswith("Loads play the same packets faster") for said in found.but)


def test_in_short_the_answer_keeps_who_where_how_much_and_the_cost() -> None:
    rows = [one | {"reordered_ratio": 0.03 * (one["policy"] != "ecmp")} for one in over_loads()]
    found = decided(rows)
    assert found.brief == (
        "Up to load 1 stay on ecmp; from load 1.5 up use inflight, 100 us: p99 delay -50 to -20 % against ecmp, "
        "at up to 3 % reordered packets."
    )
    assert len(found.brief) < len(found.do)
    few = decided(cells({"ecmp": 1000 * US, "inflight": 700 * US}, seeds=(1, 2)))
    assert few.brief.startswith("Too little to tell: 2 seeds cannot tell 1 comparison apart")
    lost = decided([one | {"drop_ratio": 0.71} for one in cells({"ecmp": 1000 * US, "inflight": 1300 * US})])
    assert lost.brief == "Stay on ecmp; 71 % of packets are dropped."
    none = decided(over_loads(), slo=parse_slo("p99_delay < 1us"))
    assert none.brief == "Nothing tried keeps the budgets at every load (0.5 to 2)."


def test_an_answer_for_every_load_says_so() -> None:
    found = decided(over_loads({0.5: 0.9, 1.0: 0.7, 2.0: 0.5}))
    assert found.do == (
        "Use inflight, 100 us at every load (0.5 to 2): p99 delay -10 % (load 0.5) to -50 % (load 2) against ecmp."
    )
    stay = decided(over_loads({0.5: 1.1, 2.0: 1.2}))
    assert stay.do.startswith("Stay on ecmp at every load (0.5 to 2): nothing tried beats it; ")
    assert stay.do.endswith("; the closest changes p99 delay by +10 to +20 %.")


def test_what_breaks_a_budget_and_is_quicker_at_one_of_the_loads_is_in_the_sentence() -> None:
    usual = {"half": 1100 * US, "ecmp": 1000 * US, "inflight": 600 * US}
    rows = cells(usual, 0.5, displaced_3={"inflight": 9000}, displaced_ratio={"inflight": 0.09})
    rows += cells(
        {"ecmp": 1000 * US, "inflight": 600 * US}, displaced_3={"inflight": 9000}, displaced_ratio={"inflight": 0.09}
    )
    found = decided(rows)
    assert found.do.startswith("Stay on ecmp at every load (0.5 to 1): nothing within the budgets beats it; ")
    assert "; inflight, 100 us would be quicker at load " in found.do and "but breaks a budget: 9 %" in found.do
    assert not any("would be quicker" in said for said in found.but)


def test_one_load_is_not_spoken_of_as_several() -> None:
    assert "load" not in decided(cells({"ecmp": 1000 * US, "inflight": 700 * US})).do
    assert not any("Loads" in said for said in decided(cells({"ecmp": 1000 * US, "inflight": 700 * US})).but)
    assert any("Loads" in said for said in decided(cells({"ecmp": 1000 * US, "inflight": 700 * US}, 2.0)).but)


def test_many_changes_are_not_all_told() -> None:
    found = decided(over_loads({float(n): 0.5 if n % 2 else 1.5 for n in range(1, 9)}))
    assert found.do.lower().count("at load") == 3
    assert found.do.endswith("; and 5 more changes over higher loads.")


WORLD = [*over_loads(), *cells({"random": 800 * US, "spray": 50 * US}, 1.0, displaced_3={"spray": 9_000})]


@pytest.mark.parametrize("seed", range(8))
def test_no_order_matters(seed: int) -> None:
    rows = list(WORLD)
    first = decided(rows)
    random.Random(seed).shuffle(rows)
    again = decided(rows)
    assert (again.do, again.because, again.but, again.few) == (first.do, first.because, first.but, first.few)


@pytest.mark.parametrize("more", [1, 5, 30])
def test_cells_that_change_nothing_change_no_choice(more: int) -> None:
    """Policies that are clearly worse, at the same and at other loads, widen intervals, and that is all."""
    base = {"ecmp": 1000 * US, "inflight": 700 * US}
    worse = {f"worse{number}": 1500.0 * US + number for number in range(more)}
    before, after = decided(cells(base)), decided(cells(base | worse))
    assert [c.key for c in before.standings[0].chosen] == [c.key for c in after.standings[0].chosen]
    also = decided(cells(base) + cells({"ecmp": 5000 * US, "inflight": 5200 * US}, 3.0))
    assert [c.key for c in also.standings[0].chosen] == [c.key for c in before.standings[0].chosen]


def test_a_failure_changes_the_answer_and_its_reason() -> None:
    p99 = {"ecmp": 3 * US, "inflight": 3.05 * US, "hermes": 3.05 * US}
    lost = {"drop_ratio": {"inflight": 0.088, "hermes": 0.0027}}
    dead = {
        "dropped_dead_link": {"inflight": 8_800, "hermes": 270},
        "dropped_undetected": {"inflight": 0, "hermes": 270},
    }
    found = decided(cells(p99, **lost, **dead), unlearning=frozenset({"inflight"}))
    (said,) = found.but
    assert said == (
        "8.8 % of packets are lost at links that are down under inflight, 100 us, not in queues, all of these after "
        "routing knew: its hosts never learn of it (steering.suspect_after is 0)."
    )
    assert found.do.startswith("Stay on ecmp: all else breaks a budget; the closest, hermes, 100 us: p99 delay +1.")
    whole = decided(cells(p99))
    assert whole.but == () and whole.do != found.do
    queued = decided(cells(p99, **lost))
    assert not any("down" in said or "suspect_after" in said for said in queued.but)


def test_drops_before_routing_knew_blame_nobody() -> None:
    dead = {"dropped_dead_link": {"ecmp": 500, "inflight": 500}, "dropped_undetected": {"ecmp": 500, "inflight": 500}}
    rows = cells({"ecmp": 3 * US, "inflight": 3 * US}, drop_ratio=0.005, **dead)
    (said,) = decided(rows, unlearning=frozenset({"inflight"})).but
    assert said.endswith("not in queues; all of these before routing knew.")


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_too_few_seeds_are_said_first(seeds: int) -> None:
    """However clear it looks: two seeds that happen to agree rank nothing, and the others are too wide to tell."""
    many = {"ecmp": 1000 * US, "conga": 790 * US} | {f"p{n}": 20.0 * US * (n + 1) for n in range(38)}
    rows = cells(many, seeds=range(1, seeds + 1))
    found = decided(rows)
    plural = "s" if seeds > 1 else ""
    assert found.do.startswith(
        f"Too little to tell: {seeds} seed{plural} cannot tell 39 comparisons apart: run at least 10. Seen so far"
    )
    assert decided(cells(many, seeds=range(1, 5))).few == ()


def test_how_many_seeds_it_would_take_grows_with_their_spread() -> None:
    rows = cells({"ecmp": 1000 * US, "inflight": 900 * US}, seeds=(1, 2, 3))
    for one in rows:
        if one["policy"] == "inflight":
            one["delay_p99_ns"] *= (1.25, 0.8, 1.0)[one["seed"] - 1]
    (few,) = decided(rows).few
    assert int(few.rpartition(" ")[2]) > 15


def test_too_few_flows_are_said_first() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 190 * US}
    found = decided(cells(p99, effective_flows=4.2))
    assert found.do.startswith(
        "Too little to tell: the packets are spread as if of 4.2 flows of one size: it takes at "
    )
    assert "use inflight, 100 us: p99 delay -81 %" in found.do
    assert decided(cells(p99, effective_flows=float(FEWEST_FLOWS))).few == ()


@pytest.mark.parametrize(
    ("flows", "packets", "known"),
    [
        (FLOWS_FOR_P999, PACKETS_FOR_P999, True),
        (FLOWS_FOR_P999 - 1, PACKETS_FOR_P999, False),
        (FLOWS_FOR_P999, PACKETS_FOR_P999 - 1, False),
    ],
)
def test_p999_is_known_from_flows_and_packets(flows: int, packets: int, known: bool) -> None:
    rows = cells({"ecmp": 1000 * US, "inflight": 700 * US}, effective_flows=float(flows), delivered=packets)
    assert decided(rows).knows_p999 is known


def test_hosts_that_were_dealt_come_first_of_what_speaks_against() -> None:
    dealt = "18 hosts have no prefix and were dealt to 4 attachments in turn"
    rows = cells({"ecmp": 1000 * US, "inflight": 700 * US}, drop_ratio={"ecmp": 0.01, "inflight": 0.02})
    found = decided(rows, dealt=dealt, slo=WIDE)
    assert found.but[0] == f"{dealt}: who shares which link is invented."
    loose = decided(rows, dealt="nothing says which way round 40 % of the traffic goes", slo=WIDE)
    assert loose.but[0] == "Nothing says which way round 40 % of the traffic goes: who shares which link is invented."
    assert [said.split()[0] for said in found.but[1:]] == ["Drops", "Full"]


def test_nothing_to_compare_and_nothing_delivered() -> None:
    alone = decided(cells({"ecmp": 1000 * US}, seeds=(1,)))
    assert alone.do == "Nothing to choose between: only ecmp was run." and alone.few == ()
    assert alone.because.startswith("99 % of packets arrive within 1 ms under ecmp")
    lost = cells({"ecmp": 1.0, "inflight": 1.0}, drop_ratio=1.0, delivered=0)
    gone = decided([one | {"delay_p99_ns": None} for one in lost], slo=parse_slo("p99_delay < 2ms"))
    assert gone.do == "Nothing gets through under any policy."
    assert gone.kept is False


def reacting(
    p99: Mapping[str, float], unfinished: Mapping[str, float], load: float = 1.0, flows: int = 2_000
) -> list[Row]:
    columns = {"messages": flows, "mode": "transport", "reordered_ratio": 0.1, "displaced_3": 30_000}
    rows = cells(p99, load, unfinished=dict(unfinished), **columns)
    return [one | {"fct_p99_ns": one["delay_p99_ns"]} for one in rows]


def test_where_senders_react_completion_decides_and_reordering_is_in_it() -> None:
    found = decided(reacting({"ecmp": 1000 * US, "inflight": 700 * US}, {}), reacts=True)
    assert found.do.startswith("Use inflight, 100 us: p99 flow completion time -30 % (")
    assert found.because.startswith("99 % of flows complete within 700 us instead of 1 ms; ")
    assert found.but == ()


def test_where_other_flows_finish_times_are_not_compared() -> None:
    left = {"ecmp": 400, "random": 0, "inflight": 200}
    found = decided(reacting({"ecmp": 500 * US, "random": 900 * US, "inflight": 300 * US}, left), reacts=True)
    assert found.do.startswith(
        "Use random, 100 us: it leaves the fewest flows unfinished, 0 of 2 000, against 400 under ecmp; completion "
        "times are of different flows, and do not compare"
    )
    assert (
        "0 of 2 000 flows never finish under random, 100 us, 400 under ecmp; they are in no completion time."
        in found.but
    )
    stay = decided(reacting({"ecmp": 500 * US, "inflight": 300 * US}, {"ecmp": 1, "inflight": 500}), reacts=True)
    assert stay.do.startswith("Stay on ecmp: inflight, 100 us would be quicker, p99 flow completion time ")
    assert stay.do.endswith("but breaks a budget: 500 flows unfinished.")


def test_a_flow_or_two_do_not_forbid_the_comparison() -> None:
    found = decided(reacting({"ecmp": 1000 * US, "inflight": 700 * US}, {"ecmp": 3, "inflight": 2}), reacts=True)
    assert found.do.startswith("Use inflight, 100 us: p99 flow completion time -30 %")
    assert found.but == (
        "2 of 2 000 flows never finish under inflight, 100 us, 3 under ecmp; they are in no completion time.",
    )


def test_a_hundred_flows_are_the_least_for_a_p99() -> None:
    few = decided(reacting({"ecmp": 1000 * US, "inflight": 700 * US}, {}, flows=99), reacts=True)
    assert few.do.startswith("Too little to tell: of 99 flows p99 is the slowest one: it takes at least 100. ")
    assert decided(reacting({"ecmp": 1000 * US, "inflight": 700 * US}, {}, flows=100), reacts=True).few == ()


def test_what_gets_worse_by_the_choice_is_told() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 700 * US}
    rows = cells(p99, slowdown_p99={"ecmp": 1.05, "inflight": 1.28}, delay_p50_ns={"ecmp": 40_000, "inflight": 41_000})
    assert decided(rows).but == ("Worse with inflight, 100 us: p99 slowdown 1.28 instead of 1.05.",)
    again = {"retransmissions": {"ecmp": 585.0, "inflight": 4_782.0}}
    found = decided(
        [one | {"fct_p99_ns": one["delay_p99_ns"]} for one in cells(p99, messages=2_000, **again)], reacts=True
    )
    assert found.but == ("Worse with inflight, 100 us: segments sent again 4 782 instead of 585.",)


def test_growth_and_years_are_named_as_they_are() -> None:
    def grown(load: float, year: int) -> list[Row]:
        rows = cells({"ecmp": 1000 * US, "inflight": (1.2 if load == 1 else 0.8) * 1000 * US}, load)
        return [one | {"growth": load, "year": year} for one in rows]

    found = decided([*grown(1.3, 1), *grown(1.69, 2), *cells({"ecmp": 1000 * US, "inflight": 1300 * US})])
    assert found.do.startswith("At load 1 stay on ecmp: ")
    assert "; from year 1 (growth 1.3) up use inflight, 100 us: p99 delay -20 % against ecmp" in found.do
    assert not any("Loads play" in said for said in found.but)
    same = decided([one | {"year": None} for one in [*grown(1.3, 1), *grown(1.69, 2)]])
    assert same.do.startswith("Use inflight, 100 us at every load (growth 1.3 to 1.69): ")


def test_links_that_never_fill_are_the_reason() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 1055 * US}
    idle, busy = (decided(cells(p99, queue_p999_ns=ns)) for ns in (0, {"ecmp": 0, "inflight": 7}))
    assert "; not one packet in a thousand waits in a queue, so only lengths of paths" in idle.because
    assert "waits in a queue" not in busy.because
