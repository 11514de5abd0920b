"""The table of SIDs: what a network's nodes have to know, and what stands in the headers of its packets."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from segcast.analyzer.network.sid_table import SIDS_BEGIN, SidTable
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario

LINK = {"rate": "10Gbps", "delay": "1us"}
LEAF_SPINE = {"kind": "leaf-spine", "leaves": 2, "spines": 1, "links": LINK}


def scenario_of(folder: Path, network: dict[str, Any], **others: Any) -> ValidScenario:
    (folder / "s.toml").write_text(tomli_w.dumps({"network": network, **others}), "utf-8")
    return read_scenario(folder / "s.toml")


def rows(table: SidTable) -> list[tuple[str, ...]]:
    return [
        (row.node, row.behavior, row.sid, row.link or row.attachment or "", row.neighbor or "") for row in table.sids
    ]


def test_a_leaf_spine_by_hand(tmp_path: Path) -> None:
    table = scenario_of(tmp_path, LEAF_SPINE).whole_sid_table()
    assert rows(table) == [
        ("leaf0", "End", "fd00:0:1000::1", "", ""),
        ("leaf0", "End.X", "fd00:0:1000::e100", "leaf0-spine0", "spine0"),
        ("leaf0", "End.DT4", "fd00:0:1000::d4", "leaf0", ""),
        ("leaf0", "End.DT6", "fd00:0:1000::d6", "leaf0", ""),
        ("spine0", "End", "fd00:0:1001::1", "", ""),
        ("spine0", "End.X", "fd00:0:1001::e100", "leaf0-spine0-back", "leaf0"),
        ("spine0", "End.X", "fd00:0:1001::e101", "leaf1-spine0-back", "leaf1"),
        ("leaf1", "End", "fd00:0:1002::1", "", ""),
        ("leaf1", "End.X", "fd00:0:1002::e100", "leaf1-spine0", "spine0"),
        ("leaf1", "End.DT4", "fd00:0:1002::d4", "leaf1", ""),
        ("leaf1", "End.DT6", "fd00:0:1002::d6", "leaf1", ""),
    ]
    assert [(entry.node, entry.prefix) for entry in table.locators] == [
        ("leaf0", "fd00:0:1000::/48"),
        ("spine0", "fd00:0:1001::/48"),
        ("leaf1", "fd00:0:1002::/48"),
    ]
    first = table.lists[0]
    assert (first.path_id, first.a, first.b, first.segments) == (0, "leaf0", "leaf1", ["fd00:0:1001::1"])
    assert first.ipv4 == ["fd00:0:1001::1", "fd00:0:1002::d4"]
    assert first.ipv6 == ["fd00:0:1001::1", "fd00:0:1002::d6"]
    assert [entry.a for entry in table.lists] == ["leaf0", "leaf1"]


def test_uncommon_modes_by_hand(tmp_path: Path) -> None:
    usid = scenario_of(tmp_path, LEAF_SPINE, srv6={"mode": "usid"}).whole_sid_table()
    assert rows(usid)[:4] == [
        ("leaf0", "uN", "fd00:0:1000::", "", ""),
        ("leaf0", "uA", "fd00:0:1000:e100::", "leaf0-spine0", "spine0"),
        ("leaf0", "uDT4", "fd00:0:1000:e0d4::", "leaf0", ""),
        ("leaf0", "uDT6", "fd00:0:1000:e0d6::", "leaf0", ""),
    ]
    assert (usid.lists[0].segments, usid.lists[0].ipv4) == (["fd00:0:1001::"], ["fd00:0:1001:1002:e0d4::"])
    layer_2 = scenario_of(tmp_path, LEAF_SPINE, srv6={"mode": "l2"}).whole_sid_table()
    assert [row[1:3] for row in rows(layer_2) if row[3] == "leaf1"] == [("End.DX2", "fd00:0:1002::d2")]
    inserted = scenario_of(tmp_path, LEAF_SPINE, srv6={"mode": "insert"}).whole_sid_table()
    assert {row[1] for row in rows(inserted)} == {"End", "End.X"}
    assert inserted.lists[0].ipv6 == ["fd00:0:1001::1"]


def test_one_sid_for_both_versions_is_listed_once(tmp_path: Path) -> None:
    both = {"name": "leaf1", "decapsulate_ipv4": "fd00:0:1002:46::", "decapsulate_ipv6": "fd00:0:1002:46::"}
    table = scenario_of(tmp_path, LEAF_SPINE, attachments=[both]).whole_sid_table()
    assert [row[1:3] for row in rows(table) if row[3] == "leaf1"] == [("End.DT46", "fd00:0:1002:46::")]


def test_parallel_paths_have_the_sids_that_they_name(tmp_path: Path) -> None:
    one, other = ({"name": name, **LINK} for name in ("a", "b"))
    paths = [{"segments": ["fd00::1"], "links": [one]}, {"segments": ["fd00::2", "fd00::3"], "links": [other]}]
    table = scenario_of(tmp_path, {"paths": paths}).whole_sid_table()
    assert [row[:3] for row in rows(table)] == [
        ("left", "End.DT4", "fd00:0:10::d4"),
        ("left", "End.DT6", "fd00:0:10::d6"),
        ("right", "End.DT4", "fd00:0:20::d4"),
        ("right", "End.DT6", "fd00:0:20::d6"),
        ("path0.0", "End", "fd00::1"),
        ("path1.0", "End", "fd00::2"),
        ("path1.0", "End", "fd00::3"),
    ]
    assert table.locators == []
    assert table.lists[3].ipv6 == ["fd00::3", "fd00::2", "fd00:0:10::d6"]


@pytest.mark.parametrize("mode", ["encaps", "reduced", "usid", "insert"])
@pytest.mark.parametrize(
    "network",
    [
        {"kind": "fat-tree", "k": 4, "links": LINK},
        {"kind": "leaf-spine", "leaves": 3, "spines": 2, "parallel": 2, "links": LINK},
    ],
)
def test_every_list_is_made_of_sids_in_the_table(tmp_path: Path, network: dict[str, Any], mode: str) -> None:
    scenario = scenario_of(tmp_path, network, srv6={"mode": mode})
    table = scenario.whole_sid_table()
    known = {row.sid: row for row in table.sids}
    assert len(known) == len(table.sids)
    ends = {edge.forward: edge.ends for edge in scenario.fabric().edges}
    assert sum(row.link is not None for row in table.sids) == 2 * len(ends)
    attachments = [place.name for place in scenario.fabric().attachments]
    pairs = list(itertools.permutations(range(len(attachments)), 2))
    assert table.pairs_left_out == 0
    assert len(table.lists) == len(scenario.assembled(pairs).network.paths)
    for entry in table.lists:
        assert all(known[sid].attachment is None for sid in entry.segments)
        if mode in ("encaps", "reduced"):
            assert entry.ipv4[:-1] == entry.ipv6[:-1] == entry.segments
            assert (known[entry.ipv4[-1]].attachment, known[entry.ipv6[-1]].attachment) == (entry.b, entry.b)


def test_the_comment_leaves_the_scenario_as_it_is(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, LEAF_SPINE)
    text = scenario.to_toml_with(scenario.whole_sid_table(), "there")
    (tmp_path / "again.toml").write_text(text, "utf-8")
    assert read_scenario(tmp_path / "again.toml") == scenario
    assert "#   spine0  End.X    fd00:0:1001::e101  over leaf1-spine0-back to leaf1\n" in text
    shown = "fd00:0:1001::1 fd00:0:1002::d4 | fd00:0:1001::1 fd00:0:1002::d6"
    assert f"#   path 0, leaf0 to leaf1: {shown}\n" in text


def test_the_comment_of_a_large_fabric_is_bounded_and_counts_the_rest(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, {"kind": "fat-tree", "k": 8, "links": LINK})
    table = scenario.whole_sid_table()
    assert (len(table.lists), table.pairs_left_out) == (1012, 992 - 70)  # two edges to all others, one to eight
    comment = table.as_comment("forecast.json")
    sids, lists = len(table.sids) + len(table.locators) - 200, len(table.lists) - 200
    assert f"#   and {sids:,} more, in forecast.json\n" in comment
    assert f"#   and {lists:,} more, in forecast.json\n" in comment
    assert comment.count("\n") == 405


def test_a_name_cannot_end_the_comment(tmp_path: Path) -> None:
    links = [{"ends": ["a", "b\u2028load = 7"], "name": "x\u2029\u2028", **LINK}]
    places = [{"name": "a"}, {"name": "b\u2028load = 7"}]
    scenario = scenario_of(tmp_path, {"kind": "graph", "links": links}, attachments=places)
    text = scenario.to_toml_with(scenario.whole_sid_table(), "there")
    (tmp_path / "again.toml").write_text(text, "utf-8")
    assert read_scenario(tmp_path / "again.toml").load == (1.0,)
    assert all(line.startswith("# ") for line in text.partition(SIDS_BEGIN)[2].splitlines()[1:])
