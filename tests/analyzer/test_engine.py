"""The engine against its slow twin packet for packet, and against itself in other batches, threads, and uncompiled."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path as File

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.state import LAZY, ORDERED
from segcast.analyzer.packets import Fates
from tests.support.simulating import CELLS, DETECTORS, POLICIES, assert_same_fates, cell_of, parameters_of, run_engine
from tests.support.strategies import Scenario, Seeded, fabrics, make_fabric, make_scenario, scenarios
from tests.twins import detectors as twin_detectors
from tests.twins import engine as twin
from tests.twins import policies as twin_policies
from tests.twins.accounts import assert_conserved

ACKS = ("modelled", "recorded", "timeout")


def assert_same_as_the_twin(scenario: Scenario) -> None:
    ref, ledger = twin.simulate_and_note(*scenario.network(), **scenario.options())
    assert_conserved(scenario.links, scenario.packets, ref, ledger, scenario.changes)
    comp, cell = run_engine(scenario)
    assert_same_fates(comp, ref)
    overheads = [link.overhead_bytes for link in scenario.links]
    carried = [ledger.accepted_bytes(n) + overhead * len(ledger.passages[n]) for n, overhead in enumerate(overheads)]
    assert cell.state.links["carried_bytes"].tolist() == carried


def test_the_twin_knows_every_policy_and_timeout_with_its_parameters() -> None:
    from segcast.analyzer.detectors.registry import find_detector
    from segcast.analyzer.policies.registry import find_policy

    assert set(POLICIES) == set(twin_policies.POLICIES)
    assert set(DETECTORS) == set(twin_detectors.DETECTORS)
    for name in POLICIES:
        policy, rule = find_policy(name), twin_policies.POLICIES[name]
        assert (policy.granularity, policy.steered, policy.by) == (rule.granularity, rule.steered, rule.by), name
        assert policy.learns == rule.learns, name
        assert_same_defaults(policy.parameters, rule.OPTIONS)
    for name in DETECTORS:
        detector, timeout = find_detector(name), twin_detectors.DETECTORS[name]
        assert (detector.learns, detector.awaits) == (timeout.learns, timeout.awaits), name
        assert_same_defaults(detector.parameters, timeout.OPTIONS)


def assert_same_defaults(kind: type, options: dict[str, tuple[object, ...]]) -> None:
    defaults = {name: values[0] for name, values in options.items()}
    assert parameters_of(kind, defaults) == kind()
    assert len(defaults) == len(kind.model_fields)  # type: ignore[attr-defined]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_same_fates_as_the_twin_on_parallel_paths(scenario: Scenario) -> None:
    assert_same_as_the_twin(scenario)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fabrics(40, CELLS, ACKS))
def test_same_fates_as_the_twin(scenario: Scenario) -> None:
    assert_same_as_the_twin(scenario)


@pytest.mark.parametrize("seed", range(10))
def test_same_fates_as_the_twin_on_longer_traces_over_parallel_paths(seed: int) -> None:
    assert_same_as_the_twin(make_scenario(Seeded(seed), 600))


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_same_fates_as_the_twin_on_longer_traces(cell: tuple[str, str]) -> None:
    """Every policy with the fixed timeout, and every timeout with one of the policies."""
    for seed in range(8):
        assert_same_as_the_twin(make_fabric(Seeded(seed), 600, [cell]))


@pytest.mark.parametrize("ack", ACKS)
def test_same_fates_as_the_twin_however_acknowledged(ack: str) -> None:
    for seed in range(12):
        assert_same_as_the_twin(make_fabric(Seeded(seed), 600, [("inflight", "fixed")], (ack,)))


@pytest.mark.parametrize("most", [32, 0], ids=["when-asked", "as-events"])
def test_same_fates_as_the_twin_however_bytes_are_released(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcast.analyzer.engine.layout._MOST_WATCHED", most)
    seen = 0
    for seed in range(60):
        scenario = make_fabric(Seeded(seed), 300, [("inflight", "fixed"), ("two-choices", "fixed")])
        if scenario.hosts:
            scenario = replace(scenario, changes=(), suspect_after=0, scope=("pair", "fabric")[seed % 2], timeout_ns=0)
            assert_same_as_the_twin(scenario)
            assert cell_of(scenario).rules.ack == (LAZY if most else ORDERED)
            seen += 1
    assert seen > 20


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fabrics(40, CELLS, ACKS), st.integers(1, 50))
def test_batches_change_nothing(scenario: Scenario, batch_packets: int) -> None:
    whole, _ = run_engine(scenario)
    split, _ = run_engine(scenario, batch_packets=batch_packets)
    for name, ref, comp in zip(Fates._fields, whole, split, strict=True):
        assert np.array_equal(ref, comp), name


def test_threads_change_nothing() -> None:
    made = [make_fabric(Seeded(seed), 300, CELLS, ACKS) for seed in range(20)]
    alone = [run_engine(scenario)[0] for scenario in made]
    with ThreadPoolExecutor(4) as pool:
        together = [fates for fates, _ in pool.map(run_engine, made)]
    for ref, comp in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ref, comp, strict=True))


UNCOMPILED = """
import numpy as np
from tests.support.simulating import CELLS, assert_same_fates, uncompiled_fates
from tests.support.strategies import Seeded, make_fabric
from tests.twins import engine as twin

with np.errstate(over="ignore"):  # hashes wrap
    for seed, cell in enumerate(CELLS):
        scenario = make_fabric(Seeded(seed), 120, [cell], ("modelled", "recorded", "timeout"))
        ref = twin.simulate(*scenario.network(), **scenario.options())
        assert_same_fates(uncompiled_fates(scenario), ref)
print(len(CELLS))
"""


def test_the_same_without_compiling() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", UNCOMPILED],
        env=environment,
        cwd=File(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.returncode) == (f"{len(CELLS)}\n", 0), ran.stderr[-2000:]
