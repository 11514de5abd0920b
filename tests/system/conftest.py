"""The testbed that replays run in, one for each file of tests, and the environment that tshark runs in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from segcast.replay.testbed.bed import down, up
from segcast.replay.testbed.plan import Bed, plan_bed
from segcast.replay.testbed.spaces import spaces
from tests.support.beds import NAME, missing, scenario_of
from tests.support.tshark import only_transports

__all__ = ["bed", "only_transports"]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    if (why := missing("tcpdump", "tcpreplay")) is not None:
        pytest.skip(why)
    scenario = scenario_of("leaf-spine", tmp_path_factory.mktemp("bed"))
    up(scenario, NAME)
    yield plan_bed(scenario, NAME)
    down(NAME)
    assert spaces(f"{NAME}-") == []
