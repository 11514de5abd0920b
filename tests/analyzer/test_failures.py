"""Failure studies: of fabrics whose figures are known by hand, against forecasts with the same event, and the twin."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.histogram import bucket_of
from segcast.analyzer.network.model import Link, Network
from segcast.analyzer.network.model import Path as Way
from segcast.analyzer.packets import AT_DEAD_LINK, DROPPED, RECEIVED, Fates, FlowPlan, Packets
from segcast.analyzer.plan.failures.measures import LINK_BITS, STAGE_BITS, count, empty_counts, places_of
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.workload.source import open_workload
from segcast.reports.plan.failures_content import FailuresContent
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from segcast.traces.units import say_number
from tests.support.failing import DETECTION_NS, FABRIC, FLOWS, GAP_NS, TOTAL_SHARE, constant_rate, studied
from tests.support.workloads import PLAIN
from tests.twins import failures as twin

Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return constant_rate(tmp_path_factory.mktemp("constant"))


def failures_in(folder: Path) -> Rows:
    rows = pl.read_parquet(folder / "study" / "failures.parquet").to_dicts()
    return {(row["policy"], row["failure"]): row for row in rows}


def test_losing_a_spine_doubles_the_other_and_loses_what_goes_there_until_routing_knows(
    constant: Trace, tmp_path: Path
) -> None:
    document = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "nodes")
    rows, links = failures_in(tmp_path), pl.read_parquet(tmp_path / "study" / "links.parquet")
    used = {row["link"]: row["utilisation"] for row in links.to_dicts()}
    assert used["leaf0-spine0"] + used["leaf0-spine1"] == pytest.approx(TOTAL_SHARE, rel=3e-3)
    for spine, other in ((0, 1), (1, 0)):
        row = rows["ecmp", f"spine{spine}"]
        assert row["utilisation_after"] == pytest.approx(TOTAL_SHARE, rel=3e-3)
        assert row["bottleneck"] in (f"leaf0-spine{other}", f"spine{other}-leaf1", f"leaf1-spine{other}-back")
        assert row["headroom"] == pytest.approx(1 - TOTAL_SHARE, rel=1e-2)
        # Each flow sends 5 packets in the millisecond; those on this spine are lost.
        share = used[f"leaf0-spine{spine}"] / TOTAL_SHARE
        assert row["lost_hole"] == pytest.approx(share * FLOWS * DETECTION_NS / GAP_NS, abs=0.51)
        assert (row["lost_later"], row["no_path"], row["lost_full"]) == (0, 0, 0)
        assert DETECTION_NS - GAP_NS <= row["recover_ns"] < DETECTION_NS
        assert row["silent_flows"] == 0
        assert DETECTION_NS <= row["stall_max_ns"] < DETECTION_NS + 2 * GAP_NS
    # Of a leaf all are lost from the failure on, three quarters into the time, whatever the policy.
    leaf = rows["ecmp", "leaf0"]
    assert leaf["lost_ratio"] == 1
    assert leaf["no_path"] == pytest.approx(0.75 * FLOWS * 500, rel=0.01)
    assert leaf["lost_hole"] == leaf["lost_later"] == 0
    says = " ".join(document["variants"][0]["says"])
    assert "2 of 4 failures leave hosts without any path" in says
    assert "queues" not in says
    assert document["answer"].startswith("Worst of 4 node failures tried: ")
    assert "not tried: two at once, single links and groups" in document["but"][0]


def test_half_goes_through_a_spine_if_packets_take_turns(constant: Trace, tmp_path: Path) -> None:
    policies = 'policies = [{ name = "spray", order = "round-robin" }]\n'
    studied(constant, tmp_path, policies, "links")
    row = failures_in(tmp_path)["spray", "leaf0-spine1"]
    # 80 bytes of SRv6 go on top: an outer header, and a segment routing header of two segments.
    half = TOTAL_SHARE * (1024 + 80) / 1024 / 2
    assert row["utilisation_intact"] == pytest.approx(half, rel=2e-3)
    assert row["lost_hole"] in (2 * FLOWS, 3 * FLOWS)  # every other of 5, of all flows in step
    assert row["still_losing"]
    assert row["recover_ns"] is None
    assert row["lost_ratio"] == pytest.approx(0.5, abs=0.01)


def test_hosts_that_never_learn_are_told_what_to_set_and_those_that_do_try_again(
    constant: Trace, tmp_path: Path
) -> None:
    document = studied(constant, tmp_path, 'policies = ["random"]\ntimeouts = ["50us"]\n', "links")
    (never,) = document["variants"]
    assert never["never_learns"]
    steers = next(line for line in never["says"] if "steer on" in line)
    assert "after 4 of 4 failures" in steers
    assert "steering.suspect_after" in steers
    assert "queues have no part" in steers
    lost = failures_in(tmp_path)["random", "leaf0-spine0"]["lost_later"]
    steering = FABRIC + '[steering]\nsuspect_after = 3\nsuspect_for = "20ms"\nloss_timeout = "2ms"\n'
    document = studied(constant, tmp_path, 'policies = ["random"]\ntimeouts = ["50us"]\n' + steering, "links")
    (learns,) = document["variants"]
    assert not learns["never_learns"]
    assert any("try it again every 20 ms" in line for line in learns["says"])
    assert failures_in(tmp_path)["random", "leaf0-spine0"]["lost_later"] < lost / 3
    stages = pl.read_parquet(tmp_path / "study" / "stages.parquet").filter(pl.col("failure") == "leaf0-spine0")
    assert stages["stage"].to_list() == ["hole", "routed", "suspected"]
    assert stages["begin_ns"].to_list() == [0, DETECTION_NS, 2_000_000]
    dead = (stages["dead"] / stages["packets"]).to_list()
    assert dead[0] == pytest.approx(0.5, abs=0.15)
    assert dead[2] < dead[1] / 2


def test_budgets_are_judged_over_the_run_and_once_settled(constant: Trace, tmp_path: Path) -> None:
    slo = "drops == 0 and utilisation < 70%"
    document = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", slo=slo)
    assert not document["holds"]
    (variant,) = document["variants"]
    # Both ways out of leaf 0, and both into leaf 1, leave one way for all: 82 % of a link. And drops are everywhere.
    assert (variant["broken"], variant["broken_after"]) == (4, 4)
    assert failures_in(tmp_path)["ecmp", "leaf0-spine0"]["broken_after"] == "utilisation < 70%"
    settled = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", slo="drops == 0", judge="settled")
    assert settled["holds"]
    assert settled["answer"] == "drops == 0 once settled: ecmp keeps it after all 4, of 4 link failures"
    whole = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", slo="drops == 0")
    assert not whole["holds"]
    assert "ecmp after 0 (4 of the others for what happens before things settle)" in whole["answer"]
    already = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", slo="utilisation < 1%")
    assert already["answer"] == "Broken without any failure: utilisation < 1% (ecmp)"
    assert not already["holds"]


def test_places_that_were_invented_come_first(cluster: Trace, constant: Trace, tmp_path: Path) -> None:
    text = """
