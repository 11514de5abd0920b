"""A valid scenario keeps its fabric: built once, built anew for another network, and no part of what it says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from segcast.analyzer.network.fabric import Fabric
from segcast.analyzer.scenario import valid
from segcast.analyzer.scenario.short import short_scenario


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Fabric]:
    """The fabrics that are built from now on."""
    found: list[Fabric] = []
    build = valid.build_fabric

    def counted(*arguments: Any) -> Fabric:
        found.append(build(*arguments))
        return found[-1]

    monkeypatch.setattr(valid, "build_fabric", counted)
    return found


def test_the_fabric_is_built_once(built: list[Fabric]) -> None:
    scenario = short_scenario(paths="2x1Gbps")
    assert not built
    scenario.assembled(((0, 1), (1, 0)))
    scenario.between((("left", "right"),))
    seeded = scenario.model_copy(update={"seeds": (7,)})
    assert seeded.fabric() is scenario.fabric()
    assert len(built) == 1


def test_another_network_has_another_fabric(built: list[Fabric]) -> None:
    scenario, wider = short_scenario(paths="2x1Gbps"), short_scenario(paths="3x1Gbps")
    scenario.fabric()
    changed = scenario.model_copy(update={"network": wider.network})
    assert len(changed.fabric().links) == 6
    assert len(scenario.fabric().links) == 4
    assert len(built) == 2


def test_a_built_fabric_is_no_part_of_what_a_scenario_says() -> None:
    scenario, other = short_scenario(paths="2x1Gbps"), short_scenario(paths="2x1Gbps")
    scenario.fabric()
    assert scenario == other
    assert scenario.to_toml() == other.to_toml()


def test_networkx_is_imported_for_graphs_alone() -> None:
    code = (
        "import sys\n"
        "from segcast.analyzer.scenario.short import short_scenario\n"
        "import segcast.analyzer.forecast.run, segcast.replay.testbed.plan\n"
        "short_scenario(paths='2x1Gbps').fabric()\n"
        "print('networkx' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
