"""The policies behave on two unequal paths as docs/behaviour.md says."""

from __future__ import annotations

import pytest

from tests.support.behaviour import behaviour


def test_flows_by_hash_depend_on_luck_and_flowlets_at_random_do_not() -> None:
    ecmp, letflow = behaviour("ecmp"), behaviour("letflow")
    assert ecmp.widest - ecmp.narrowest > 0.15
    assert letflow.widest - letflow.narrowest < 0.03


def test_random_flowlets_do_not_shift_load_in_an_open_loop() -> None:
    assert behaviour("random").fast == pytest.approx(0.5, abs=0.01)
    assert behaviour("letflow") == behaviour("random")  # no two of the flows meet in a table of 65536


@pytest.mark.parametrize("load_bps", [6 * 10**9, 9 * 10**9, 12 * 10**9])
def test_conga_splits_by_rate(load_bps: int) -> None:
    assert behaviour("conga", 1, load_bps).fast == pytest.approx(2 / 3, abs=0.01)


def test_what_hosts_and_switches_learn_shortens_the_tail() -> None:
    p99_us = {
        policy: behaviour(policy).p99_us for policy in ("random", "inflight", "clove-ecn", "conga", "least-queue")
    }
    assert p99_us["least-queue"] < min(p99_us["inflight"], p99_us["conga"], p99_us["clove-ecn"])
    assert max(p99_us["inflight"], p99_us["conga"], p99_us["clove-ecn"]) < 0.7 * p99_us["random"]


def test_finer_cuts_balance_alike_and_reorder_more() -> None:
    late = [behaviour(policy).reordered_percent for policy in ("ecmp", "random", "presto", "spray")]
    assert late[0] == 0
    assert late == sorted(late)
