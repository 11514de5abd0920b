"""A flow list as real TCP would send it: the ends and paths of its connections are those of the forecast."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, find_policy
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.table import Workload
from segcast.replay.live.plan import plan_live
from segcast.replay.testbed.netlink import segment_list
from segcast.traces.errors import InputError

SCENARIO = """
[network]
kind = "leaf-spine"
leaves = 3
spines = 4
hosts_per_leaf = 2
links = { rate = "50Mbps" }
"""


def scenario_of(folder: Path, more: str = "") -> ValidScenario:
    file = folder / "s.toml"
    file.write_text(SCENARIO + more)
    return read_scenario(file)


def list_of(folder: Path) -> Workload:
    rows = [f"{n},{1000 * n},{n % 6},{(n + 2 + n // 12) % 6},{100 + n}" for n in range(24) if (n // 12 + 2) % 6]
    file = folder / "w.csv"
    file.write_text(
        "\n".join(["flow,start_ns,src,dst,bytes,path", *(f"{row}," for row in rows), "p,5,0,4,10,2"]) + "\n"
    )
    return read_workload(file)


@pytest.mark.parametrize("seed", [1, 2**63 - 1])
def test_hosts_choose_the_paths_that_the_policy_does(seed: int, tmp_path: Path) -> None:
    workload, scenario = list_of(tmp_path), scenario_of(tmp_path)
    attached = attach(workload, scenario)
    policy, plan = find_policy("host-ecmp"), attached.plan
    slots = attached.network.group_slots()
    assert plan.words is not None
    none = np.zeros(0, np.int64)
    setting = Setting(plan.keys, plan.words, plan.host, plan.group, plan.group, none, 0, none, none, none, (), seed)
    state = policy.make_state(setting)
    live = plan_live(workload, scenario, "host-ecmp", seed)
    seen = set()
    for number, connection in enumerate(live.connections):
        for side in (0, 1):
            flow = 2 * number + side
            there = slots[plan.group[flow]]
            decision = Decision(0, flow, 0, there.start, len(there), -1, 0, -1)
            chosen = policy.choose(state, decision, none, NetworkState(none, none, none))  # type: ignore[arg-type]
            pinned = connection.paths[side] == there.start + 2
            assert pinned if number == len(live.connections) - 1 else connection.paths[side] == there.start + chosen
            seen.add(connection.paths[side] - there.start)
            name = attached.network.paths[connection.paths[side]].group
            assert attached.groups[name] == tuple(f"leaf{place}" for place in connection.places[:: 1 - 2 * side])
    assert seen == {0, 1, 2, 3}
    assert set(live.lists) == {path for connection in live.connections for path in connection.paths}


def test_of_a_policy_of_the_network_only_pinned_connections_are_held(tmp_path: Path) -> None:
    live = plan_live(list_of(tmp_path), scenario_of(tmp_path), "ecmp", 1)
    assert {connection.paths for connection in live.connections[:-1]} == {(-1, -1)}
    assert all(path >= 0 for path in live.connections[-1].paths)
    assert live.connections[0].ends == (("10.0.0.1", 10000), ("10.0.1.1", 5001))


@pytest.mark.parametrize(
    ("more", "reduced", "addresses"),
    [("", False, 2), ('[srv6]\nmode = "reduced"', True, 2), ('[srv6]\nmode = "usid"', True, 1)],
)
def test_lists_are_what_headers_have(more: str, reduced: bool, addresses: int, tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, more)
    live = plan_live(list_of(tmp_path), scenario, "host-ecmp", 1)
    assert live.reduced == reduced
    assert {len(found.ipv4) for found in live.lists.values()} == {addresses}
    assert all(found.ipv4 != found.ipv6 for found in live.lists.values())


@pytest.mark.parametrize(
    ("policy", "more", "wrong"),
    [
        ("random", "", "policy random: routes of the kernel can follow ecmp and host-ecmp only"),
        ("host-ecmp", '[srv6]\nmode = "l2"', "srv6.mode l2: hosts' routes encapsulate IP packets"),
        ("host-ecmp", '[srv6]\nmode = "insert"', "srv6.mode insert: hosts' routes encapsulate IP packets"),
    ],
)
def test_what_routes_cannot_do_is_refused(policy: str, more: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=wrong):
        plan_live(list_of(tmp_path), scenario_of(tmp_path, more), policy, 1)


def test_a_segment_list_is_written_in_reverse() -> None:
    assert segment_list(["fd00::a", "fd00::b"], reduced=True).hex() == (
        f"30000100030000000004040101000000fd{'00' * 14}0bfd{'00' * 14}0a"
    )


def test_the_benchmark_says_what_it_takes() -> None:
    root = Path(__file__).parents[2]
    import sys

    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.real_tcp", "--help"], cwd=root, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "--super-frames" in ran.stdout
