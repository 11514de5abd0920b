"""The network of a forecast, built again: it must be the one whose links and paths forecast.json names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError

LEAF_SPINE = """\
[network]
kind = "leaf-spine"
leaves = 2
spines = {spines}
links = {{ rate = "1Gbps" }}
"""


def scenario_of(folder: Path, spines: int = 2, more: str = "") -> ValidScenario:
    (folder / "s.toml").write_text(LEAF_SPINE.format(spines=spines) + more)
    return read_scenario(folder / "s.toml")


def written(folder: Path, change: Callable[[dict[str, Any]], object] = lambda network: None) -> Path:
    """A forecast's document of leaf0 to leaf1 over two spines, changed."""
    edges = [f"leaf{leaf}-spine{spine}" for leaf in range(2) for spine in range(2)]
    network: dict[str, Any] = {
        "groups": [{"group": 0, "from": "leaf0", "to": "leaf1"}],
        "links": [{"name": name} for name in (*edges, *(f"{edge}-back" for edge in edges))],
        "paths": [
            {"path_id": spine, "group": 0, "links": [f"leaf0-spine{spine}", f"leaf1-spine{spine}-back"]}
            for spine in range(2)
        ],
    }
    change(network)
    forecast = folder / "f"
    forecast.mkdir()
    (forecast / "forecast.json").write_text(json.dumps({"network": network}))
    return forecast


def test_it_is_that_of_the_groups_that_the_forecast_names(tmp_path: Path) -> None:
    built = network_of(written(tmp_path), scenario_of(tmp_path))
    assert built.groups == (("leaf0", "leaf1"),)
    assert [[built.network.links[link].name for link in path.links] for path in built.network.paths] == [
        ["leaf0-spine0", "leaf1-spine0-back"],
        ["leaf0-spine1", "leaf1-spine1-back"],
    ]


def test_links_of_hosts_are_the_forecasts_alone(tmp_path: Path) -> None:
    def with_host(network: dict[str, Any]) -> None:
        network["links"] += [{"name": "host-10.0.0.1"}, {"name": "host-10.0.0.1-back"}]

    forecast = written(tmp_path, with_host)
    assert len(network_of(forecast, scenario_of(tmp_path, more='host_links = { rate = "1Gbps" }\n')).network.links) == 8
    with pytest.raises(InputError, match=r"which has 10 links instead of 8; run"):
        network_of(forecast, scenario_of(tmp_path))


@pytest.mark.parametrize(
    ("spines", "change", "message"),
    [
        (3, lambda network: None, "whose link 2 is leaf1-spine0 instead of leaf0-spine2"),
        (2, lambda network: network["links"].pop(), "which has 7 links instead of 8"),
        (
            2,
            lambda network: network["paths"].reverse(),
            "whose path 0 is leaf0-spine1, leaf1-spine1-back instead of leaf0-spine0, leaf1-spine0-back",
        ),
        (2, lambda network: network["paths"].pop(), "which has 1 paths instead of 2"),
    ],
)
def test_a_scenario_of_another_network_is_refused(
    tmp_path: Path, spines: int, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    forecast = written(tmp_path, change)
    with pytest.raises(InputError) as caught:
        network_of(forecast, scenario_of(tmp_path, spines))
    assert str(caught.value) == (
        f"{tmp_path}/s.toml: is of another network than {forecast}/forecast.json, {message}; "
        "run segcast forecast again with this scenario"
    )


def test_an_attachment_that_the_scenario_has_not_is_named(tmp_path: Path) -> None:
    forecast = written(tmp_path, lambda network: network["groups"][0].update({"to": "leaf9"}))
    with pytest.raises(InputError, match="has no attachment 'leaf9', which the forecast names; forecast again"):
        network_of(forecast, scenario_of(tmp_path))
