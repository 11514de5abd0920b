"""Traffic that variants share: the same as if each prepared its own, and prepared anew for all that it depends on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcast.analyzer.forecast.cells import plan_cells
from segcast.analyzer.forecast.runner import CellRunner
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.sharing import SharedTraffic
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.support.ingesting import conversations

LEAVES = """
seeds = [1]
policies = ["ecmp", "inflight"]
packets = "none"
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
links = { rate = "10Mbps", delay = "1us", buffer = "64KiB" }
host_links = { rate = "1Gbps", delay = "1us", buffer = "64KiB" }
"""

SHARED = {
    "rates": ('links = { rate = "10Mbps"', 'links = { rate = "5Mbps"'),
    "delays": ('delay = "1us", buffer = "64KiB" }\nhost', 'delay = "9us", buffer = "64KiB" }\nhost'),
    "buffers": ('"64KiB" }\nhost', '"3KiB" }\nhost'),
    "links of hosts": ('host_links = { rate = "1Gbps"', 'host_links = { rate = "20Mbps"'),
    "policies": ('"inflight"', '"random"'),
    "seeds": ("seeds = [1]", "seeds = [2]"),
    "timeouts": ("seeds", 'timeouts = ["1ms"]\nseeds'),
    "load": ("seeds", "load = [2]\nseeds"),
    "steering": ("[network]", '[steering]\nack_late = "5us"\n[network]'),
    "segments": ("[network]", '[srv6]\nmode = "reduced"\n[network]'),
    "interval": ("seeds", 'interval = "2ms"\nseeds'),
}
ANEW = {
    "traffic": ("[network]", '[traffic]\nwithout = ["192.0.2.0/24"]\n[network]'),
    "hosts": ("[network]", '[steering]\nhosts = ["10.0.0.0/8"]\n[network]'),
    "growth": ("[network]", "[growth]\nfactor = 2\n[network]"),
    "spines, which number links of hosts": ("spines = 2", "spines = 3"),
    "leaves": ("leaves = 2", "leaves = 3"),
    "no links of hosts": ("host_links", "#"),
    "mtu": ("spines = 2", "spines = 2\nmtu = '9000B'"),
    "events": ("[network]", '[[events]]\nat = "1ms"\nlink = "*"\nrate = "9Mbps"\n[network]'),
    "recorded acknowledgements": ("[network]", '[steering]\nack = "recorded"\n[network]'),
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    home = tmp_path_factory.mktemp("shared")
    (home / "c.pcap").write_bytes(conversations(21))
    return ingest([home / "c.pcap"], home / "c.trace")


def scenario_of(folder: Path, change: tuple[str, str] = ("", ""), closed: bool = False) -> ValidScenario:
    text = LEAVES.replace(*change, 1) if change[0] else LEAVES
    assert (text != LEAVES) == bool(change[0])
    (folder / "s.toml").write_text(text + ("[transport]\n" if closed else ""))
    return read_scenario(folder / "s.toml")


def same(one: Any, other: Any) -> bool:
    """Whether two objects hold the same, arrays among it."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(same(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) if not callable(one) else True


def rows(runner: CellRunner, scenario: ValidScenario) -> list[dict[str, Any]]:
    return [result.summary for result in runner.results(plan_cells(scenario), 1, lambda: None)]


@pytest.mark.parametrize(
    ("name", "closed"),  # senders that react have acknowledgements of their own
    [(n, c) for n in (*SHARED, *ANEW) for c in (False, True) if not (c and n == "recorded acknowledgements")],
)
def test_shared_traffic_is_what_a_variant_would_prepare(trace: Trace, tmp_path: Path, name: str, closed: bool) -> None:
    base = scenario_of(tmp_path, closed=closed)
    scenario = scenario_of(tmp_path, (SHARED | ANEW)[name], closed)
    traffic = SharedTraffic(trace)
    rows(traffic.runner(base, 1, tmp_path), base)
    shared = traffic.runner(scenario, 1, tmp_path)
    assert traffic.prepared == (1 if name in SHARED else 2)
    own = SharedTraffic(trace).runner(scenario, 1, tmp_path)
    assert same(shared.traffic, own.traffic)
    assert same(shared.asked, own.asked)
    assert rows(shared, scenario) == rows(own, scenario)
    again = traffic.runner(base, 1, tmp_path)
    assert same(again.traffic, SharedTraffic(trace).runner(base, 1, tmp_path).traffic)


def test_senders_that_react_share_nothing_with_recorded_packets(trace: Trace, tmp_path: Path) -> None:
    traffic = SharedTraffic(trace)
    for closed in (False, True, False):
        traffic.runner(scenario_of(tmp_path, closed=closed), 1, tmp_path)
    assert traffic.prepared == 3
