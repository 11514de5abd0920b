"""Events of a scenario: which links change, and when."""

from __future__ import annotations

from pathlib import Path

from segcast.analyzer.network.model import Change
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario

FABRIC = """\
policies = ["ecmp", "inflight"]
timeouts = ["100us"]
load = [1.0, 2.0]

[network]
kind = "leaf-spine"
leaves = 2
spines = 2
links = { rate = "10Gbps", delay = "8us" }

[[network.overrides]]
link = "leaf0-*"
rate = "1Gbps"

[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.0/8"]

[[events]]
at = "1s"
link = "leaf0-spine0"
state = "down"

[srv6]
hop_limit = 64

[steering]
ack = "modelled"
"""


def read(folder: Path, text: str) -> ValidScenario:
    (folder / "s.toml").write_text(text, "utf-8")
    return read_scenario(folder / "s.toml")


def test_events_change_both_directions_in_order(tmp_path: Path) -> None:
    events = """
[[events]]
at = "2ms"
link = "leaf1-spine0"
rate = "5Gbps"
[[events]]
at = "1500us"
link = "leaf0-spine1"
flap = { period = "10us", times = 2 }
"""
    scenario = read(tmp_path, FABRIC.replace("[srv6]", f"{events}\n[srv6]"))
    network = scenario.changed(scenario.assembled([(0, 1)]), 7)
    names = [link.name for link in network.links]
    assert names[:4] == ["leaf0-spine0", "leaf0-spine1", "leaf1-spine0", "leaf1-spine1"]
    assert names[4:] == [f"{name}-back" for name in names[:4]]
    flaps = [
        Change(1_500_007 + at, link, rate)
        for at, rate in ((0, 0), (5_000, 10**9), (10_000, 0), (15_000, 10**9))
        for link in (1, 5)
    ]
    slower = [Change(2_000_007, link, 5 * 10**9) for link in (2, 6)]
    down = [Change(1_000_000_007, link, 0) for link in (0, 4)]
    assert list(network.changes) == [*flaps, *slower, *down]
    assert network.detection_ns == 1_000_000


def test_events_of_a_node_and_of_a_group_are_those_of_their_links(tmp_path: Path) -> None:
    events = """
[groups]
chassis = ["spine0", "leaf1-spine?"]
[[events]]
at = "2ms"
node = "spine1"
state = "down"
[[events]]
at = "3ms"
group = "chassis"
rate = "5Gbps"
"""
    scenario = read(tmp_path, FABRIC.replace("[srv6]", f"{events}\n[srv6]"))
    changes = scenario.changed(scenario.assembled([(0, 1)]), 0).changes
    assert [(c.time_ns, c.link) for c in changes if c.time_ns == 2_000_000] == [(2_000_000, at) for at in (1, 5, 3, 7)]
    slower = [(c.link, c.rate_bps) for c in changes if c.time_ns == 3_000_000]
    assert slower == [(at, 5 * 10**9) for at in (0, 4, 2, 6, 3, 7)]
    again = read(tmp_path, scenario.to_toml())
    assert again.groups == {"chassis": ("spine0", "leaf1-spine?")}
    assert again.events == scenario.events