seeds = [1]
policies = ["ecmp"]
[network]
kind = "leaf-spine"
leaves = 4
spines = 2
links = { rate = "1Gbps", delay = "2us" }
"""
    document = studied(cluster, tmp_path, text, "nodes")
    assert document["but"][0] == (
        "18 hosts have no prefix and were dealt to 4 attachments in turn: who shares which link is invented"
    )
    (tmp_path / "known").mkdir()
    known = studied(constant, tmp_path / "known", 'policies = ["ecmp"]\n', "nodes")
    assert not any("invented" in limit for limit in known["but"])


def test_loads_are_named_as_they_were_asked(constant: Trace, tmp_path: Path) -> None:
    document = studied(constant, tmp_path, 'policies = ["ecmp"]\nload = ["20%", "30%"]\n', "nodes")
    assert [one["share"] for one in document["loads"]] == ["20%", "30%"]
    assert "ecmp, load 30 %" in document["answer"]
    content = FailuresContent(tmp_path / "study")
    assert [told.label for told in content.variants] == ["ecmp, load 20 %", "ecmp, load 30 %"]
    assert any("at load 20 %" in limit for limit in document["but"])
    factor = say_number(document["loads"][0]["load"])
    assert not any(factor in said for said in (document["answer"], *(told.label for told in content.variants)))
    for table in ("failures", "stages", "links"):
        assert set(pl.read_parquet(tmp_path / "study" / f"{table}.parquet")["share"]) == {"20%", "30%"}


def test_pairs_are_counted_and_bounded_those_of_one_node_first(constant: Trace, tmp_path: Path) -> None:
    document = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", pairs=3)
    assert (document["tried"], document["pairs"], document["all_pairs"]) == (7, 3, 6)
    assert "not tried: 3 of 6 pairs" in document["but"][0]
    document = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", pairs=1000)
    assert (document["tried"], document["pairs"]) == (10, 6)
    assert "three at once" in document["but"][0]
    assert failures_in(tmp_path)["ecmp", "leaf0-spine0 + leaf0-spine1"]["lost_ratio"] == 1


def test_groups_fail_together_and_need_a_name(constant: Trace, tmp_path: Path) -> None:
    text = f'policies = ["ecmp"]\n{FABRIC}[groups]\nconduit = ["leaf0-spine0", "leaf1-spine1"]\n'
    studied(constant, tmp_path, text, "groups")
    assert failures_in(tmp_path)["ecmp", "conduit"]["lost_ratio"] == 1  # a link of each path
    with pytest.raises(InputError, match=r"s.toml: has no \[groups\] to fail; name some"):
        studied(constant, tmp_path, 'policies = ["ecmp"]\n', "groups")


def test_what_no_path_crosses_is_not_run(constant: Trace, tmp_path: Path) -> None:
    text = FABRIC.replace("leaves = 2", "leaves = 3")
    document = studied(constant, tmp_path, f'policies = ["ecmp"]\n{text}', "links")
    assert document["idle"] == ["leaf2-spine0", "leaf2-spine1"]
    assert document["tried"] == 4
    assert document["cells"] == 2 * 5


def test_an_interrupted_study_goes_on_and_gives_the_same(constant: Trace, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    store = CellStore(tmp_path / "kept.sqlite")
    ran = itertools.count()

    class Dying(CellStore):
        def put(self, key: str, row: dict[str, Any]) -> None:
            super().put(key, row)
            if next(ran) == 5:
                raise Interrupted

    with pytest.raises(Interrupted):
        studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", store=Dying(tmp_path / "kept.sqlite"))
    assert not (tmp_path / "study").exists()
    resumed = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", store=store)
    assert 0 < resumed["ran"] <= resumed["cells"] - 5
    tables = {file.name: file.read_bytes() for file in (tmp_path / "study").glob("*.parquet")}
    again = studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", store=store)
    assert again["ran"] == 0
    studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", store=CellStore(tmp_path / "other.sqlite"))
    assert {file.name: file.read_bytes() for file in (tmp_path / "study").glob("*.parquet")} == tables


EVENT = '[[events]]\nat = "25ms"\nnode = "spine0"\nstate = "down"\n'
WHOLE = ("dropped", "dropped_dead_link", "delay_p99_ns", "utilisation_max", "reordered_ratio", "flowlets")


@pytest.mark.parametrize("policy", ["ecmp", "inflight"])
def test_a_failure_is_the_forecast_with_that_event(constant: Trace, tmp_path: Path, policy: str) -> None:
    text = f'policies = ["{policy}"]\n{FABRIC}'
    slo = " and ".join(f"{name.removesuffix('_ns')} >= 0{'us' * name.endswith('_ns')}" for name in WHOLE)
    store = CellStore(tmp_path / "cells.sqlite")
    studied(constant, tmp_path, text, "nodes", slo=slo, at_ns=25_000_000, store=store)
    kept = [row for row in rows_of(tmp_path) if row.get("whole")]
    (tmp_path / "event.toml").write_text(text + EVENT, "utf-8")
    forecast(constant, read_scenario(tmp_path / "event.toml"), tmp_path / "f")
    for row in pl.read_parquet(tmp_path / "f" / "summary.parquet").to_dicts():
        wanted = {name: row[name] for name in WHOLE}
        assert wanted in [each["whole"] for each in kept]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    import json
    import sqlite3

    with sqlite3.connect(folder / "cells.sqlite") as data:
        return [json.loads(row) for (row,) in data.execute("SELECT row FROM cells")]


def test_senders_that_react_stall_until_their_timers_tell(tmp_path: Path) -> None:
    # Forty messages of 100 kB from hosts of leaf 0, one every 5 ms, over two spines.
    lines = [f"m{n},{n * 5_000_000},{n % 20},{20 + n % 20},100000" for n in range(40)]
    (tmp_path / "list.csv").write_text("\n".join([PLAIN, *lines]) + "\n", "utf-8")
    workload = open_workload(tmp_path / "list.csv")
    text = 'policies = ["ecmp"]\n' + FABRIC.replace('"1ms"', '"4ms"') + "[transport]\ncontrol = 'cubic'\n"
    slo = "unfinished == 0 and timeouts >= 0 and p99_fct >= 0us"
    studied(workload, tmp_path, text, "nodes", at_ns=50_000_000, slo=slo)
    row = failures_in(tmp_path)["ecmp", "spine0"]
    assert row["unfinished"] == 0
    assert row["fct_p99_hole_ns"] > 200_000_000 > 3 * row["fct_p99_after_ns"]  # the least timeout of senders
    assert row["recover_ns"] >= 200_000_000
    assert row["fct_p99_before_ns"] == pytest.approx(row["fct_p99_intact_ns"], rel=0.2)
    (tmp_path / "event.toml").write_text(text + EVENT.replace("25ms", "50ms"), "utf-8")
    forecast(workload, read_scenario(tmp_path / "event.toml"), tmp_path / "f")
    kept = [each["whole"] for each in rows_of(tmp_path) if each.get("whole")]
    for summary in pl.read_parquet(tmp_path / "f" / "summary.parquet").to_dicts():
        assert {name: summary[name] for name in ("unfinished", "timeouts", "fct_p99_ns")} in kept


def test_a_trace_whose_senders_react_gives_completion_times(cluster: Trace, tmp_path: Path) -> None:
    text = 'policies = ["ecmp"]\nseeds = [1]\n' + "\n".join(FABRIC.splitlines()[1:]) + "\n[transport]\n"
    document = studied(cluster, tmp_path, text.replace("hosts_per_leaf = 20\n", ""), "nodes")
    assert document["reacts"]
    stages = pl.read_parquet(tmp_path / "study" / "stages.parquet")
    routed = stages.filter((pl.col("stage") == "routed") & ~pl.col("failure").str.starts_with("leaf").fill_null(False))
    assert (len(routed), routed["fct_p99_ns"].null_count()) == (3, 0)
    assert "p99 completion time" in document["answer"]


def test_what_cannot_be_tried_is_said_in_a_line(constant: Trace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--at: the traffic lasts 0.0998\d* s, so nothing would fail"):
        studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", at_ns=10**9)
    with pytest.raises(InputError, match="packets that leave as captured have no timeouts"):
        studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", slo="timeouts == 0")
    studied(constant, tmp_path, 'policies = ["ecmp"]\n', "links", at_ns=99_500_000)
    stages = pl.read_parquet(tmp_path / "study" / "stages.parquet")
    assert set(stages["stage"]) == {"before", "hole"}


def test_the_kernel_counts_as_its_twin_does() -> None:
    rng = np.random.default_rng(5)
    links = tuple(Link(f"l{n}", 10**9, 1000, None, None, 10 + n) for n in range(6))
    paths = tuple(Way(group, hops, 40, 0) for group, hops in ((0, (0, 1)), (0, (2, 3)), (1, (2,)), (2, ())))
    network = Network(links, paths, 60, host_links=True)
    plan = FlowPlan(
        np.zeros(5, np.uint64),
        np.zeros(5, np.int64),
        np.array([0, 0, 1, 1, 2]),
        uplink=np.array([4, 4, 4, 4, 4]),
        downlink=np.array([5, 5, 5, 5, 5]),
    )
    dead = np.array([False, True, True, False, False, False])
    places = places_of(network, plan, True, dead)
    assert places.no_path.tolist() == [True, True, True, True, False]  # a dead link on each path of groups 0 and 1
    dead = np.array([False, False, True, False, False, False])
    places = places_of(network, plan, True, dead)
    assert places.no_path.tolist() == [False, False, True, True, False]
    number = 4000
    send_ns = np.sort(rng.integers(0, 10**6, number))
    flow = rng.integers(0, 5, number)
    first, size = np.array([0, 0, 2, 2, 3])[flow], np.array([2, 2, 1, 1, 1])[flow]
    path = first + rng.integers(0, 2, number) % size
    ways = [(4, *paths[p].links, 5) for p in range(4)]
    hop = np.array([rng.integers(0, len(ways[p])) for p in path], np.uint8)
    kinds = rng.choice([RECEIVED, DROPPED, DROPPED | AT_DEAD_LINK], number, p=[0.8, 0.1, 0.1])
    receive_ns = np.where(kinds == RECEIVED, send_ns + rng.integers(1, 10**7, number), -1)
    packets = Packets(send_ns, flow.astype(np.uint32), rng.integers(20, 9000, number).astype(np.uint32))
    fates = Fates(
        path.astype(np.uint16),
        np.zeros(number, np.uint32),
        receive_ns,
        rng.integers(0, 10**5, number),
        kinds.astype(np.uint8),
        hop,
        np.zeros(number, np.uint8),
    )
    begins, until_ns = np.array([10_000, 300_000, 600_000]), 900_000
    counts = empty_counts(3, 6, 5, 4)
    for piece in (slice(0, 1), slice(1, 1500), slice(1500, None)):
        some = Packets._make(column[piece] for column in packets)
        count(some, Fates._make(column[piece] for column in fates), places, begins, until_ns, counts)
    rows = [
        twin.Went(
            int(send_ns[n]),
            int(flow[n]),
            int(packets.ip_bytes[n]),
            max(60, 14 + 40 + int(packets.ip_bytes[n])),
            ways[path[n]],
            len(ways[path[n]]) if kinds[n] == RECEIVED else int(hop[n]),
            int(receive_ns[n]) if kinds[n] == RECEIVED else None,
            int(fates.queue_ns[n]),
            bool(kinds[n] & AT_DEAD_LINK),
            bool(places.no_path[flow[n]]),
        )
        for n in range(number)
    ]
    ref = twin.count(rows, begins.tolist(), until_ns, [link.overhead_bytes for link in links])
    for stage in range(3):
        assert {
            name: int(counts.stages[stage][name]) for name in counts.stages.dtype.names if counts.stages[stage][name]
        } == {name: value for name, value in ref.stages[stage].items() if value}
        for found, values in ((counts.delays, ref.delays), (counts.queues, ref.queues)):
            buckets = np.bincount([bucket_of(value, STAGE_BITS) for value in values[stage]], minlength=found.shape[1])
            assert found[stage].tolist() == buckets.tolist()
        assert counts.link_bytes[stage].tolist() == [ref.link_bytes[stage, link] for link in range(6)]
    for link in range(4):
        crossing = [bucket_of(value, LINK_BITS) for value in ref.link_delays.get(link, [])]
        assert (
            counts.link_delays[link].tolist() == np.bincount(crossing, minlength=counts.link_delays.shape[1]).tolist()
        )
    assert counts.link_full.tolist() == [ref.link_full[link] for link in range(4)]
    assert {(int(f), int(n)) for f, n in np.argwhere(counts.crossed)} == {(f, n) for f, n in ref.crossed if n < 4}
    assert counts.stalls["hits"].tolist() == [ref.hits[f] for f in range(5)]
    assert counts.stalls["longest_ns"].tolist() == [ref.longest_ns.get(f, 0) for f in range(5)]
    assert set(np.flatnonzero(counts.stalls["lost_ns"] >= 0).tolist()) == ref.silent
    assert int(counts.total["resumed_ns"][0]) == (-1 if ref.resumed_ns is None else ref.resumed_ns)
    assert int(counts.total["last_dead_ns"][0]) == (-1 if ref.last_dead_ns is None else ref.last_dead_ns)
