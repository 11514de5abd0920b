"""Links of a testbed that fail: which ways are left to whom, and when what happens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.live.counters import Counts
from segcast.replay.live.failures import Outage, Ways, failures_of, ways_around
from segcast.replay.testbed.plan import Bed, Space, plan_bed
from segcast.traces.errors import InputError
from tests.support.beds import SCENARIOS, scenario_of


def walks(bed: Bed, ways: Mapping[tuple[str, str], Ways], space: str, prefix: str) -> Iterator[list[str]]:
    """The links of every walk from a node to the host that has the prefix, by the ways of each node on it."""
    peers = {end: other for wire in bed.wires for end, other in (wire, wire[::-1])}
    own = next(each for each in bed.spaces if each.namespace == space)
    if own.host:
        yield []
        return
    for name, _ in ways[space, prefix]:
        shaper = next(each.shaper for each in own.interfaces if each.name == name)
        for rest in walks(bed, ways, peers[space, name][0], prefix):
            yield ([] if shaper is None else [shaper.link]) + rest


def own(host: Space) -> str:
    return f"{host.addresses[0]}/32"


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_ways_around_dead_links_are_the_forecasts_paths(kind: str, tmp_path: Path) -> None:
    """After each failure of a link, and of two, the walks are those paths of the pair that have no dead link.

    Of a graph's paths of unequal cost nodes know the shortest alone.
    """
    scenario = scenario_of(kind, tmp_path)
    bed = plan_bed(scenario, "sgtb")
    attachments = scenario.fabric().attachments
    pairs = [(a, b) for a, b in itertools.product(range(len(attachments)), repeat=2) if a != b]
    network = scenario.assembled(pairs).network
    at = {space.place: space.namespace for space in bed.spaces if not space.host}
    hosts = bed.hosts()
    names = [link.name for link in network.links]
    failures = [(), *((name,) for name in names), *itertools.islice(itertools.combinations(names, 2), 40), tuple(names)]
    built = ways_around(bed, ())
    fewer = 0
    for down in failures:
        ways = ways_around(bed, frozenset(down))
        for group, (a, b) in enumerate(pairs):
            paths = [[names[link] for link in path.links] for path in network.paths if path.group == group]
            if kind == "graph":
                paths = [
                    path for path in paths if path in list(walks(bed, built, at[attachments[a].node], own(hosts[b])))
                ]
            alive = [path for path in paths if not set(path) & set(down)]
            fewer += 0 < len(alive) < len(paths)
            for address in hosts[b].addresses:
                prefix = f"{address}/{128 if ':' in address else 32}"
                found = list(walks(bed, ways, at[attachments[a].node], prefix))
                assert sorted(found) == sorted(alive or found)
                assert found
    assert fewer or len(network.paths) == len(pairs)


EVENTS = """
[[events]]
at = "1ms"
link = "leaf0-spine1"
state = "down"
[[events]]
at = "2ms"
node = "spine1"
state = "down"
[[events]]
at = "5ms"
link = "leaf0-spine1"
state = "up"
"""


def test_what_happens_comes_in_order_and_routing_knows_later(tmp_path: Path) -> None:
    scenario = scenario_of("leaf-spine-2x4", tmp_path)
    (tmp_path / "e.toml").write_text('detection = "2ms"\n' + SCENARIOS["leaf-spine-2x4"] + EVENTS)
    scenario = read_scenario(tmp_path / "e.toml")
    failures = failures_of(scenario, scenario.assembled([(0, 1), (1, 0)]), plan_bed(scenario, "sgtb"))
    assert failures.left == 2 + 4 + 2
    assert [at_ns for at_ns, _ in failures.timed()] == [
        1_000_000,
        2_000_000,
        3_000_000,
        4_000_000,
        5_000_000,
        7_000_000,
    ]


def test_other_rates_are_refused(tmp_path: Path) -> None:
    more = '[[events]]\nat = "1ms"\nlink = "leaf0-spine1"\nrate = "50Mbps"\n'
    (tmp_path / "e.toml").write_text(SCENARIOS["leaf-spine-2x4"] + more)
    scenario = read_scenario(tmp_path / "e.toml")
    with pytest.raises(InputError, match="leaf0-spine1: a live run's links fail and recover; leave other rates out"):
        failures_of(scenario, scenario.assembled([(0, 1), (1, 0)]), plan_bed(scenario, "sgtb"))


def test_what_a_dead_link_took_was_dropped_there() -> None:
    counts = Counts({"a": (10, 1), "b": (5, 0)}, {}, {"a": 1000, "b": 500})  # type: ignore[arg-type]
    outages = [Outage("a", 1, 2, 0, 3, 300), Outage("a", 5, None, 0, 1, 100)]
    found = counts.without(outages)
    assert found.links == {"a": (6, 5), "b": (5, 0)}
    assert found.carried_bytes == {"a": 600, "b": 500}
