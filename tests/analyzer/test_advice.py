"""Advice: cases whose answer is known from how they are made, over seeds and sizes, open loop and closed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.advice.run import CANDIDATES, advise
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.source import open_workload
from segcast.analyzer.workload.writing import write_workload
from segcast.traces.trace import Trace
from tests.support.known import Flows, conversations, many_mice, paced_bursts, steady_streams
from tests.support.workloads import made, scenario

TWO_TIERS = """
policies = [{{ name = "ecmp", {hash} }}]
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = {{ rate = "1Gbps", delay = "1ms", buffer = "512KiB" }}
[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.0/16"]
[[attachments]]
name = "leaf1"
prefixes = ["10.1.0.0/16"]
"""
FABRIC = """
policies = [{{ name = "ecmp", seeds = "{seeds}" }}]
[network]
kind = "leaf-spine"
leaves = 4
spines = 4
parallel = 4
hosts_per_leaf = 8
links = {{ rate = "10Gbps", delay = "2us", buffer_packets = 250, ecn_packets = 65 }}
host_links = {{ rate = "{hosts}", delay = "2us", buffer_packets = 500, ecn_packets = 100 }}
[transport]
control = "dctcp"
min_rto = "10ms"
"""

CONVERSING = """
policies = ["ecmp", "inflight"]
timeouts = ["100us"]
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
hosts_per_leaf = 8
links = { rate = "10Gbps", delay = "10us", buffer_packets = 250 }
host_links = { rate = "10Gbps", delay = "10us", buffer_packets = 1000 }
[transport]
control = "cubic"
min_rto = "10ms"
receiver = "dupack"
"""


def short(**flags: str) -> ValidScenario:
    return scenario_of(None, flags)


def advised(trace: Trace | Flows, on: ValidScenario, folder: Path, **choices: Any) -> dict[str, Any]:
    taken = trace.write(folder / "c.pcap") if isinstance(trace, Flows) else trace
    store = choices.pop("store", None) or CellStore(folder / "cells.sqlite")
    return advise(taken, on, folder / "advice", store=store, **choices)


@pytest.mark.parametrize(("seed", "flows"), [(1, 40), (2, 40), (3, 56)])
def test_flowlets_where_pauses_are_long_and_hosts_know_their_paths(tmp_path: Path, seed: int, flows: int) -> None:
    found = advised(paced_bursts(seed, flows), short(paths="4x1Gbps", delay="50us"), tmp_path)
    assert found["kind"] == "flowlets", found["answer"]
    assert found["policy"] in ("inflight", "conga")
    assert 16_000 <= found["timeout_ns"] <= 500_000
    who = {"inflight": "hosts", "conga": "switches"}[found["policy"]]
    timeout = f"{found['timeout_ns'] // 1000} us"
    assert found["answer"].startswith(f"Flowlets at {timeout} (by {who}: {found['policy']}): p99 delay -")
    assert found["settings"][0]["above_base"]
    assert found["settings"][0]["movable"] > 0.9


@pytest.mark.parametrize(("seed", "flows"), [(1, 24), (2, 24), (3, 36)])
def test_spray_where_nothing_pauses(tmp_path: Path, seed: int, flows: int) -> None:
    rate = f"{flows * 250}Mbps"
    found = advised(steady_streams(seed, flows), short(paths=f"4x{rate}", delay="20us"), tmp_path)
    assert found["kind"] == "spray", found["answer"]
    assert found["answer"].startswith("Spray, if receivers tolerate it: ")
    assert all(each["movable"] == 0 for each in found["evidence"]["supply"])
    assert found["evidence"]["srv6"] == pytest.approx(64 / 1250, rel=0.3)
    assert {one["policy"] for one in found["evidence"]["tried"] if one["by"] == "switches"} == {"ecmp", "conga"}
    assert '"per_packet_quality"' in found["settings"][1]["text"]


@pytest.mark.parametrize(
    ("seed", "flows", "hash_of", "hosts", "mend"),
    [
        (1, 300, 'seeds = "same"', (8, 8), {"seeds": "different"}),
        (2, 500, 'seeds = "same"', (8, 8), {"seeds": "different"}),
        (1, 300, 'fields = "addresses"', (1, 3), {"fields": "five-tuple"}),
        (2, 500, 'fields = "addresses"', (2, 1), {"fields": "five-tuple"}),
    ],
)
def test_another_hash_where_tiers_repeat_each_other_or_see_few_values(
    tmp_path: Path, seed: int, flows: int, hash_of: str, hosts: tuple[int, int], mend: dict[str, str]
) -> None:
    on = scenario(tmp_path, TWO_TIERS.format(hash=hash_of))
    found = advised(many_mice(seed, flows, hosts), on, tmp_path)
    assert found["kind"] == "hash", found["answer"]
    assert found["evidence"]["hash"]["mend"] == mend
    assert found["evidence"]["hash"]["uneven"] > 1.5
    assert found["evidence"]["hash"]["mended"] < 1.25
    ((name, value),) = mend.items()
    assert f'{name} = "{value}"' in found["settings"][0]["text"]
    rest = TWO_TIERS.format(hash=hash_of).partition("\n[network]")[2]
    again = scenario(tmp_path, f"{found['settings'][0]['text']}\n[network]{rest}")
    assert again.policies[1].parameters[name] == value


@pytest.mark.parametrize(("seed", "flows", "rate_pps"), [(1, 60, 2e3), (2, 400, 2e3), (3, 25, 1e3)])
def test_nothing_where_nothing_queues(tmp_path: Path, seed: int, flows: int, rate_pps: float) -> None:
    found = advised(many_mice(seed, flows, rate_pps=rate_pps), short(paths="4x1Gbps", delay="20us"), tmp_path)
    assert (found["kind"], found["why"]) == ("nothing", "idle"), found["answer"]
    assert found["answer"].startswith("Nothing to gain: next to nothing queues at load 1 (busiest link ")


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_where_hosts_own_links_are_what_is_busy(tmp_path: Path, seed: int) -> None:
    """All waiting is before the network, at 0.9 of the hosts' links: no path mends that."""
    text = TWO_TIERS.format(hash='seeds = "different"').replace('rate = "1Gbps"', 'rate = "40Gbps"')
    text = text.replace("[[att", 'host_links = { rate = "300Mbps", delay = "1us" }\n[[att', 1)
    found = advised(many_mice(seed, 200, (8, 200)), scenario(tmp_path, text.replace('"1ms"', '"5us"')), tmp_path)
    assert found["kind"] == "nothing", found["answer"]
    assert found["why"] == "measured"
    assert found["evidence"]["waiting"] > 0.5


def test_one_path_leaves_no_choice(tmp_path: Path) -> None:
    found = advised(many_mice(1, 30), short(paths="1x10Gbps"), tmp_path)
    assert (found["kind"], found["why"]) == ("nothing", "one path")
    assert "one path" in found["answer"]


@pytest.mark.parametrize(("seed", "flows"), [(1, 3), (2, 5)])
def test_cannot_tell_of_few_flows(tmp_path: Path, seed: int, flows: int) -> None:
    found = advised(paced_bursts(seed, flows), short(paths="4x1Gbps", delay="50us"), tmp_path)
    assert (found["kind"], found["why"]) == ("unknown", "few"), found["answer"]
    assert found["answer"].startswith(f"Cannot tell: the packets are spread as if of {flows} flows of one size")
    assert found["needs"] == ["it takes at least 20"]
    assert found["settings"][0]["where"] == "SONiC, default"


def test_cannot_tell_of_one_seed_nor_of_noise(tmp_path: Path) -> None:
    trace = paced_bursts(1).write(tmp_path / "c.pcap")
    store = CellStore(tmp_path / "cells.sqlite")
    on = short(paths="4x1Gbps", delay="50us")
    one = advise(trace, on, tmp_path / "one", most_seeds=1, store=store)
    assert (one["kind"], one["why"]) == ("unknown", "few")
    assert one["answer"].startswith("Cannot tell: 1 seed cannot tell 19 comparisons apart: run at least 10")
    deep = short(paths="4x6Gbps", delay="20us", buffer="1GiB")
    few = advised(steady_streams(1), deep, tmp_path, most_seeds=5)
    assert (few["kind"], few["why"]) == ("unknown", "noise"), few["answer"]
    assert "which may be chance" in few["answer"]
    assert "seeds (--seeds " in few["needs"][0]


def test_budgets_of_the_scenario_decide(tmp_path: Path) -> None:
    """Whose budgets are too tight for all stays; and spray is held to them, as it is not to the usual ones."""
    trace = paced_bursts(1).write(tmp_path / "c.pcap")
    text = '[slo]\nkeep = "{}"\n[network]\npaths = [{}]\n'
    paths = ", ".join(f'{{ links = [{{ name = "l{n}", rate = "1Gbps", delay = "50us" }}] }}' for n in range(4))
    store = CellStore(tmp_path / "cells.sqlite")
    tight = advise(trace, scenario(tmp_path, text.format("p99_delay < 60us", paths)), tmp_path / "t", store=store)
    assert (tight["kind"], tight["why"]) == ("nothing", "budgets"), tight["answer"]
    assert tight["answer"].startswith("Nothing tried keeps the budgets, so nothing to gain: ")
    assert "where p99_delay < 60us is asked" in tight["answer"]
    kept = advise(trace, scenario(tmp_path, text.format("p99_delay < 200us", paths)), tmp_path / "k", store=store)
    assert kept["kind"] == "flowlets"
    assert "it keeps the budgets and ecmp does not" in kept["answer"]
    ordered = advise(trace, scenario(tmp_path, text.format("reordered < 1%", paths)), tmp_path / "o", store=store)
    spray = ordered["evidence"]["tried"][-1]
    assert (spray["policy"], spray["standing"]) == ("spray", "over budget")


def test_a_timeout_below_the_skew_is_never_advised(tmp_path: Path) -> None:
    paths = ", ".join(
        f'{{ links = [{{ name = "l{n}", rate = "1Gbps", delay = "{50 + 40 * n}us" }}] }}' for n in range(4)
    )
    found = advised(paced_bursts(1), scenario(tmp_path, f"[network]\npaths = [{paths}]\n"), tmp_path)
    assert found["evidence"]["skew"]["base_ns"] == 120_000
    low = [one for one in found["evidence"]["tried"] if (one["timeout_ns"] or 10**9) <= 120_000]
    assert {one["standing"] for one in low} == {"below the skew"}
    assert found["timeout_ns"] is None or found["timeout_ns"] > 120_000
    by_place = {each["where"]: each for each in found["settings"]}
    assert not by_place["Junos, default"]["above_base"]
    assert "not above the paths' own skew of 120 us" in by_place["Junos, default"]["note"]
    assert by_place["SONiC, default"]["above_base"]


def test_invented_places_come_first(tmp_path: Path) -> None:
    text = '[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 4\nlinks = { rate = "1Gbps", delay = "20us" }\n'
    found = advised(many_mice(1, 60), scenario(tmp_path, text), tmp_path)
    assert found["answer"].startswith("16 hosts have no prefix and were dealt to 2 attachments in turn, so who shares ")


def test_more_connections_are_more_flows_of_the_hash_and_of_what_could_move(tmp_path: Path) -> None:
    trace = paced_bursts(1, span_ns=5e7).write(tmp_path / "c.pcap")
    store = CellStore(tmp_path / "cells.sqlite")
    paths = ", ".join(f'{{ links = [{{ name = "{name}", rate = "9Gbps" }}] }}' for name in "ab")
    network, factor = f"[network]\npaths = [{paths}]\n", 'growth = { by = "flows", factor = 3 }\n'
    plain, grown = (
        advise(trace, scenario(tmp_path, text), tmp_path / name, store=store, most_seeds=4)["evidence"]
        for name, text in (("plain", network), ("grown", factor + network))
    )
    assert grown["offered"] == "growth 3"
    assert grown["packets"] == 3 * plain["packets"]
    assert plain["flows"] == plain["hash"]["flows"] == 40
    assert grown["flows"] == grown["hash"]["flows"]
    assert 120 < grown["flows"] <= 200  # copies that pass the end of the trace are another flow at its beginning
    flowlets = [each["supply"][0]["per_flow"] * each["flows"] for each in (plain, grown)]
    assert flowlets[1] == pytest.approx(3 * flowlets[0], rel=0.02)


def listed(on: ValidScenario, folder: Path, **choices: Any) -> Any:
    workload, _ = made(on, **choices)
    write_workload(workload, folder / "list.csv")
    return open_workload(folder / "list.csv")


@pytest.mark.parametrize("seed", [1, 2])
def test_closed_loop_another_hash(tmp_path: Path, seed: int) -> None:
    on = scenario(tmp_path, FABRIC.format(seeds="same", hosts="10Gbps"))
    found = advised(listed(on, tmp_path, flows=800, load=0.15, seed=seed), on, tmp_path)
    assert found["kind"] == "hash", found["answer"]
    assert found["evidence"]["metric"] == "fct_p99_ns"
    assert "p99 flow completion time" in found["answer"]


@pytest.mark.parametrize("seed", [1, 2])
def test_closed_loop_flowlets(tmp_path: Path, seed: int) -> None:
    """What is reordered is taken for lost here, which spray pays for and flowlets, between messages, hardly do."""
    (tmp_path / "list.csv").write_text(conversations(seed), "utf-8")
    on = scenario(tmp_path, CONVERSING)
    found = advised(open_workload(tmp_path / "list.csv"), on, tmp_path, ladder_ns=(100_000,))
    assert (found["kind"], found["timeout_ns"]) == ("flowlets", 100_000), found["answer"]
    (step,) = found["steps"]
    assert step["high"] < -0.3
    assert found["evidence"]["share"] == pytest.approx(0.5, abs=0.15)  # over the longest connection
    assert "reordered packets" in found["answer"]


def test_closed_loop_spray(tmp_path: Path) -> None:
    """Windows leave at 40 Gbit/s in one piece: they pause nowhere, and collide on links of 10."""
    on = scenario(tmp_path, FABRIC.format(seeds="different", hosts="40Gbps"))
    found = advised(listed(on, tmp_path, flows=600, load=0.2), on, tmp_path)
    assert found["kind"] == "spray", found["answer"]


def test_closed_loop_nothing_and_too_few(tmp_path: Path) -> None:
    on = scenario(tmp_path, FABRIC.format(seeds="different", hosts="40Gbps"))
    (tmp_path / "idle").mkdir()
    idle = advised(listed(on, tmp_path, flows=300, load=0.002, size_bytes=1000), on, tmp_path / "idle")
    assert idle["kind"] == "nothing", idle["answer"]
    few = advised(listed(on, tmp_path, flows=30, load=0.2), on, tmp_path)
    assert (few["kind"], few["why"]) == ("unknown", "few")
    assert few["answer"].startswith("Cannot tell: of 30 flows p99 is the slowest one: it takes at least 100")


def test_nothing_is_run_twice_and_files_are_the_same(tmp_path: Path) -> None:
    trace = many_mice(1, 60, rate_pps=2e3).write(tmp_path / "c.pcap")
    store = CellStore(tmp_path / "cells.sqlite")
    on = short(paths="4x1Gbps")
    first = advise(trace, on, tmp_path / "a", store=store)
    ticks: list[tuple[int, int]] = []
    second = advise(
        trace, on, tmp_path / "b", lambda done, all_of: ticks.append((done, all_of)), store=store, threads=1
    )
    assert first["ran"] == first["cells"] == 200
    assert second["ran"] == 0
    assert all(done <= all_of for done, all_of in ticks)
    assert ticks[-1] == (200, 200)
    assert {**first, "ran": 0} == second
    rows = pq.read_table(tmp_path / "a" / "candidates.parquet")
    assert rows.schema.names == [column.name for column in CANDIDATES.columns]
    assert rows.num_rows == 200
    assert rows.equals(pq.read_table(tmp_path / "b" / "candidates.parquet"))
    assert len(list(itertools.groupby(rows.column("role").to_pylist()))) == 3
