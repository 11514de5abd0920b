"""Inventories: what they say, who injects what, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from segcast.replay.inject.captures import capture_command
from segcast.replay.inventory import read_inventory
from segcast.traces.errors import InputError

GOOD = """
[senders.rack1]
ssh = "root@rack1"
interface = "eth1"
source_mac = "02:00:00:00:00:0A"
next_hop_mac = "02:00:00:00:00:0b"
prefixes = ["10.1.0.0/16", "2001:db8::/32"]
rate = "25Gbps"

[senders.rack2]
interface = "eth2"
prefixes = ["10.1.2.0/24"]
attachments = ["leaf1"]

[receivers.rack2]
interface = "eth2"
attachment = "leaf1"

[transit.spine]
interface = "eth3"
netns = "spine"
clock = "lab"
node = "spine0"
link = "leaf0-spine0"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "lab.toml"
    file.write_text(text)
    return file


def test_an_inventory_reads_and_writes_back(tmp_path: Path) -> None:
    inventory = read_inventory(written(tmp_path, GOOD))
    assert inventory.senders["rack1"].source_mac == "02:00:00:00:00:0a"
    assert inventory.senders["rack1"].rate == 25 * 10**9
    clocks = [point.stamped_by for point in (*inventory.senders.values(), inventory.transit["spine"])]
    assert clocks == ["root@rack1", "here", "lab"]
    assert read_inventory(written(tmp_path, inventory.to_toml())) == inventory


def test_clocks_of_captures(tmp_path: Path) -> None:
    """A kind of stamps is one, wherever it stands; a card's own clock is nobody else's."""
    text = """
[senders.a]
interface = "eth1"
ssh = "root@a"
[receivers.a]
interface = "eth2"
ssh = "root@a"
attachment = "x"
clock = "adapter_unsynced"
[receivers.b]
interface = "eth2"
ssh = "root@b"
attachment = "y"
stamps = "adapter_unsynced"
clock = "ptp"
tai_offset = "37s"
[receivers.c]
interface = "eth2"
attachment = "z"
stamps = "host_hiprec"
"""
    inventory = read_inventory(written(tmp_path, text))
    points = {"a": inventory.senders["a"], **{name: inventory.receivers[name] for name in "bc"}}
    own = inventory.receivers["a"]
    assert (own.stamps, own.clock, own.stamped_by) == ("adapter_unsynced", None, "root@a eth2")
    assert own.unsynchronised
    assert [point.stamped_by for point in points.values()] == ["root@a", "ptp", "here"]
    assert [point.tai_offset for point in points.values()] == [0, 37 * 10**9, 0]
    assert read_inventory(written(tmp_path, inventory.to_toml())) == inventory
    asked = [capture_command("tcpdump", "received", inventory.receivers[name], "f", 0) for name in "abc"]
    assert [command[command.index("-j") + 1] for command in asked] == [
        "adapter_unsynced",
        "adapter_unsynced",
        "host_hiprec",
    ]
    assert "-j" not in capture_command("tcpdump", "sent", points["a"], "f", 0)
    of_dumpcap = capture_command("dumpcap", "received", own, "f", 0)
    assert of_dumpcap[of_dumpcap.index("--time-stamp-type") + 1] == "adapter_unsynced"
    for bad, words in (('stamps = "atomic"', "stamps: must be"), ('tai_offset = "soon"', "tai_offset: ")):
        with pytest.raises(InputError, match=words):
            read_inventory(written(tmp_path, f'[senders.a]\ninterface = "eth1"\n{bad}\n'))


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("10.1.9.9", "rack1"),
        ("10.1.2.9", "rack2"),
        ("10.1.2.0/25", "rack2"),
        ("10.1.0.0/16", "rack1"),
        ("10.0.0.0/8", None),
        ("2001:db8::1", "rack1"),
        ("192.0.2.1", None),
        ("leaf1", "rack2"),
        ("rack1", "rack1"),
        ("nobody", None),
    ],
)
def test_the_longest_prefix_injects(tmp_path: Path, host: str, owner: str | None) -> None:
    assert read_inventory(written(tmp_path, GOOD)).sender_of(host) == owner


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (('interface = "eth1"', 'interface = "eth/1"'), ":4: senders.rack1.interface", "match pattern"),
        (("02:00:00:00:00:0A", "02:00"), ":5: senders.rack1.source_mac", "no"),
        (('"25Gbps"', "25"), ":8: senders.rack1.rate", "needs quotes and a unit"),
        (("10.1.2.0/24", "10.1.2.1/24"), ":12: senders.rack2.prefixes[0]", "host bits"),
        (("10.1.2.0/24", "10.1.0.0/16"), ":2: senders", "rack1 and rack2 both inject for 10.1.0.0/16"),
        (('attachment = "leaf1"', 'attachments = ["x"]'), "receivers.rack2.attachment", "missing"),
        (('netns = "spine"', 'netns = "spine"\nssh = "spine"'), ":19: transit.spine", "give ssh or netns, not both"),
        (('ssh = "root@rack1"', 'ssh = "-oProxyCommand=x"'), ":3: senders.rack1.ssh", "match pattern"),
        (("[transit.spine]", "[transit.'../x']"), "transit", "match pattern"),
        (("[senders.rack1]", "[senders.rack1"), ":2: not TOML", "Expected"),
        (("[senders.rack1]", "color = 1\n[senders.rack1]"), ":2: color", "Extra inputs"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, change: tuple[str, str], place: str, words: str) -> None:
    file = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(InputError) as refused:
        read_inventory(file)
    assert str(refused.value).startswith(f"{file}")
    assert place in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the inventory"):
        read_inventory(tmp_path / "none.toml")
