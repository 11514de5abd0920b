"""What a testbed is planned to be: every path of every kind of network leads where it should, over its links."""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pyarrow as pa
import pytest

from segcast.analyzer.network.fabric import BACK
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.inventory import read_inventory
from segcast.replay.testbed.bed import inventory_of
from segcast.replay.testbed.draft import Sid
from segcast.replay.testbed.netlink import Requests, delay, local_sid, token_bucket
from segcast.replay.testbed.plan import UNBOUNDED_BYTES, Bed, Shaper, plan_bed
from segcast.replay.testbed.run import refuse_unrouted
from segcast.traces.errors import InputError
from tests.support.beds import SCENARIOS, scenario_of
from tests.twins.forwarding import travel


@pytest.mark.parametrize("kind", SCENARIOS)
def test_every_path_leads_over_its_links(kind: str, tmp_path: Path) -> None:
    scenario = scenario_of(kind, tmp_path)
    bed = plan_bed(scenario, "sgtb")
    attachments = scenario.fabric().attachments
    pairs = [(a, b) for a, b in itertools.product(range(len(attachments)), repeat=2) if a != b]
    assembled = scenario.assembled(pairs)
    at = {space.place: space.namespace for space in bed.spaces if not space.host}
    for path in assembled.network.paths:
        a, b = pairs[path.group]
        for last in assembled.decapsulate[path.group]:
            wire = scenario.srv6.layout().on_the_wire((*path.segments, last))
            arrived, links = travel(bed, at[attachments[a].node], wire)
            assert arrived == at[attachments[b].node]
            assert links == [assembled.network.links[link].name for link in path.links]


@pytest.mark.parametrize("kind", SCENARIOS)
def test_nodes_have_the_sids_of_the_table(kind: str, tmp_path: Path) -> None:
    """A route of the testbed for each row, at its node, that does what the row says."""
    scenario = scenario_of(kind, tmp_path)
    bed = plan_bed(scenario, "sgtb")
    alike = {"End.DT4": "End.DX4", "End.DT6": "End.DX6", "uDT4": "End.DX4", "uDT6": "End.DX6"}
    alike |= {"uN": "End", "uA": "End.X"}
    listed = {
        (row.node, alike.get(row.behavior, row.behavior), IPv6Address(row.sid))
        for row in scenario.whole_sid_table().sids
    }
    built = {
        (space.place, route.sid.action, IPv6Address(route.prefix.split("/")[0]))
        for space in bed.spaces
        for route in space.routes
        if route.sid is not None
    }
    assert built == listed


def shapers(bed: Bed) -> dict[str, Shaper]:
    return {i.shaper.link: i.shaper for space in bed.spaces for i in space.interfaces if i.shaper is not None}


def test_links_are_shaped_as_the_scenario_says(tmp_path: Path) -> None:
    bed = plan_bed(scenario_of("parallel", tmp_path), "sgtb", burst_bytes=5000)
    found = shapers(bed)
    assert found["upper"] == Shaper("upper", 10**8, 65536, 5000, 0)
    assert found["mid" + BACK] == Shaper("mid" + BACK, 5 * 10**7, 65536, 5000, 24)
    assert set(found) == {name + back for name in ("upper", "west", "mid", "east") for back in ("", BACK)}
    assert inventory_of(bed).burst == 5000
    assert any("links without a burst get token buckets of 5000B" in note for note in bed.notes)
    unbounded = plan_bed(short_scenario(paths="1x10Mbps", buffer=None), "sgtb")
    assert shapers(unbounded)["path0"].limit_bytes == UNBOUNDED_BYTES


def test_a_burst_of_every_link_leaves_nothing_to_say(tmp_path: Path) -> None:
    text = SCENARIOS["leaf-spine"].replace('delay = "2us"', 'delay = "0us", burst = "20kB"')
    bed = plan_bed(read_scenario(_written(tmp_path, text)), "sgtb")
    assert {shaper.burst_bytes for shaper in shapers(bed).values()} == {20_000}
    assert (inventory_of(bed).burst, bed.notes) == (None, [])


