"""Scenario files: what they say, where they are wrong, and that flags, files and what is written mean the same."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from segcast.analyzer.forecast.cells import plan_cells
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import key_lines, written
from segcast.traces.errors import InputError
from tests.support.networks import both_ways

DOCS = Path(__file__).parents[2] / "docs" / "scenario.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)

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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('rate = "10Gbps"', 'rate = "10"', "9: network.links.rate: rate '10' is not a number with a unit"),
        ("leaves = 2", "leaves = 1", "7: network.leaves: must be 2 or more"),
        ("leaves = 2", "", "5: network.leaves: missing"),
        ('"leaf-spine"', '"torus"', "6: network.kind: there are fat-tree, graph, leaf-spine, parallel"),
        ('rate = "1Gbps"', "rate = 1", "13: network.overrides[0].rate: 1 needs quotes and a unit"),
        ('"10.0.0.0/8"', '"10.0.0.0/8", "10.1.2.3/8"', "17: attachments[0].prefixes[1]: 10.1.2.3/8 has host bits set"),
        ('state = "down"', 'state = "off"', "22: events[0].state: must be 'down' or 'up'"),
        ('state = "down"', "", "19: events[0]: give one of state, rate and flap"),
        ('at = "1s"', 'at = "soon"', "20: events[0].at: duration 'soon'"),
        ("hop_limit = 64", "hop_limit = 0", "25: srv6.hop_limit: must be 1 or more"),
        ("hop_limit = 64", "hops = 64", "25: srv6.hops: unknown key 'hops'"),
        ("spines = 2", "spins = 2", "8: network.spins: unknown key 'spins'; did you mean 'spines'?"),
        (
            'kind = "leaf-spine"\nleaves',
            'knd = "leaf-spine"\nleaves',
            "6: network.knd: unknown key 'knd'; did you mean 'kind'? (and",
        ),
        ("leaves = 2", "leaves = 2\nx = [1]\nfile = 3", "8: network.x: unknown key 'x' (and 1 more)"),
        (
            'state = "down"',
            'flap = { period = "1s", time = 2 }',
            "22: events[0].flap.time: unknown key 'time'; did you mean 'times'?",
        ),
        ("load = [", "seed = 1\nload = [", "3: seed: unknown key 'seed'; did you mean 'seeds'?"),
        ("load = [", "seeds = 1\nload = [", "3: seeds: must be a list"),
        ("load = [", "seeds = []\nload = [", "3: seeds: must have 1 or more elements"),
        (
            'ack = "modelled"',
            'ack = "guessed"',
            "28: steering.ack: must be 'modelled', 'recorded' or 'timeout'",
        ),
        ('"inflight"]', '"wishful"]', "1: policies[1]: unknown policy 'wishful'; known: "),
        ('"inflight"]', '\n{ name = "inflight", x = 1 }]', "2: policies[1].x: inflight has no such parameter"),
        ('["100us"]', '["100"]', "2: timeouts[0]: duration '100' is not a number with a unit"),
        ('["100us"]', '["yesterday"]', "2: timeouts[0]: unknown flowlet timeout 'yesterday'; known: a duration"),
        ('["100us"]', "[100]", "2: timeouts[0]: 100 needs quotes and a unit"),
        ("2.0]", "0.0]", "3: load[1]: must be 0.001 or more"),
        ("[srv6]", "[srv6", "24: not TOML: "),
    ],
)
def test_an_error_names_its_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    read(tmp_path, FABRIC)
    assert old in FABRIC
    with pytest.raises(InputError) as caught:
        read(tmp_path, FABRIC.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 's.toml'}:{message}"), caught.value
    assert ("(and" in str(caught.value)) == ("(and" in message)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("5000x10Gbps", r"--paths '5000x10Gbps': more than 1024 paths; give at most 1024"),
        ("70000x10Gbps", r"--paths '70000x10Gbps': more than 1024 paths; give at most 1024"),
        ("1000x10Gbps,25x1Gbps", r"--paths '1000x10Gbps,25x1Gbps': more than 1024 paths; give at most 1024"),
        ("00x10Gbps", r"--paths '00x10Gbps': the number of paths must be at least 1"),
    ],
)
def test_too_many_paths_are_refused(paths: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        short_scenario(paths=paths)


def test_one_mistake_counts_once() -> None:
    with pytest.raises(InputError, match=r"^--timeout: duration '100' is not a number with a unit such as [^(]*$"):
        short_scenario(paths="1Gbps", timeouts=["100"])
    with pytest.raises(InputError, match=r"^command line: seeds\[0\]: [^(]*$"):
        short_scenario(paths="1Gbps", seeds=[-1])
    with pytest.raises(InputError, match=r"\(and 1 more\)$"):
        short_scenario(paths="1Gbps", seeds=[-1, -2])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"leaf0-spine0"', '"leaf9-*"', "21: events[0].link: no link is called 'leaf9-*'; there are leaf0-spine0, "),
        (
            'link = "leaf0-spine0"',
            'link = "spine1"',
            '21: events[0].link: no link is called \'spine1\', but a node is: write node = "spine1" or link = "*-',
        ),
        (
            'link = "leaf0-spine0"',
            'link = "leaf1"',
            '21: events[0].link: no link is called \'leaf1\', but a node is: write node = "leaf1" or link = "leaf1-*"',
        ),
        (
            '"leaf0-spine0"',
            '"leaf0-spin0"',
            "21: events[0].link: no link is called 'leaf0-spin0'; did you mean 'leaf0-spine0'?; ",
        ),
        (
            'link = "leaf0-spine0"',
            'node = "spin1"',
            "21: events[0].node: no node is called 'spin1'; did you mean 'spine1'?; there are leaf0, spine0, spine1",
        ),
        (
            'link = "leaf0-spine0"',
            'node = "leaf0-spine0"',
            "21: events[0].node: no node is called 'leaf0-spine0', but a link is: write link = \"leaf0-spine0\"; ",
        ),
        (
            'link = "leaf0-spine0"',
            'group = "chassis"',
            "21: events[0].group: no group is called 'chassis'; name it in [groups]",
        ),
        (
            "[srv6]",
            '[[events]]\nat = "1s"\ngroup = "rack"\nstate = "down"\n[groups]\nrack = ["leaf0", "leaf1-spin1"]\n[srv6]',
            "29: groups.rack[1]: no link or node is called 'leaf1-spin1'; did you mean 'leaf1-spine1'?; there are",
        ),
        (
            '"leaf0-*"',
            '"spine1"',
            "12: network.overrides[0].link: no link is called 'spine1', but a node is: write link = \"*-spine1\"; ",
        ),
        ('"leaf0-*"', '"spine"', "12: network.overrides[0].link: no link is called 'spine'; there are leaf0-spine0, "),
        (
            'name = "leaf0"',
            'name = "leaf9"',
            "15: attachments[0]: hosts cannot be attached at 'leaf9'; they can at leaf0",
        ),
        (
            "hop_limit = 64",
            'block = "fd00::/100"',
            "25: srv6.block: fd00::/100 and srv6.node_bits 16 leave 12 bits for functions: 16 are needed",
        ),
        ("hop_limit = 64", "max_sids = 1", "25: srv6.max_sids: a path to leaf1 needs 2 SIDs, but srv6.max_sids is 1"),
        ("hop_limit = 64", 'locators = { x = "fd00:0:1::/48" }', "25: srv6.locators.x: the network has no node 'x'"),
        ('rate = "10Gbps"', 'rate = "1bps"', " link leaf1-spine0: rate 1 bit/s is not in 1 kbit/s to 10 Tbit/s"),
    ],
)
def test_what_is_found_wrong_later_names_its_line_and_key_too(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FABRIC
    scenario = read(tmp_path, FABRIC.replace(old, new))
    for copied in (scenario, scenario.model_copy(update={"seeds": (1,)})):
        with pytest.raises(InputError) as caught:
            copied.changed(copied.assembled([(0, 1)]), 0)
        assert str(caught.value).startswith(f"{tmp_path / 's.toml'}:{message}"), caught.value


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('ack = "modelled"', 'ack = "timeout"\nsuspect_after = 2', "28: steering.ack: steering.suspect_after needs "),
        ('timeouts = ["100us"]', 'timeouts = ["rtt"]', "2: timeouts: letflow needs a fixed flowlet timeout; add one"),
        (
            '"ecmp"',
            '{ name = "ecmp", label = "x/" }, { name = "ecmp", label = "x_" }',
            "1: policies: the cells of 'x/'",
        ),
    ],
)
def test_cells_that_cannot_run_name_the_line_of_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = FABRIC.replace('"inflight"]', '"letflow"]' if "timeouts" in old else '"inflight"]')
    assert old in text
    with pytest.raises(InputError) as caught:
        plan_cells(read(tmp_path, text.replace(old, new)))
    assert str(caught.value).startswith(f"{tmp_path / 's.toml'}:{message}"), caught.value


def test_a_scenario_of_flags_names_the_key_alone() -> None:
    scenario = short_scenario(paths="1Gbps", srv6={"block": "fd00::/100"})
    with pytest.raises(InputError, match=r"^srv6\.block: fd00::/100 and srv6\.node_bits 16 leave 12 bits"):
        both_ways(scenario)


def test_two_links_or_attachments_of_one_name_are_told_by_their_line(tmp_path: Path) -> None:
    link = '{ ends = ["a", "b"], name = "x", rate = "1Gbps" }'
    graph = f'[network]\nkind = "graph"\nlinks = [\n{link},\n{link}]\n'
    with pytest.raises(InputError, match=r"s.toml:5: network.links\[1\].name: two are called x"):
        read(tmp_path, f'{graph}[[attachments]]\nname = "a"\n').fabric()
    twice = '[[attachments]]\nname = "leaf0"\n[[attachments]]\nnode = "leaf1"\nname = "leaf0"\n'
    with pytest.raises(InputError, match=r"s.toml:30: attachments\[1\].name: two are called leaf0"):
        read(
            tmp_path, FABRIC.replace('[[attachments]]\nname = "leaf0"\nprefixes = ["10.0.0.0/8"]\n', "") + twice
        ).fabric()


def places_of(value: Any, place: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {place} if place else set()
    if isinstance(value, dict):
        return found.union(*(places_of(part, (*place, key)) for key, part in value.items()))
    if isinstance(value, list):
        return found.union(*(places_of(part, (*place, number)) for number, part in enumerate(value)))
    return found


TRICKY = '''\
# [no.table]
a."b.c" = """
[[not]] = 1
"""  # "
'd"' = [ 1, # ]
  "]", [2,
  3], { x = 1, y.z = ']' } ]
[[t]]
[[t.u]]
v = { }
[[t.u]]
"v" = 'a#b'
[t.w.x]
y = """a\\"""b""""
z = 2020-01-01 00:00:00
[[t]]
u = [[], [{}]]
'''


def test_every_key_of_a_tricky_file_is_found() -> None:
    """The scan finds the places that the parser has, no more and no less, each in a line where its key stands."""
    lines = key_lines(TRICKY)
    assert set(lines) == places_of(tomllib.loads(TRICKY))
    assert lines["a", "b.c"] == 2
    assert lines['d"', 2, 1] == 7
    assert lines['d"', 3, "y", "z"] == 7
    assert lines["t", 0, "u", 1, "v"] == 12
    assert lines["t", 0, "w", "x", "z"] == 15
    assert lines["t", 1, "u", 1, 0] == 17
    assert written(("t", 0, "u", 1, "v")) == "t[0].u[1].v"


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_documented_scenarios_survive_writing(tmp_path: Path, number: int) -> None:
    scenario = read(tmp_path, EXAMPLES[number])
    again = read(tmp_path, scenario.to_toml())
    assert again == scenario
    assert plan_cells(scenario)
    assert set(key_lines(scenario.to_toml())) == places_of(tomllib.loads(scenario.to_toml()))


def test_short_flags_mean_the_file(tmp_path: Path) -> None:
    links = "".join(
        f'[[network.paths]]\nsegments = ["fd00:0:{0x1000 + n:x}::1"]\n'
        f'links = [{{ name = "path{n}", rate = "{rate}", delay = "5us", buffer = "512KiB" }}]\n'
        for n, rate in enumerate(("10Gbps", "10Gbps", "25Gbps"))
    )
    file = read(tmp_path, 'policies = ["ecmp", "inflight"]\ntimeouts = ["100us", "1ms"]\nload = 2\n' + links)
    short = short_scenario(
        paths="2x10Gbps,25Gbps", policies=["ecmp", "inflight"], timeouts=["100us", "1000us"], load=[2.0]
    )
    assert file == short
    assert both_ways(file).network == both_ways(short).network


def test_the_burst_of_token_buckets_is_a_flag() -> None:
    assert [link.burst_bytes for link in both_ways(short_scenario(paths="2x1Gbps")).network.links] == [0] * 4
    short = short_scenario(paths="2x1Gbps", burst="10kB")
    assert [link.burst_bytes for link in both_ways(short).network.links] == [10_000] * 4
    with pytest.raises(InputError, match="--burst: "):
        short_scenario(paths="2x1Gbps", burst="many")


def test_cells_multiply_by_timeouts_loads_and_seeds() -> None:
    cells = plan_cells(short_scenario(paths="1Gbps", policies=["ecmp", "random"], load=[1.0, 2.5], seeds=[3]))
    assert [cell.name for cell in cells] == ["ecmp-s3", "ecmp-x2.5-s3", "random-100us-s3", "random-100us-x2.5-s3"]
    assert cells[-1].columns() == {
        "cell": "random-100us-x2.5-s3",
        "policy": "random",
        "timeout": "100us",
        "timeout_ns": 100_000,
        "load": 2.5,
        "seed": 3,
    }


def test_labels_tell_policies_apart() -> None:
    both = ["random", {"name": "random", "label": "again/2"}]
    names = [cell.name for cell in plan_cells(short_scenario(paths="1Gbps", policies=both, seeds=[1]))]
    assert names == ["random-100us-s1", "again_2-100us-s1"]
    with pytest.raises(InputError, match=r"--policy: a second policy is called 'x'; give it a label of its own"):
        short_scenario(paths="1Gbps", policies=[{"name": "ecmp", "label": "x"}, {"name": "random", "label": "x"}])
    clash = [{"name": "ecmp", "label": "x/"}, {"name": "ecmp", "label": "x_"}]
    with pytest.raises(InputError, match="would both be called x_-s1; give one another label"):
        plan_cells(short_scenario(paths="1Gbps", policies=clash, seeds=[1]))


def test_suspicion_needs_modelled_acknowledgements() -> None:
    scenario = short_scenario(paths="1Gbps", steering={"ack": "timeout", "suspect_after": 2})
    with pytest.raises(InputError, match=r'steering.suspect_after needs steering.ack = "modelled"'):
        plan_cells(scenario)


def graph_scenario(folder: Path, graph: Any, form: str, **network: Any) -> ValidScenario:
    if form == "json":
        (folder / "g.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    else:
        nx.write_graphml(graph, folder / "g.graphml")
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in network.items())
    return read(folder, f'[network]\nkind = "graph"\nfile = "g.{form}"\nlink = {{ rate = "1Gbps" }}\n{extra}')


@pytest.mark.parametrize("form", ["json", "graphml"])
def test_a_graph_file_becomes_part_of_the_scenario(tmp_path: Path, form: str) -> None:
    graph = nx.MultiGraph()
    graph.add_node("a", attachment="west")
    graph.add_node("b", attachment=True)
    graph.add_edge("a", "b", rate="2Gbps", delay="1us")
    graph.add_edge("a", "b")
    scenario = graph_scenario(tmp_path, graph, form)
    assert [link.name for link in scenario.network.links] == ["a-b.0", "a-b.1"]
    assert [link.rate for link in scenario.network.links] == [2 * 10**9, 10**9]
    assert [(a.name, a.node) for a in scenario.attachments] == [("west", "a"), ("b", "b")]
    (tmp_path / "elsewhere").mkdir()
    assert read(tmp_path / "elsewhere", scenario.to_toml()) == scenario


def test_graph_files_say_what_is_wrong(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_edge("a", "b", speed=3)
    with pytest.raises(
        InputError, match=r"s.toml:3: network.file: .*g.json: edge a-b: unknown 'speed'; edges carry name"
    ):
        graph_scenario(tmp_path, graph, "json")
    with pytest.raises(InputError, match="is a directed graph"):
        graph_scenario(tmp_path, nx.DiGraph([("a", "b")]), "json")
    with pytest.raises(InputError, match=r"s.toml:3: network.file: [^:]*g.json: edge a-b: rate: rate '10' is not a"):
        graph_scenario(tmp_path, nx.Graph([("a", "b", {"rate": "10"})]), "json")
    with pytest.raises(InputError, match=r"s.toml:3: network.file: [^:]*g.json: edge a-a: ends: a-a joins a to itself"):
        graph_scenario(tmp_path, nx.Graph([("a", "b"), ("a", "a")]), "json").fabric()
    (tmp_path / "g.json").write_text("{}")
    text = '[network]\nkind = "graph"\nfile = "{}"\nlink = {{ rate = "1Gbps" }}\n'
    with pytest.raises(InputError, match="neither node-link JSON nor GraphML"):
        read(tmp_path, text.format("g.json"))
    with pytest.raises(InputError, match=r"s.toml:3: network.file: .*no.json: cannot read the graph"):
        read(tmp_path, text.format("no.json"))
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(nx.Graph([("a", "b")]), edges="edges")))
    bare = '[network]\nkind = "graph"\nfile = "g.json"\n'
    with pytest.raises(InputError, match=r"s.toml:3: network.file: [^:]*g.json: edge a-b: rate: missing$"):
        read(tmp_path, bare)
    for link, message in (
        ('{ rte = "1bps" }', "link.rte: unknown key 'rte'; did"),
        ('{ rate = "1" }', "link.rate: rate"),
    ):
        with pytest.raises(InputError, match=f"s.toml:4: network.{message}"):
            read(tmp_path, f"{bare}link = {link}\n")


@pytest.mark.parametrize("form", ["json", "graphml"])
def test_an_edge_to_no_node_of_its_file_is_refused(tmp_path: Path, form: str) -> None:
    graph = nx.Graph([("a", "b"), ("b", "zz")])
    graph_scenario(tmp_path, graph, form)
    file = tmp_path / f"g.{form}"
    file.write_text(
        file.read_text()
        .replace({"json": '{"id": "zz"}', "graphml": '<node id="zz" />'}[form], "", 1)
        .replace(", ]", "]")
    )
    with pytest.raises(
        InputError, match=rf"s.toml:3: network.file: [^:]*g.{form}: edge b-zz: the file has no node 'zz'"
    ):
        read(tmp_path, (tmp_path / "s.toml").read_text())
