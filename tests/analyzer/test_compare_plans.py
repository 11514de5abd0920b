"""Comparisons of plans: which edges differ clearly, whatever the axis, and what is not compared at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.compare.plans import compare_plans
from segcast.traces.errors import InputError

SCENARIO = """
[network]
kind = "leaf-spine"
leaves = 4
spines = {spines}
links = {{ rate = "{rate}", delay = "2us", buffer = "512KiB" }}
"""
Bounds = tuple[float, float, float]


def edge(policy: str, bounds: Bounds | str, timeout: str | None = None) -> dict[str, Any]:
    """An edge of plan.json: its value and bounds, or a state without one."""
    value, low, high = (None, None, None) if isinstance(bounds, str) else bounds
    state = bounds if isinstance(bounds, str) else "edge"
    timeout_ns = None if timeout is None else 100_000
    return {
        "policy": policy,
        "timeout": timeout,
        "timeout_ns": timeout_ns,
        "state": state,
        "value": value,
        "low": low,
        "high": high,
        "binding": "p99_delay < 2ms",
    }


def write(folder: Path, edges: list[dict[str, Any]], *, digest: str = "d1", spines: int = 2, **changes: Any) -> Path:
    """A plan folder as `segcast plan` leaves it, as far as comparing reads it."""
    folder.mkdir()
    (folder / "scenario.toml").write_text(SCENARIO.format(spines=spines, rate="1Gbps"), "utf-8")
    traffic = {"kind": "trace", "name": "t", "layer": "outer", "sources": [{"path": "/t.pcap", "xxh128": digest}]}
    document = {
        "segcast": "1",
        "schema_version": 1,
        "source": "/t.trace",
        "traffic": traffic,
        "reacts": False,
        "over": "load",
        "rises": True,
        "near": 0.5,
        "far": 4.0,
        "slo": "p99_delay < 2ms",
        "answer": "an answer",
        "but": [],
        "baseline": "ecmp",
        "edges": edges,
        "cells": 1,
        "ran": 1,
        **changes,
    }
    (folder / "plan.json").write_text(json.dumps(document), "utf-8")
    return folder


RATE = {"over": "links.rate", "rises": False, "near": 4e9, "far": 1e9}
PATHS = {"over": "paths", "rises": False, "near": 8.0, "far": 1.0}


@pytest.mark.parametrize(
    ("first", "second", "axis", "verdict"),
    [
        ((1.0, 0.9, 1.1), (2.0, 1.9, 2.1), {}, "better"),
        ((2.0, 1.9, 2.1), (1.0, 0.9, 1.1), {}, "worse"),
        ((1.0, 0.9, 1.1), (1.05, 0.95, 1.15), {}, "unclear"),
        ((1.0, 0.9, 1.1), (1.0, 0.9, 1.1), {}, "equal"),
        ((2e9, 1.9e9, 2.1e9), (3e9, 2.9e9, 3.1e9), RATE, "worse"),
        ((3e9, 2.9e9, 3.1e9), (2e9, 1.9e9, 2.1e9), RATE, "better"),
        ((6.0, 6.0, 6.0), (4.0, 4.0, 4.0), PATHS, "better"),
        ("nowhere", (1.0, 0.9, 1.1), {}, "better"),
        ((1.0, 0.9, 1.1), "nowhere", {}, "worse"),
        ("nowhere", (2e9, 1.9e9, 2.1e9), RATE, "better"),
        ((1.0, 0.9, 1.1), "everywhere", {}, "better"),
        ("everywhere", "nowhere", {}, "worse"),
        ("everywhere", "nowhere", RATE, "worse"),
        ("everywhere", "everywhere", {}, "beyond"),
        ("nowhere", "nowhere", {}, "beyond"),
    ],
)
def test_an_edge_is_better_that_carries_more_or_needs_less(
    tmp_path: Path, first: Bounds | str, second: Bounds | str, axis: dict[str, Any], verdict: str
) -> None:
    one = write(tmp_path / "one", [edge("ecmp", first)], **axis)
    other = write(tmp_path / "other", [edge("ecmp", second)], spines=4, **axis)
    found = compare_plans(one, other)
    (change,) = found["edges"]
    assert change["verdict"] == verdict
    assert found["holds"] is (verdict != "worse" and second != "nowhere")
    if not isinstance(first, str) and not isinstance(second, str):
        assert change["change"] == pytest.approx(second[0] / first[0] - 1)


def test_an_edge_beyond_what_was_asked_is_compared_as_far_as_it_is_known(tmp_path: Path) -> None:
    near = write(tmp_path / "near", [edge("ecmp", "everywhere")])
    within, beyond = (
        write(tmp_path / name, [edge("ecmp", bounds)], far=9.0)
        for name, bounds in (("within", (3.0, 2.9, 3.1)), ("beyond", (6.0, 5.0, 7.0)))
    )
    assert compare_plans(near, within)["edges"][0]["verdict"] == "worse"  # all loads up to 4 were kept
    assert compare_plans(near, beyond)["edges"][0]["verdict"] == "unclear"  # the first may go as far


def test_errors_of_both_edges_widen_a_change(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", (1.0, 0.9, 1.2))])
    other = write(tmp_path / "other", [edge("ecmp", (1.5, 1.4, 1.8))])
    (found,) = compare_plans(one, other)["edges"]
    below = math.sqrt(math.log(1.5 / 1.4) ** 2 + math.log(1.2 / 1.0) ** 2)
    above = math.sqrt(math.log(1.8 / 1.5) ** 2 + math.log(1.0 / 0.9) ** 2)
    assert found["low"] == pytest.approx(1.5 * math.exp(-below) - 1)
    assert found["high"] == pytest.approx(1.5 * math.exp(above) - 1)


def test_bounds_of_other_traffic_count_where_both_plans_have_them(tmp_path: Path) -> None:
    wide = {"traffic_low": 0.5, "traffic_high": 3.0}
    one = write(tmp_path / "one", [edge("ecmp", (1.0, 0.9, 1.1)) | wide])
    other = write(tmp_path / "other", [edge("ecmp", (1.5, 1.4, 1.6)) | wide])
    assert compare_plans(one, other)["edges"][0]["verdict"] == "unclear"
    alone = write(tmp_path / "alone", [edge("ecmp", (1.5, 1.4, 1.6))])
    assert compare_plans(one, alone)["edges"][0]["verdict"] == "better"


def test_other_traffic_and_other_questions_are_said_first_and_nothing_is_compared(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", (2.0, 1.9, 2.1))])
    captured = write(tmp_path / "captured", [edge("ecmp", (1.0, 0.9, 1.1))], digest="d2")
    found = compare_plans(one, captured)
    assert found["answer"].startswith("Different traffic, so no edge is compared: trace.sources t.pcap (d1)")
    assert (found["edges"][0]["verdict"], found["edges"][0]["low"], found["holds"]) == ("unpaired", None, True)
    unsaid = write(tmp_path / "unsaid", [edge("ecmp", (1.0, 0.9, 1.1))], traffic=None)
    assert compare_plans(one, unsaid)["same_traffic"] is False
    rate = write(tmp_path / "rate", [edge("ecmp", (2e9, 1.9e9, 2.1e9))], **RATE)
    found = compare_plans(one, rate)
    assert found["answer"].startswith("Different questions, so no edge is compared: the first varies load, the second")
    assert (found["same_question"], found["edges"][0]["verdict"]) == (False, "unpaired")


def test_tighter_budgets_are_a_difference_and_no_failure(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", (2.0, 1.9, 2.1))])
    other = write(tmp_path / "other", [edge("ecmp", (1.0, 0.9, 1.1))], slo="p99_delay < 1ms")
    found = compare_plans(one, other)
    assert found["edges"][0]["verdict"] == "worse"
    assert found["holds"] is True
    assert "What differs: slo p99_delay < 2ms -> p99_delay < 1ms." in found["answer"]
    assert found["but"][0].startswith("each is held to its own budgets")


def test_what_differs_and_which_policy_is_best_is_said(tmp_path: Path) -> None:
    inflight = ("inflight", (3.0, 2.9, 3.1), "100us")
    one = write(tmp_path / "one", [edge(*inflight), edge("ecmp", (2.0, 1.9, 2.1)), edge("random", "nowhere", "100us")])
    other = write(tmp_path / "other", [edge("ecmp", (3.0, 2.9, 3.1)), edge(*inflight)], spines=4)
    found = compare_plans(one, other)
    assert found["answer"] == (
        "In the second, p99_delay < 2ms is kept further under ecmp (load 3 instead of load 2, +50 %, +41 to +59); "
        "alike under inflight, 100us. The best is inflight, 100us in the first and ecmp in the second. What differs: "
        "network.spines 2 -> 4."
    )
    assert found["but"] == ["only in the first: random, 100us"]
    same = compare_plans(one, one)
    assert same["answer"].startswith("Nothing differs")
    assert same["differences"] == []


def test_edges_beyond_what_was_asked_are_not_called_the_same(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", "everywhere"), edge("random", "nowhere", "100us")])
    other = write(tmp_path / "other", [edge("ecmp", "everywhere"), edge("random", "nowhere", "100us")], spines=4)
    assert compare_plans(one, other)["answer"] == (
        "In the second, p99_delay < 2ms is kept wherever it was asked, as in the first, under ecmp; nowhere that was "
        "asked, as in the first, under random, 100us. What differs: network.spines 2 -> 4."
    )
    assert compare_plans(one, one)["answer"].startswith("Nothing differs")


def test_too_few_flows_for_a_plan_are_too_few_to_compare_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", (1.0, 0.9, 1.1))])
    other = write(tmp_path / "other", [edge("ecmp", (2.0, 1.9, 2.1))], spines=4, few="2 flows")
    said = "Too little to tell: 2 flows. Seen so far, and no answer yet: in the second, p99_delay < 2ms is kept further"
    assert compare_plans(one, other)["answer"].startswith(said)


def test_what_the_axis_itself_sets_is_no_difference(tmp_path: Path) -> None:
    edges = [edge("ecmp", (6.0, 6.0, 6.0))]
    one = write(tmp_path / "one", edges, spines=2, **PATHS)
    other = write(tmp_path / "other", edges, spines=4, **PATHS)
    assert compare_plans(one, other)["differences"] == []


def test_a_folder_that_is_no_plan_says_so(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [edge("ecmp", "nowhere")])
    with pytest.raises(InputError, match=r"no plan: it has no plan\.json"):
        compare_plans(one, tmp_path)
    (one / "plan.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match="make it anew with segcast plan"):
        compare_plans(one, one)
