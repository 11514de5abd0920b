"""Topologies against networkx's own search and cases counted by hand; their SIDs, uSIDs and bounds."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import tomli_w

from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.network.sids import on_the_wire, srv6_bytes
from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError

LINK = {"rate": "10Gbps", "delay": "1us"}


def scenario_of(folder: Path, network: dict[str, Any], **others: Any) -> ValidScenario:
    (folder / "s.toml").write_text(tomli_w.dumps({"network": network, **others}), "utf-8")
    return read_scenario(folder / "s.toml")


def node_lists(scenario: ValidScenario, built: Assembled) -> dict[tuple[int, int], list[list[str]]]:
    """For each pair the nodes of its paths in slot order, from the links that the engine will use."""
    ends = {edge.forward: edge.ends for edge in built.edges} | {edge.back: edge.ends[::-1] for edge in built.edges}
    numbers = {attachment.name: number for number, attachment in enumerate(scenario.fabric().attachments)}
    pairs = [(numbers[a], numbers[b]) for a, b in built.groups]
    found: dict[tuple[int, int], list[list[str]]] = {pair: [] for pair in pairs}
    for path in built.network.paths:
        hops = [ends[link] for link in path.links]
        assert all(one[1] == other[0] for one, other in itertools.pairwise(hops))
        found[pairs[path.group]].append([hops[0][0], *(there for _, there in hops)])
    return found


@pytest.mark.parametrize(
    ("network", "attachments"),
    [
        ({"kind": "leaf-spine", "leaves": 4, "spines": 3, "links": LINK}, 4),
        ({"kind": "leaf-spine", "leaves": 3, "spines": 2, "parallel": 2, "links": LINK}, 3),
        ({"kind": "fat-tree", "k": 2, "links": LINK}, 2),
        ({"kind": "fat-tree", "k": 4, "links": LINK}, 8),
        ({"kind": "fat-tree", "k": 6, "links": LINK}, 18),
    ],
)
def test_paths_are_all_shortest_ones(tmp_path: Path, network: dict[str, Any], attachments: int) -> None:
    """Another search on the same edges, as a multigraph, is the oracle: same paths, same counts."""
    scenario = scenario_of(tmp_path, network)
    fabric = scenario.fabric()
    assert len(fabric.attachments) == attachments
    pairs = list(itertools.permutations(range(attachments), 2))
    built = scenario.assembled(pairs)
    graph = nx.Graph(edge.ends for edge in fabric.edges)
    several = network.get("parallel", 1)
    for (a, b), paths in node_lists(scenario, built).items():
        one, other = fabric.attachments[a].node, fabric.attachments[b].node
        expected = [list(nodes) for nodes in nx.all_shortest_paths(graph, one, other)]
        assert sorted(paths) == sorted(nodes for nodes in expected for _ in range(several ** (len(nodes) - 1)))
    assert len({(path.group, path.links) for path in built.network.paths}) == len(built.network.paths)


def test_a_leaf_spine_counted_by_hand(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, {"kind": "leaf-spine", "leaves": 2, "spines": 2, "links": LINK})
    network = scenario.assembled([(1, 0)]).network
    names = [[network.links[link].name for link in path.links] for path in network.paths]
    assert names == [["leaf1-spine0", "leaf0-spine0-back"], ["leaf1-spine1", "leaf0-spine1-back"]]
    assert [path.segments for path in network.paths] == [("fd00:0:1001::1",), ("fd00:0:1002::1",)]
    assert [path.srv6_bytes for path in network.paths] == [80, 80]
    assert [path.ack_delay_ns for path in network.paths] == [2000, 2000]
    assert network.tiers == ((2,),)


def test_slots_of_a_fat_tree_count_aggregation_then_core(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, {"kind": "fat-tree", "k": 4, "links": LINK})
    built = scenario.assembled([(0, 1), (1, 7)])
    assert built.network.tiers == ((2,), (2, 2))
    within, between = node_lists(scenario, built).values()
    assert within == [["edge0.0", f"agg0.{a}", "edge0.1"] for a in (0, 1)]
    assert between == [
        ["edge0.1", f"agg0.{a}", f"core{2 * a + c}", f"agg3.{a}", "edge3.1"] for a in (0, 1) for c in (0, 1)
    ]


def test_parallel_links_have_a_tier_and_are_named(tmp_path: Path) -> None:
    spec = {"kind": "leaf-spine", "leaves": 2, "spines": 1, "parallel": 2, "links": LINK}
    built = scenario_of(tmp_path, spec).assembled([(0, 1)])
    assert built.network.tiers == ((2, 2),)
    assert [path.segments for path in built.network.paths] == [
        ("fd00:0:1000::e100", "fd00:0:1001::e102"),
        ("fd00:0:1000::e100", "fd00:0:1001::e103"),
        ("fd00:0:1000::e101", "fd00:0:1001::e102"),
        ("fd00:0:1000::e101", "fd00:0:1001::e103"),
    ]


@pytest.mark.parametrize("mode", ["encaps", "usid"])
def test_sids_are_unique_and_lie_in_their_locators(tmp_path: Path, mode: str) -> None:
    spec = {"kind": "leaf-spine", "leaves": 3, "spines": 2, "parallel": 2, "links": LINK}
    locators = {"spine0": "fd00:0:a::/48"}
    scenario = scenario_of(tmp_path, spec, srv6={"mode": mode, "locators": locators})
    built = scenario.assembled(list(itertools.permutations(range(3), 2)))
    lists = [(*path.segments, sid) for path in built.network.paths for sid in built.decapsulate[path.group]]
    assert len(set(lists)) == len(lists)
    owners = {"leaf0": 0x1000, "spine0": 0xA, "spine1": 0x1002, "leaf1": 0x1003, "leaf2": 0x1004}
    places = [ipaddress.IPv6Network((0xFD00 << 112 | number << 80, 48)) for number in owners.values()]
    for sid in {sid for sids in lists for sid in sids}:
        assert sum(ipaddress.IPv6Address(sid) in place for place in places) == 1


def test_usids_fill_carriers_of_six() -> None:
    block = "fd00::/32"
    nodes = [f"fd00:0:100{n}::" for n in range(9)]
    assert on_the_wire(nodes[:6], Mode.USID, block) == ("fd00:0:1000:1001:1002:1003:1004:1005",)
    assert on_the_wire(nodes[:7], Mode.USID, block) == ("fd00:0:1000:1001:1002:1003:1004:1005", "fd00:0:1006::")
    last = "fd00:0:1009:e0d4::"
    assert on_the_wire([*nodes[:4], last], Mode.USID, block) == ("fd00:0:1000:1001:1002:1003:1009:e0d4",)
    assert on_the_wire([*nodes[:5], last], Mode.USID, block) == (
        "fd00:0:1000:1001:1002:1003:1004:0",
        "fd00:0:1009:e0d4::",
    )
    assert on_the_wire(nodes, Mode.ENCAPS, block) == tuple(nodes)
    assert [srv6_bytes(n, Mode.USID) for n in (1, 2, 3)] == [40, 64, 80]
    assert [srv6_bytes(n, Mode.ENCAPS) for n in (1, 2, 3)] == [64, 80, 96]
    with pytest.raises(InputError, match=r"fd00:0:10::d4 is no uSID of fd00::/32"):
        on_the_wire(["fd00:0:10::d4"], Mode.USID, block)


def test_bytes_of_a_fat_tree_in_every_mode(tmp_path: Path) -> None:
    """Between pods: three transit nodes and the last SID; as uSIDs five identifiers, one carrier."""
    for mode, expected in (("encaps", 40 + 8 + 4 * 16), ("reduced", 40 + 8 + 3 * 16), ("usid", 40)):
        scenario = scenario_of(tmp_path, {"kind": "fat-tree", "k": 4, "links": LINK}, srv6={"mode": mode})
        assert {path.srv6_bytes for path in scenario.assembled([(0, 7)]).network.paths} == {expected}


def test_bounds_are_refused_with_the_reason(tmp_path: Path) -> None:
    tree = {"kind": "fat-tree", "k": 4, "links": LINK}
    with pytest.raises(InputError, match=r"a path to edge3.1 needs 4 SIDs, but srv6.max_sids is 3; mode = \"usid\""):
        scenario_of(tmp_path, tree, srv6={"max_sids": 3}).assembled([(0, 7)])
    big = scenario_of(tmp_path, {"kind": "leaf-spine", "leaves": 40, "spines": 64, "links": LINK})
    with pytest.raises(InputError, match=r"uses 1560 pairs of attachments, and they have more than 65535 paths"):
        big.assembled(list(itertools.permutations(range(40), 2)))
    with pytest.raises(InputError, match=r"s.toml:\d+: network.k: 3 is odd"):
        scenario_of(tmp_path, {"kind": "fat-tree", "k": 3, "links": LINK})
    inside = scenario_of(tmp_path, tree, srv6={"source_prefix": "fd00:0:1001::/64"})
    with pytest.raises(
        InputError, match=r"s.toml:\d+: srv6.source_prefix: fd00:0:1001::/64 lies in fd00:0:1001::/48 of agg0.0"
    ):
        inside.assembled([(0, 7)])
    shared = {"edge0.0": "fd00:0:1::/48", "edge0.1": "fd00:0:1::/48"}
    with pytest.raises(InputError, match=r"edge0.0 would share fd00:0:1::/48|edge0.1 and edge0.0 would share"):
        scenario_of(tmp_path, tree, srv6={"locators": shared}).assembled([(0, 7)])


def square(**network: Any) -> dict[str, Any]:
    """a-b-d and a-c-d cost 2 each, a-d costs 3."""
    ends = [("a", "b", 1), ("b", "d", 1), ("a", "c", 1), ("c", "d", 1), ("a", "d", 3)]
    links = [{**LINK, "name": f"{a}{b}", "ends": [a, b], "cost": cost} for a, b, cost in ends]
    return {"kind": "graph", "links": links, **network}


ENDS = [{"name": "a"}, {"name": "d"}]


def test_equal_cost_and_k_shortest_paths_of_a_graph(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, square(), attachments=ENDS)
    built = scenario.assembled([(0, 1), (1, 0)])
    there, back = node_lists(scenario, built).values()
    assert there == [["a", "b", "d"], ["a", "c", "d"]]
    assert back == [nodes[::-1] for nodes in there]
    scenario = scenario_of(tmp_path, square(paths="k-shortest", k=3), attachments=ENDS)
    built = scenario.assembled([(0, 1)])
    assert node_lists(scenario, built)[0, 1][2] == ["a", "d"]
    # The direct link costs more than the way round, so only an End.X of a leads over it.
    assert built.network.paths[2].segments == ("fd00:0:1000::e102",)


def test_graphs_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"more than 1 paths of the least cost lead from a to d; raise network.max_paths"
    ):
        scenario_of(tmp_path, square(max_paths=1), attachments=ENDS).assembled([(0, 1)])
    apart = square()
    apart["links"].append({**LINK, "name": "xy", "ends": ["x", "y"]})
    with pytest.raises(InputError, match="no path leads from a to x"):
        scenario_of(tmp_path, apart, attachments=[{"name": "a"}, {"name": "x"}]).assembled([(0, 1)])
    with pytest.raises(InputError, match=r"attachments\[1\]: the network has no node 'z'"):
        scenario_of(tmp_path, square(), attachments=[{"name": "a"}, {"name": "z"}]).fabric()
    with pytest.raises(InputError, match="say where hosts are"):
        scenario_of(tmp_path, square()).fabric()


def test_overrides_hold_for_both_directions_and_for_acknowledgements(tmp_path: Path) -> None:
    spec = {"kind": "leaf-spine", "leaves": 2, "spines": 2, "links": LINK}
    spec["overrides"] = [{"link": "*-spine1", "delay": "7us"}, {"link": "leaf1-*", "rate": "1Gbps"}]
    network = scenario_of(tmp_path, spec).assembled([(0, 1)]).network
    assert [path.ack_delay_ns for path in network.paths] == [2000, 14_000]
    assert [link.rate_bps for link in network.links] == [10**10, 10**10, 10**9, 10**9] * 2
