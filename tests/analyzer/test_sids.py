"""SIDs of every layout against a twin that writes them bit by bit; what is given goes before what is allocated."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcast.analyzer.network.sids import Layout, NodeSids, Sids
from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.scenario.reading import read_scenario
from segcast.traces.errors import InputError
from tests.twins import sids as twin

NODES = ["a", "b", "c"]
LINKS = {"a": ["ab", "ac"], "b": ["ab"], "c": ["ac"]}


@st.composite
def blocks(draw: st.DrawFn, lengths: st.SearchStrategy[int]) -> str:
    length = draw(lengths)
    start = 0xFC << 120 | draw(st.integers(0, (1 << 120) - 1))
    return str(ipaddress.IPv6Network((start >> 128 - length << 128 - length, length)))


@given(data=st.data())
def test_any_layout_has_the_bits_that_it_says(data: st.DataObject) -> None:
    block = data.draw(blocks(st.integers(8, 110)))
    length = ipaddress.IPv6Network(block).prefixlen
    node_bits = data.draw(st.integers(2, 112 - length))
    room = 128 - length - node_bits
    function_bits = data.draw(st.one_of(st.none(), st.integers(16, room)))
    sids = Sids(NODES, LINKS, Layout(Mode.ENCAPS, block, node_bits, function_bits))
    first = 0x1000 if node_bits >= 16 else 1
    for number, node in enumerate(NODES):
        made = [sids.end(node), sids.adjacency(node, 0), *(sids.decapsulate(node, n) for n in (2, 4, 6))]  # type: ignore[arg-type]
        wanted = [
            twin.plain(block, node_bits, first + number, function, function_bits)
            for function in (1, 0xE100, 0xD2, 0xD4, 0xD6)
        ]
        assert made == wanted
        assert sids.locator(node).prefixlen == length + node_bits
        assert all(ipaddress.IPv6Address(sid) in sids.locator(node) for sid in made)


@given(data=st.data())
def test_any_carrier_holds_what_it_has_room_for(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from((16, 24, 32)))
    block = data.draw(blocks(st.integers(1, (128 - 2 * width) // 8).map(lambda octets: 8 * octets)))
    layout = Layout(Mode.USID, block, width)
    sids = Sids(NODES, LINKS, layout)
    local = 0b111 << width - 3
    known = []
    for number, node in enumerate(NODES):
        made = [sids.end(node), sids.adjacency(node, 0), *(sids.decapsulate(node, n) for n in (2, 4, 6))]  # type: ignore[arg-type]
        functions = (None, local + 0x100, local + 0xD2, local + 0xD4, local + 0xD6)
        assert made == [twin.compressed(block, width, 0x1000 + number, function) for function in functions]
        known += made
    chosen = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=12))
    assert list(layout.on_the_wire(chosen)) == twin.carriers(chosen, block, width)
    for sid in known:
        prefix, bits = layout.matched(sid)
        assert bits in (width, 2 * width)
        assert ipaddress.IPv6Network(prefix).prefixlen == layout.block_bits + bits


def test_what_is_given_goes_before_what_is_allocated() -> None:
    given_ = {"a": NodeSids("fd00:0:1000:77::", {"ac": "fd00:0:1000:78::"}), "b": NodeSids("2001:db8::b", {}, True)}
    sids = Sids(NODES, LINKS, Layout(given=given_))
    assert (sids.end("a"), sids.end("b"), sids.end("c")) == ("fd00:0:1000:77::", "2001:db8::b", "fd00:0:1002::1")
    assert (sids.adjacency("a", 0), sids.adjacency("a", 1)) == ("fd00:0:1000::e100", "fd00:0:1000:78::")
    assert (sids.outside("a"), sids.outside("b")) == ([], ["2001:db8::b"])
    assert sids.owners["fd00:0:1000:78::"].words == "End.X of ac at a"


def test_more_links_than_functions_number_are_refused() -> None:
    many = {"a": [str(number) for number in range(7937)]}
    for layout in (Layout(Mode.USID), Layout(function_bits=16)):
        with pytest.raises(InputError, match="a has 7937 links, but functions of its SIDs number only 7936"):
            Sids(["a"], many, layout)
        Sids(["a"], {"a": many["a"][1:]}, layout)
    assert Sids(["a"], many, Layout()).adjacency("a", 7936) == "fd00:0:1000::1:0"


def test_sids_of_parallel_paths_are_those_of_the_paths(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        '[network]\n[[network.paths]]\nsegments = ["fd00::1"]\nlinks = [{ name = "x", rate = "1Gbps" }]\n'
        '[srv6.sids.left]\nend = "fd00::9"\noutside = true\n'
    )
    with pytest.raises(InputError, match=r"s.toml:5: srv6.sids: parallel paths name their SIDs themselves"):
        read_scenario(file).assembled(((0, 1), (1, 0)))


HEAD = """[network]
kind = "leaf-spine"
leaves = 2
spines = 1
links = { rate = "1Gbps" }
[srv6]
"""

REFUSED = [
    ('block = "::/0"', "7: srv6.block: ::/0 has 0 bits: give 8 or more"),
    ('mode = "usid"\nblock = "fd00::/33"', "8: srv6.block: fd00::/33 has 33 bits: with uSIDs give a multiple of 8"),
    ('mode = "usid"\nblock = "fd00::/112"', "8: srv6.block: a carrier with the block fd00::/112 holds 1 of the"),
    ('mode = "usid"\nnode_bits = 8', "8: srv6.node_bits: 8: identifiers of uSIDs have 16, 24 or 32 bits"),
    ('mode = "usid"\nfunction_bits = 16', "8: srv6.function_bits: the function of a uSID has 16 bits, as"),
    ("node_bits = 1", "1: network: 3 nodes, but srv6.block has locators for 1"),
    ("node_bits = 96", "6: srv6.block: fd00::/32 and srv6.node_bits 96 leave 0 bits for functions: 16 are needed"),
    (
        "function_bits = 90",
        "7: srv6.function_bits: fd00::/32 and srv6.node_bits 16 leave 80 bits for functions: 90 are needed",
    ),
    (
        'locators = { leaf0 = "fd00:1::/120" }',
        "7: srv6.locators.leaf0: fd00:1::/120 of leaf0 leaves 8 bits for functions: 16 are needed",
    ),
    (
        'tag = 1\nlocators = { leaf0 = "fd00::/32" }',
        "8: srv6.locators.leaf0: spine0 and leaf0 would share fd00:0:1001::/48",
    ),
    (
        'mode = "usid"\nlocators = { leaf0 = "fd00:0:7::/64" }',
        "8: srv6.locators.leaf0: fd00:0:7::/64 of leaf0 has 64 bits: give 48, as uSIDs have",
    ),
    (
        'mode = "usid"\nlocators = { leaf0 = "fd00:0:e000::/48" }',
        "8: srv6.locators.leaf0: fd00:0:e000::/48 of leaf0 is no uSID of fd00::/32 below e000",
    ),
    ('sids.leaf7.end = "fd00::1"', "7: srv6.sids.leaf7: the network has no node 'leaf7'; it has leaf0, spine0, leaf1"),
    (
        'sids.leaf0.links = { up = "fd00::1" }',
        "7: srv6.sids.leaf0.links.up: leaf0 has no link 'up'; it has leaf0-spine0",
    ),
    (
        'tag = 1\nsids.leaf0.end = "fd00:0:1001::7"',
        "8: srv6.sids.leaf0.end: fd00:0:1001::7 is not in fd00:0:1000::/48, the locator of leaf0: give another",
    ),
    (
        'sids.leaf0 = { end = "fd00:0:1001::7", outside = true }',
        "7: srv6.sids.leaf0.end: fd00:0:1001::7 of leaf0 is in fd00:0:1001::/48, the locator of spine0",
    ),
    (
        'sids.leaf0 = { end = "fd00:0:100::7", outside = true }',
        "7: srv6.sids.leaf0.end: fd00:0:100::7 lies in srv6.source_prefix fd00:0:100::/64, among hosts",
    ),
    (
        'sids.leaf0 = { end = "ff02::1", outside = true }',
        "7: srv6.sids.leaf0.end: ff02::1 is no address that a SID can",
    ),
    (
        'sids.leaf0.end = "fd00:0:1000::e100"',
        "7: srv6.sids.leaf0.end: fd00:0:1000::e100 would be End of leaf0 and End.X of leaf0-spine0 at leaf0",
    ),
    (
        "[srv6.sids.spine0.links]\nleaf0-spine0 = 'fd00:0:1001::7'\nleaf1-spine0 = 'fd00:0:1001::7'",
        "9: srv6.sids.spine0.links.leaf1-spine0: fd00:0:1001::7 would be End.X of leaf0-spine0 at spine0 and End.X of",
    ),
    (
        'tag = 1\nsids.leaf0.links.leaf0-spine0 = "fd00:0:1000::d6"',
        "8: srv6.sids.leaf0.links.leaf0-spine0: fd00:0:1000::d6 would be End.X of leaf0-spine0 at leaf0, and unpack at",
    ),
    (
        'mode = "usid"\nsids.leaf0.end = "fd00:0:1000::7"',
        "8: srv6.sids.leaf0.end: fd00:0:1000::7 is no uSID of fd00::/32",
    ),
    ('sids.leaf0.ends = "fd00::1"', "7: srv6.sids.leaf0.ends: unknown key 'ends'; did you mean 'end'?"),
    ('sids.leaf0.end = "10.0.0.1"', "7: srv6.sids.leaf0.end: "),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_cannot_be_names_its_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f"{HEAD}{text}\n")
    with pytest.raises(InputError) as refused:
        read_scenario(file).assembled(((0, 1), (1, 0)))
    assert str(refused.value).startswith(f"{file}:{message}"), refused.value


def test_an_attachment_cannot_unpack_with_another_nodes_sid(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    text = HEAD.replace("[srv6]", '[[attachments]]\nname = "leaf0"')
    cases = (("fd00:0:1000::e100", "End.X of leaf0-spine0 at leaf0"), ("fd00:0:1001::1", "End of spine0"))
    for sid, words in cases:
        file.write_text(f'{text}decapsulate_ipv4 = "{sid}"\ndecapsulate_ipv6 = "{sid}"\n')
        with pytest.raises(
            InputError, match=rf"s.toml:6: attachments\[0\]: {sid} would be {words}, and unpack at leaf0"
        ):
            read_scenario(file).assembled(((1, 0),))