def test_names_and_addresses_are_unique(tmp_path: Path) -> None:
    bed = plan_bed(scenario_of("fat-tree-usid", tmp_path), "sgtb")
    interfaces = [i for space in bed.spaces for i in space.interfaces]
    for values in (
        [space.namespace for space in bed.spaces],
        [i.ipv4 for i in interfaces],
        [i.ipv6 for i in interfaces],
        [(space.namespace, i.name) for space in bed.spaces for i in space.interfaces],
    ):
        assert len(set(values)) == len(values)
    doors = {(i.mac, i.peer_mac) for space in bed.hosts() for i in space.interfaces}
    assert doors == {("02:00:00:00:00:01", "02:00:00:00:00:02")}
    assert all(route.prefix not in ("0.0.0.0/0", "::/0") for space in bed.hosts() for route in space.routes)


def test_notes_say_what_is_not_emulated(tmp_path: Path) -> None:
    scenario = read_scenario(_written(tmp_path, SCENARIOS["leaf-spine"] + 'host_links = { rate = "1Gbps" }\n'))
    notes = plan_bed(scenario, "sgtb").notes
    assert any("propagation delay of links is not emulated, as this kernel has no netem" in note for note in notes)
    assert not any("propagation delay" in note for note in plan_bed(scenario, "sgtb", delays=True).notes)
    assert any("links of hosts" in note for note in notes)


def _written(folder: Path, text: str) -> Path:
    file = folder / "s.toml"
    file.write_text(text)
    return file


