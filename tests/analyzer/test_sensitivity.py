"""Errors of the in-flight count: what they are, and that a forecast runs and names them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segcast.analyzer.engine.unseen import SHARES, all_unseen, threshold
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.sensitivity import ERRORS, with_errors
from segcast.analyzer.scenario.short import short_scenario
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.twins.hashing import is_lost


@pytest.mark.parametrize("millionths", [0, 1, 250_000, 999_999, SHARES])
def test_the_share_unseen_is_that_of_the_twin(millionths: int) -> None:
    random = np.random.default_rng(millionths)
    send_ns = random.integers(-(2**62), 2**62, 3000)
    flow = random.integers(0, 2**32, 3000).astype(np.uint32)
    seed = int(random.integers(0, 2**63))
    comp = all_unseen(threshold(millionths), seed, send_ns, flow)
    ref = [is_lost(int(t), int(f), seed, millionths) for t, f in zip(send_ns, flow, strict=True)]
    assert comp.tolist() == ref
    assert abs(comp.mean() - millionths / SHARES) < 0.03


def test_every_error_is_a_policy_of_its_own_that_is_written_and_read_back(tmp_path: Path) -> None:
    scenario = with_errors(short_scenario(paths="2x1Gbps", policies=["ecmp", "inflight"]))
    assert [choice.label for choice in scenario.policies][2:] == [f"inflight {name}" for name in ERRORS]
    file = tmp_path / "scenario.toml"
    file.write_text(scenario.to_toml())
    assert read_scenario(file) == scenario
    by_label = {choice.label: scenario.steering_of(choice) for choice in scenario.policies}
    assert by_label["inflight lost 10%"].steering().ack_loss_millionths == 100_000
    assert by_label["inflight late 1ms"].steering().ack_late_ns == 1_000_000
    assert by_label["inflight"] == scenario.steering


def test_what_learns_is_not_deprived_of_what_returns() -> None:
    scenario = with_errors(short_scenario(paths="2x1Gbps", policies=["hermes"]))
    assert [choice.label for choice in scenario.policies][1:] == [
        "hermes late 100us",
        "hermes late 1ms",
        "hermes lost 1%",
        "hermes lost 10%",
    ]
    with pytest.raises(InputError, match="no policy of the scenario counts bytes in flight"):
        with_errors(short_scenario(paths="2x1Gbps", policies=["ecmp", "random"]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("steering = { hosts = [] }", r"1: policies\[0\].steering.hosts: the hosts are the same for all policies"),
        ("steering = { ack = 'timeout', ack_loss = 0.1 }", 'ack_loss and ack_late need ack = "modelled"'),
        ("steering = { unseen = 0.5 }", 'unseen needs ack = "recorded"'),
        ("steering = { ack = 'recorded', unseen = 1.5 }", r"steering.unseen: 1.5 is not a share, 0 to 1"),
        ("steering = { ack_loss = 1e-7 }", "more than six decimals"),
        ("steering = { sight = 1 }", r"steering.sight: unknown key 'sight'"),
    ],
)
def test_wrong_errors_are_refused(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(
        f'policies = [{{ name = "inflight", {line} }}]\n'
        '[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 2\nlinks = { rate = "1Gbps" }\n'
    )
    with pytest.raises(InputError, match=words):
        read_scenario(file)


def test_a_forecast_with_errors_never_advises_one(cluster: Trace, tmp_path: Path, run: Run) -> None:
    arguments = ["--paths", "4x300Mbps", "--policy", "ecmp,inflight", "--seeds", "2", "--sensitivity", "--json"]
    ran = run("forecast", cluster.folder, *arguments, "--out", tmp_path / "f")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert "inflight, 100 us: p99 delay" in document["answer"]
    assert {row["policy"] for row in document["comparisons"]} == {"inflight", *(f"inflight {name}" for name in ERRORS)}
    mean = pl.read_parquet(tmp_path / "f" / "summary.parquet").group_by("policy").agg(pl.col("delay_mean_ns").mean())
    assert mean["delay_mean_ns"].n_unique() == len(mean) == 2 + len(ERRORS)  # every error changes something
