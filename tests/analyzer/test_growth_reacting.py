"""Growth by flows where senders react: flow lists against their twin, hosts of copies, traces, and what pages say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.asked import Asked, asked_of_list
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.growth import GroupSpec, GrowthSpec, Offered
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.workload.grown import copies_of, growth_of, trees, with_copies
from segcast.analyzer.workload.source import open_workload
from segcast.analyzer.workload.table import Workload, check, workload_of
from segcast.replay.export.run import export_cell
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.workloads import PLAIN, TWO_LEAVES, WHOLE, listed, scenario
from tests.twins import growth as twin

FACTORS = [Fraction(n, 20) for n in (3, 10, 20, 26, 40, 57)]
ALL = 'policies = ["ecmp"]\nseeds = [1]\n'
# Two requests with answers, one of them on one connection, a page of three, and flows that wait for nothing.
JOBS = f"""{WHOLE}
r1,1000,0,8,300000,,,,
a1,,8,0,40000,,r1,2000,
r2,50000,1,9,20000,,,,c
a2,,9,1,500000,,r2,,c
p0,90000,2,10,5000,,,,
p1,,10,2,70000,,p0,100,
p2,,11,2,80000,,p0,100,
p3,,12,2,90000,,p1 p2,50,
""" + "\n".join(f"n{n},{n * 9000},{n % 8},{8 + (3 * n) % 8},{1500 * (n + 1)},,,," for n in range(20))


def rows_of(workload: Workload) -> list[twin.Row]:
    first = {int(c): i for i, c in reversed(list(enumerate(workload.connection)))}
    begin = workload.after_first
    return [
        twin.Row(
            int(workload.start_ns[i]),
            int(workload.connection[i]),
            bool(workload.source[i] == workload.source[first[int(workload.connection[i])]]),
            int(workload.bytes[i]),
            tuple(workload.after_row[begin[i] : begin[i + 1]].tolist()),
        )
        for i in range(len(workload))
    ]


@st.composite
def lists(draw: st.DrawFn) -> Workload:
    """Connections of one or several rows, some of which wait for earlier ones, of any connection."""
    count = draw(st.integers(1, 12))
    span = draw(st.sampled_from([1, 1000, 10**12]))
    connection = [draw(st.integers(0, 5)) for _ in range(count)]
    after = [draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set() for i in range(count)]
    forward = [draw(st.booleans()) for _ in range(count)]
    waits = [(i, other) for i, others in enumerate(after) for other in sorted(others)]
    pairs = np.array(waits, np.int64).reshape(-1, 2)
    ends = np.array([(2 * c, 2 * c + 1) if f else (2 * c + 1, 2 * c) for c, f in zip(connection, forward, strict=True)])
    starts = [draw(st.integers(0, span)) if not others or draw(st.booleans()) else 0 for others in after]
    return workload_of(
        [str(i) for i in range(count)],
        np.array(starts, np.int64),
        ends[:, 0].astype(np.int64),
        ends[:, 1].astype(np.int64),
        np.array([draw(st.integers(1, 10**6)) for _ in range(count)], np.int64),
        after=(pairs[:, 0].copy(), pairs[:, 1].copy()),
        connection=[f"c{c}" for c in connection],
    )


@settings(max_examples=150, deadline=None)
@given(lists(), st.integers(0, 2**63 - 1), st.data())
def test_grown_lists_are_those_of_the_twin(workload: Workload, seed: int, data: st.DataObject) -> None:
    connections = int(workload.connection.max()) + 1
    growing = data.draw(st.none() | st.sets(st.integers(0, connections - 1), min_size=1))
    of = ScenarioOf(seed, growing)
    words = np.zeros((2 * connections, 5), np.uint64)
    words[:, 4] = 0x10001 * (1 + np.arange(2 * connections) // 2).astype(np.uint64)
    growth = growth_of(workload, words, of)  # type: ignore[arg-type]
    whole = with_copies(workload, copies_of(growth))
    check(whole)  # what connections and orders of a list must be
    copy = np.concatenate([np.zeros(connections, np.int64), copies_of(growth).copy])[whole.connection]
    names = whole.flow.to_pylist()
    own = {name: row for row, name in enumerate(workload.flow.to_pylist())}
    flow = 2 * whole.connection
    for factor in FACTORS:
        sends = growth.sent(factor)[flow]
        found = [
            twin.Asked(
                int(copy[i]),
                own[names[i].partition(" ")[0]],
                int(whole.start_ns[i]),
                tuple(
                    (int(copy[j]), own[names[j].partition(" ")[0]])
                    for j in whole.after_row[whole.after_first[i] : whole.after_first[i + 1]]
                ),
            )
            for i in np.flatnonzero(sends)
        ]
        assert found == twin.grown_list(rows_of(workload), factor, seed, growing)
    for name in ("source", "target", "bytes", "think_ns"):
        origin = [own[each.partition(" ")[0]] for each in names]
        assert (getattr(whole, name) == getattr(workload, name)[origin]).all()


class ScenarioOf:
    """As much of a scenario as `growth_of` looks at; connections are told by a port."""

    def __init__(self, seed: int, growing: set[int] | None) -> None:
        groups = tuple(GroupSpec(port=c + 1) for c in sorted(growing)) if growing is not None else ()
        self.growth_spec = GrowthSpec(seed=seed, groups=groups)
        self.offered = (Offered(Fraction(1), max(FACTORS)),)


def test_trees_are_what_waits_for_each_other_in_any_way(tmp_path: Path) -> None:
    workload = listed(tmp_path, JOBS)
    tree = trees(workload)[workload.connection].tolist()
    assert tree[:8] == [0, 0, 2, 2, 3, 3, 3, 3]
    assert tree[8:] == list(range(7, 27))
    assert len(set(tree)) == 23


def asked(folder: Path, text: str = "growth = { factor = [0.5, 1, 2.5] }", flows: str = JOBS) -> Asked:
    (folder / "flows.csv").write_text(flows, "utf-8")
    return asked_of_list(open_workload(folder / "flows.csv"), scenario(folder, f"{text}\n{ALL}{TWO_LEAVES}"))


def test_copies_have_new_hosts_at_the_same_attachments(tmp_path: Path) -> None:
    plain, grown = asked(tmp_path, "load = 1"), asked(tmp_path)
    growth, plan, own = grown.growth, grown.traffic.plan, plain.traffic.plan
    assert growth is not None and plan.words is not None and plan.uplink is not None and plan.downlink is not None
    flows = len(own.keys)
    for name in ("keys", "host", "group", "words", "attachment", "uplink", "downlink"):
        assert (getattr(plan, name)[:flows] == getattr(own, name)).all(), name
    assert grown.traffic.hosts[: len(plain.traffic.hosts)] == plain.traffic.hosts
    assert grown.traffic.network.links[: len(plain.traffic.network.links)] == plain.traffic.network.links
    assert (plan.group == plan.group[growth.origin]).all()
    assert (plan.words[:, 4] == plan.words[growth.origin, 4]).all()
    assert (growth.origin[1::2] == growth.origin[::2] + 1).all()
    assert len(np.unique(plan.keys)) == len(plan.keys) == flows + int(np.count_nonzero(growth.copy))
    for kind in ("host", "uplink", "downlink"):
        hosts: dict[tuple[int, int], set[int]] = {}
        for flow, (copy, origin) in enumerate(zip(growth.copy.tolist(), growth.origin.tolist(), strict=True)):
            hosts.setdefault((copy, int(getattr(plan, kind)[origin])), set()).add(int(getattr(plan, kind)[flow]))
        assert all(len(found) == 1 for found in hosts.values())
        assert len(set.union(*hosts.values())) == len(hosts)
    for flow in np.flatnonzero(growth.copy):
        assert grown.traffic.hosts[plan.host[flow]].startswith(("24", "25"))


def test_trees_are_sent_whole_and_what_waits_waits_for_its_own(tmp_path: Path) -> None:
    grown = asked(tmp_path)
    assert grown.own == 28
    for factor in (Fraction(1, 2), Fraction(1), Fraction(5, 2)):
        sent = grown.sent_at(factor)
        names = grown.names.take(sent.rows.tolist()).to_pylist()
        assert len(sent.rows) == len(sent.messages.half)
        tree = {name: {each for each in names if each.partition(" ")[2] == name.partition(" ")[2]} for name in names}
        for number, name in enumerate(names):
            job, _, copy = name.partition(" ")
            waits = sent.messages.after_row[sent.messages.after_first[number] : sent.messages.after_first[number + 1]]
            awaited = {names[row] for row in waits}
            expected = {"a1": {"r1"}, "a2": {"r2"}, "p1": {"p0"}, "p2": {"p0"}, "p3": {"p1", "p2"}}.get(job, set())
            assert awaited == {f"{each} {copy}".strip() for each in expected}
            if job[0] == "p":
                assert {each.partition(" ")[0] for each in tree[name]} >= {"p0", "p1", "p2", "p3"}
        if factor == 1:
            assert (sent.rows == np.arange(28)).all()


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


def without(summary: pl.DataFrame) -> dict[str, Any]:
    return summary.drop("cell", "growth", "year", "load").row(0, named=True)


def test_forecasts_of_lists_grow(tmp_path: Path) -> None:
    (tmp_path / "flows.csv").write_text(JOBS, "utf-8")
    source = open_workload(tmp_path / "flows.csv")
    text = f'growth = {{ per_year = "40%", years = 2, groups = [{{ port = 5001 }}] }}\n{ALL}{TWO_LEAVES}'
    document = forecast(source, scenario(tmp_path, text), tmp_path / "f")
    forecast(source, scenario(tmp_path, ALL + TWO_LEAVES), tmp_path / "plain")
    rows, plain = table(tmp_path / "f", "summary"), table(tmp_path / "plain", "summary")
    assert rows["growth"].to_list() == [1, 1.4, 1.96]
    assert rows["year"].to_list() == [0, 1, 2]
    assert without(rows[:1]) == without(plain)
    assert document["trace"]["messages"] == 28
    sent = table(tmp_path / "f", "messages")
    assert sent.filter(pl.col("load") == 1)["flow"].to_list() == table(tmp_path / "plain", "messages")["flow"].to_list()
    for row, one in zip(rows.iter_rows(named=True), document["offered"], strict=True):
        mine = sent.filter(pl.col("cell") == row["cell"])
        assert len(mine) == row["messages"] and mine["fct_ns"].null_count() == 0
        assert one["bytes"] == pytest.approx(mine["bytes"].sum() / 2_000_000, rel=1)  # whole trees
    last = sent.filter(pl.col("load") > 1.9)["flow"]
    assert last.n_unique() == len(last) and last.str.contains(" copy 1").any()
    cell = rows["cell"][-1]
    written = export_cell(tmp_path / "f", cell, tmp_path / "grown.pcap")
    assert written["payload_bytes"] >= sent.filter(pl.col("cell") == cell)["bytes"].sum()
    again = forecast(source, read_scenario(tmp_path / "f" / "scenario.toml"), tmp_path / "again")
    assert again["comparisons"] == document["comparisons"]


def test_a_list_that_is_doubled_and_runs_alone_takes_the_same_times(tmp_path: Path) -> None:
    """One tree on a network without contention: its copy takes as long, between other hosts."""
    one = f"{PLAIN}\na,0,0,8,100000"
    text = f"growth = {{ factor = 2 }}\n{ALL}{TWO_LEAVES}"
    (tmp_path / "flows.csv").write_text(one, "utf-8")
    forecast(open_workload(tmp_path / "flows.csv"), scenario(tmp_path, text), tmp_path / "f")
    sent = table(tmp_path / "f", "messages")
    assert sent["flow"].to_list() == ["a", "a copy 1"]
    assert (sent["fct_ns"] / sent["fct_ns"][0]).to_list() == pytest.approx([1, 1], rel=0.2)  # at one instant


def test_too_many_flows_and_groups_of_none_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcast.analyzer.workload.grown.MOST_FLOWS", 60)
    with pytest.raises(InputError, match=r"s\.toml:1: growth\.factor: 2\.5 times the list is \d+ flows; at most 60"):
        asked(tmp_path)
    with pytest.raises(InputError, match=r"s\.toml:1: growth\.groups: no connection of the list is of them"):
        asked(tmp_path, "growth = { factor = 2, groups = [{ port = 7 }] }")


def test_traces_whose_senders_react_grow(tmp_path: Path, cluster: Trace, run: Run) -> None:
    base = 'policies = ["ecmp"]\nseeds = [1]\n[network]\nkind = "leaf-spine"\nleaves = 3\nspines = 2\n'
    links = 'links = { rate = "300Mbps" }\nhost_links = { rate = "1Gbps", delay = "1us" }\n'
    tail = base + links + '[transport]\ncontrol = "cubic"\n'
    plain = asked_of_trace(cluster, scenario(tmp_path, tail))
    grown = asked_of_trace(cluster, scenario(tmp_path, "growth = { factor = [0.5, 1, 2] }\n" + tail))
    assert grown.growth is not None and grown.flow_id is not None and plain.flow_id is not None
    one, two = (grown.sent_at(Fraction(factor)) for factor in (1, 2))
    assert grown.own == len(plain.names) == len(one.rows)
    assert grown.connections == plain.connections
    assert grown.names.take(one.rows.tolist()) == plain.names
    for name in ("bytes", "start_ns", "think_ns", "after_first", "after_row"):
        assert (getattr(one.messages, name) == getattr(plain.messages, name)).all(), name
    assert len(two.rows) == 2 * len(one.rows)
    assert (one.recorded.send_ns == plain.traffic.packets.send_ns).all()
    assert (grown.flow_id[one.recorded.flow] == plain.flow_id[plain.traffic.packets.flow]).all()
    assert len(two.recorded.flow) == 2 * len(one.recorded.flow)
    half = grown.sent_at(Fraction(1, 2))
    assert 0.3 < len(half.rows) / len(one.rows) < 0.7
    # A copy has the two flows of its connection in the same copy, with new addresses, and starts later by its shift.
    growth, words = grown.growth, grown.traffic.plan.words
    assert words is not None
    flow = two.messages.half
    assert (growth.copy[flow] == growth.copy[flow ^ 1]).all()
    assert (growth.origin[flow ^ 1] == growth.origin[flow] ^ 1).all()
    copied = np.flatnonzero(growth.copy[flow] == 1)
    assert len(copied) == len(one.rows)
    assert (words[flow[copied], 0:2] == words[flow[copied] ^ 1, 2:4]).all()
    assert not np.isin(words[flow[copied], 1], words[one.messages.half, 1]).any()
    name = {each: row for row, each in enumerate(plain.names.to_pylist())}
    for row in copied[:200]:
        origin = name[grown.names[int(two.rows[row])].as_py().partition(" ")[0]]
        assert two.messages.bytes[row] == plain.messages.bytes[origin]
        moved = int(plain.messages.start_ns[origin] + growth.shift_ns[flow[row]])
        assert two.messages.start_ns[row] == max(moved, 0)
    done = run("forecast", cluster.folder, "--paths", "4x1Gbps", "--policy", "ecmp", "--seeds", "1", "--transport",
               "cubic", "--growth", "30%/y", "--until", "1y", "--out", tmp_path / "f")  # fmt: skip
    assert done.code == 0, done.err
    assert "Growth copies whole connections" in done.out
    assert "bytes that are copied go on beyond the trace's end" in " ".join(done.out.split())
    assert table(tmp_path / "f", "summary")["growth"].to_list() == [1, 1.3]