REFUSED = {
    "faster": (SCENARIOS["leaf-spine"].replace("100Mbps", "25Gbps"), "link leaf0-spine0: 25Gbps", "--max-rate"),
    "no segments": (SCENARIOS["parallel"].replace('segments = ["fd00:0:1000::1"]', ""), "paths[0]", "no segments"),
    "a SID twice": (SCENARIOS["parallel"].replace("1001::1", "1000::1"), "paths[1]", "fd00:0:1000::1 is on path 0"),
    "an MTU": (SCENARIOS["leaf-spine"] + 'mtu = "1000B"\n', "network.mtu", "1280"),
    "frames over the burst": (SCENARIOS["leaf-spine"] + 'mtu = "12000B"\n', "--burst", "12014"),
    "its own addresses": (SCENARIOS["leaf-spine"] + '[srv6]\nblock = "fd5e:9ca5::/32"\n', "srv6.block", "overlaps"),
    "inserted SRHs without prefixes": (SCENARIOS["leaf-spine"] + '[srv6]\nmode = "insert"\n', "to leaf0", "prefixes"),
    "one host for two SIDs": (
        SCENARIOS["graph"].replace(
            'node = "b"', 'node = "b"\ndecapsulate_ipv4 = "fd00::d"\ndecapsulate_ipv6 = "fd00::d"'
        ),
        "fd00::d at east",
        "decapsulate_ipv6",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_namespaces_cannot_show_is_refused(case: str, tmp_path: Path) -> None:
    text, *words = REFUSED[case]
    scenario = read_scenario(_written(tmp_path, text))
    with pytest.raises(InputError) as refused:
        plan_bed(scenario, "sgtb")
    for word in words:
        assert word in str(refused.value)


def test_inserted_srhs_need_prefixes_of_all_destinations(tmp_path: Path) -> None:
    scenario = read_scenario(_written(tmp_path, SCENARIOS["graph"] + '[srv6]\nmode = "insert"\n'))
    assert plan_bed(scenario, "sgtb").hosts()
    flows = pa.table({"dst": ["2001:db8:1::7", "10.99.0.1", "2001:db8:2::7"]})

    def refused(*packets: tuple[int, int]) -> None:
        ids, paths = zip(*packets, strict=True)
        refuse_unrouted(scenario, flows, pa.table({"flow_id": ids, "path_id": paths}), ["west", "east"])

    refused((0, 0), (1, 0), (2, 1), (2, 1))  # an SRH cannot be inserted into IPv4: such packets are not sent
    with pytest.raises(InputError, match="insert: packets to 2001:db8:2::7 have no route to west: give that"):
        refused((0, 0), (2, 0))


@pytest.mark.parametrize("name", ["", "a-b", "A", "0a", "a" * 13, "../x"])
def test_a_name_is_small_letters_and_digits(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        plan_bed(short_scenario(paths="2x10Mbps"), name)


def test_an_inventory_of_the_testbed_reads_back(tmp_path: Path) -> None:
    bed = plan_bed(scenario_of("graph", tmp_path), "sgtb")
    inventory = inventory_of(bed)
    file = tmp_path / "i.toml"
    file.write_text(inventory.to_toml())
    assert read_inventory(file) == inventory
    assert inventory.sender_of("10.20.1.7") == "west"
    assert inventory.sender_of("10.20.2.7") == "east"
    assert inventory.sender_of("2001:db8:1::9") == "west"
    assert inventory.receivers["east"].attachment == "east"
    assert {point.link for point in inventory.transit.values()} == set(shapers(bed))


def test_the_readme_takes_a_network_to_the_testbed_that_it_is_built_for() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    paths = {out: given for given, out in re.findall(r"^segcast forecast .*--paths (\S+) .*--out (\S+)", text, re.M)}
    built = re.findall(r"^segcast testbed up (\S+)", text, re.M)
    assert built
    for name in built:
        assert plan_bed(short_scenario(paths=paths[name]), "sgtb").hosts()


def test_sids_as_the_kernel_reads_them() -> None:
    assert local_sid(Sid("End")) == struct.pack("=HHI", 8, 1, 1)
    end_x = local_sid(Sid("End.X", "fd00::1", 32, 32))
    nested = struct.pack("=HHI", 8, 1, 16) + struct.pack("=HHB3x", 5, 2, 32) + struct.pack("=HHB3x", 5, 3, 32)
    next_hop = struct.pack("=HH", 20, 5) + bytes.fromhex("fd00") + bytes(13) + b"\1"
    assert end_x == struct.pack("=HHI", 8, 1, 2) + next_hop + struct.pack("=HH", 28, 11 | 0x8000) + nested
    assert local_sid(Sid("End.DX4", "198.19.0.1"))[8:] == struct.pack("=HH4B", 8, 4, 198, 19, 0, 1)


def test_delays_are_the_links_own_where_the_kernel_has_them(tmp_path: Path) -> None:
    scenario = scenario_of("leaf-spine", tmp_path)

    def shapers(**changes: bool) -> list[Shaper]:
        spaces = plan_bed(scenario, "sgtb", **changes).spaces
        return [i.shaper for space in spaces for i in space.interfaces if i.shaper is not None]

    assert {shaper.delay_ns for shaper in shapers()} == {0}
    assert {shaper.delay_ns for shaper in shapers(delays=True)} == {2_000}
    assert [replace(shaper, delay_ns=0) for shaper in shapers(delays=True)] == shapers()


def test_a_delay_stands_before_its_token_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the manual of netem: the delay at the root, the bucket as its child. Both are read with pyroute2."""
    tcmsg = pytest.importorskip("pyroute2.netlink.rtnl.tcmsg").tcmsg
    sent: list[tuple[int, bytes]] = []
    monkeypatch.setattr(Requests, "_create", lambda self, kind, body: sent.append((kind, body)))
    requests = Requests()
    requests.add_shaper(7, Shaper("x", 10**8, 65536, 10_000, 24))
    requests.add_shaper(7, Shaper("x", 10**8, 65536, 10_000, 24, 1_000_000))
    seen = []
    for kind, body in sent:
        message = tcmsg(struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body)
        message.decode()
        seen.append((message["index"], message["handle"], message["parent"], message.get_attr("TCA_KIND")))
    root = 0xFFFFFFFF
    assert seen == [
        (7, 0x10000, root, "tbf"),
        (7, 0x10000, root, "netem"),
        (7, 0x20000, 0x10001, "tbf"),
    ]
    options = delay(1_000_000)
    assert options == struct.pack("=6I", 15_625, 1_000_000, 0, 0, 0, 0) + struct.pack("=HHq", 12, 10, 1_000_000)
    assert options in sent[1][1]
    assert struct.unpack_from("=I", delay(10**12))[0] == 2**32 - 1


def test_token_buckets_as_the_kernel_reads_them() -> None:
    parameters = struct.pack("=BBHhHI", 0, 1, 24, -1, 0, 12_500_000) + bytes(12) + struct.pack("=III", 65536, 0, 0)
    found = token_bucket(Shaper("x", 10**8, 65536, 10_000, 24))
    assert found == struct.pack("=HH", 40, 1) + parameters + struct.pack("=HHI", 8, 6, 10_000)
    fast = token_bucket(Shaper("x", 4 * 10**10, 65536, 10_000, 24))
    assert fast.endswith(struct.pack("=HHQ", 12, 4, 5 * 10**9))
