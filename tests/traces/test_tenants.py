"""What tells tenants apart on one wire: VLANs, overlays, and how directions with different tags find each other."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import InputError
from segcast.traces.flows.assign import Flows
from segcast.traces.headers import tenants as t
from segcast.traces.headers.decode import Decoder, allocate
from segcast.traces.headers.ip import HAS_IP, HAS_PAYLOAD, HAS_PORTS, HAS_TCP
from segcast.traces.headers.tenants import Tenants
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.support.decoding import decoded_by
from tests.support.ingesting import assert_like_twin
from tests.support.strategies import Drawn, Seeded
from tests.twins import writing, writing_links, writing_tunnels
from tests.twins.choosing import Chooser
from tests.twins.conversations import Sighting, assign, assign_without_tenants
from tests.twins.decode import decode
from tests.twins.tenants import assign_by_tenant
from tests.twins.writing import Captured

ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
US, S = 1000, 10**9
Tags = tuple[tuple[int, int], ...]
VLAN_10: Tags = ((0x8100, 10),)
VLAN_20: Tags = ((0x8100, 20),)


def packet(client: bool, flags: int, seq: int, ack: int, payload: bytes = b"") -> bytes:
    ports = (1000, 80) if client else (80, 1000)
    segment = writing.tcp(*ports, seq=seq, ack=ack, flags=flags, payload=payload)
    return writing.ipv4(segment, 6, src=ONE if client else TWO, dst=TWO if client else ONE, identification=seq % 60_000)


def connection(isn: int) -> list[tuple[bool, bytes]]:
    """A handshake, data from the server, and FINs; whether the client sends, and the packet."""
    steps = [(True, SYN, isn, 0, b""), (False, SYN | ACK, isn + 9, isn + 1, b""), (True, ACK, isn + 1, isn + 10, b"")]
    steps += [(False, ACK, isn + 10 + 100 * n, isn + 1, bytes([n]) * 100) for n in range(3)]
    steps += [(False, FIN | ACK, isn + 310, isn + 1, b""), (True, FIN | ACK, isn + 1, isn + 311, b"")]
    steps += [(False, ACK, isn + 311, isn + 2, b"")]
    return [(step[0], packet(*step)) for step in steps]


def traced(folder: Path, frames: list[bytes], layer: str = "outer", **choices: Any) -> Trace:
    """Frames of Ethernet, 10 us apart, ingested; compared with the twin unless something was chosen."""
    data = writing.pcap([Captured(10**18 + 10_007 * n, len(f), f) for n, f in enumerate(frames)], 1, nanoseconds=True)
    folder.mkdir(exist_ok=True)
    (folder / "c.pcap").write_bytes(data)
    trace = ingest([folder / "c.pcap"], folder / "t.trace", layer=layer, choices=choose(**choices))
    if not choices:
        assert_like_twin(trace, [data])
    return trace


def interleaved(*sides: tuple[list[tuple[bool, bytes]], Tags, Tags]) -> list[bytes]:
    """Frames of connections side by side; each with the tags of its client's direction and of its server's."""
    steps = zip(
        *[[writing.ethernet(p, 0x0800, up if c else down) for c, p in talk] for talk, up, down in sides], strict=True
    )
    return [frame for step in steps for frame in step]


def codes(trace: Trace) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in trace.info["findings"]}


def marks(trace: Trace) -> int:
    return int(trace.flows["retransmissions"].sum() + trace.flows["out_of_order"].sum())


def test_the_same_addresses_in_two_vlans_are_two_connections(tmp_path: Path) -> None:
    frames = interleaved((connection(1000), VLAN_10, VLAN_10), (connection(5000), VLAN_20, VLAN_20))
    trace = traced(tmp_path, frames)
    assert trace.flows["tenant"].to_list() == ["vlan 10", "vlan 20"] * 2
    assert trace.flows["reverse_flow_id"].to_list() == [2, 3, 0, 1]
    assert marks(trace) == 0
    assert (trace.info["tenants"], trace.info["flows_by"]) == (2, "tenant")
    assert list(codes(trace)) == ["addresses_in_several_tenants"]
    assert (codes(trace)["addresses_in_several_tenants"]["count"], trace.info["findings"][0]["severity"]) == (4, "info")


def test_flows_can_be_told_apart_by_addresses_alone(tmp_path: Path) -> None:
    frames = interleaved((connection(1000), VLAN_10, VLAN_10), (connection(5000), VLAN_20, VLAN_20))
    trace = traced(tmp_path, frames, flows_by="addresses")
    assert trace.flows["tenant"].to_list() == [None] * len(trace.flows)
    assert trace.info["flows_by"] == "addresses"
    assert codes(trace)["tenants_not_told_apart"]["count"] == 2
    with pytest.raises(InputError, match="--flows ports: not known; use tenant or addresses"):
        choose(flows_by="ports")


@pytest.mark.parametrize(("up", "down"), [(VLAN_10, ()), ((), VLAN_10), (VLAN_10, VLAN_20)])
def test_directions_with_different_tags_are_one_connection(tmp_path: Path, up: Tags, down: Tags) -> None:
    """As a mirror of what enters ports records a router, or a card that takes the tags off one way."""
    trace = traced(tmp_path, interleaved((connection(1000), up, down)))
    assert trace.flows["reverse_flow_id"].to_list() == [1, 0]
    assert (marks(trace), trace.info["findings"]) == (0, [])
    assert trace.flows["handshake_rtt_ns"].null_count() == 0


def test_which_of_two_it_is_no_one_can_say(tmp_path: Path) -> None:
    """UDP to two VLANs and an answer in a third: it may belong to either, so to neither."""
    there = writing.ipv4(writing.udp(1000, 53, payload=b"ask"), 17, src=ONE, dst=TWO)
    back = writing.ipv4(writing.udp(53, 1000, payload=b"say"), 17, src=TWO, dst=ONE)
    frames = [writing.ethernet(p, 0x0800, ((0x8100, vlan),)) for p, vlan in ((there, 10), (there, 20), (back, 30))]
    assert traced(tmp_path / "a", frames).flows["reverse_flow_id"].to_list() == [None] * 3
    assert traced(tmp_path / "b", [*frames, *frames[:1]]).flows["reverse_flow_id"].to_list() == [None] * 3
    again = writing.ethernet(back, 0x0800, ((0x8100, 10),))  # its own tenant's, which leaves one
    assert traced(tmp_path / "c", [*frames, again]).flows["reverse_flow_id"].to_list() == [3, None, None, 0]


def test_the_direction_of_its_own_tenant_goes_first(tmp_path: Path) -> None:
    """A capture that begins amid two connections: the second's answer is taken for the first's, until that comes."""
    one, two = connection(1000)[3:6], connection(5000)[3:6]
    answer = (True, packet(True, ACK, 1001, 1310))
    frames = [
        writing.ethernet(one[0][1], 0x0800, VLAN_10),
        writing.ethernet(packet(True, ACK, 5001, 5010), 0x0800, VLAN_20),
    ]
    assert traced(tmp_path / "before", frames).flows["reverse_flow_id"].to_list() == [1, 0]
    frames += [writing.ethernet(answer[1], 0x0800, VLAN_10), writing.ethernet(two[0][1], 0x0800, VLAN_20)]
    assert traced(tmp_path / "after", frames).flows["reverse_flow_id"].to_list() == [2, 3, 0, 1]


def test_a_syn_answered_in_another_vlan_must_be_the_one_that_was_acknowledged(tmp_path: Path) -> None:
    frames = [writing.ethernet(packet(True, SYN, 1000, 0), 0x0800, VLAN_10)]
    wrong = writing.ethernet(packet(False, SYN | ACK, 9, 7777), 0x0800, VLAN_20)
    right = writing.ethernet(packet(False, SYN | ACK, 9, 1001), 0x0800, VLAN_20)
    assert traced(tmp_path / "wrong", [*frames, wrong]).flows["reverse_flow_id"].to_list() == [None, None]
    assert traced(tmp_path / "right", [*frames, right]).flows["reverse_flow_id"].to_list() == [1, 0]


INSIDE = writing.ethernet(packet(True, ACK, 1, 1), 0x0800)
TAGGED = writing.ethernet(packet(True, ACK, 1, 1), 0x0800, VLAN_10)
PLAIN = packet(True, ACK, 1, 1)


def keyed(key: int, kind: int, carried: bytes, flags: int = 0x2000) -> tuple[int, bytes]:
    words = struct.pack(">I", 0xABCD0000) if flags & 0x8000 else b""
    words += struct.pack(">I", key) + bytes(4 if flags & 0x1000 else 0)
    return 47, struct.pack(">HH", flags, kind) + words + carried


def overlay(port: int, words: bytes, carried: bytes) -> tuple[int, bytes]:
    return 17, writing.udp(40_000, port, payload=words + carried)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (overlay(4789, struct.pack(">II", 8 << 24, 5001 << 8), INSIDE), "vxlan 5001"),
        (overlay(8472, struct.pack(">II", 8 << 24, 0), INSIDE), "vxlan 0"),
        (overlay(4789, struct.pack(">II", 8 << 24, 5001 << 8), TAGGED), "vxlan 5001, vlan 10"),
        (overlay(4790, struct.pack(">II", 0x0C000003, 77 << 8 | 255), INSIDE), "vxlan 77"),
        (overlay(4790, struct.pack(">II", 0x04000001, 0), PLAIN), None),
        (overlay(6081, struct.pack(">II", 0x01006558, 9 << 8) + bytes(4), INSIDE), "geneve 9"),
        (overlay(6081, struct.pack(">II", 0x00000800, 9 << 8), PLAIN), "geneve 9"),
        (overlay(4341, struct.pack(">II", 0x08000000, 3 << 8 | 7), PLAIN), "lisp 3"),
        (overlay(4341, struct.pack(">II", 0x80000000, 3 << 8 | 7), PLAIN), None),
        (keyed(4_000_000_000, 0x0800, PLAIN), "gre 4000000000"),
        (keyed(12, 0x6558, INSIDE), "gre 12"),
        (keyed(12, 0x0800, PLAIN, 0xB000), "gre 12"),
        (keyed(5000 << 8 | 17, 0x6558, INSIDE), "nvgre 5000"),
        (keyed(5000 << 8 | 17, 0x6558, INSIDE, 0x3000), f"gre {5000 << 8 | 17}"),
        ((47, writing.gre(PLAIN, 0x0800)), None),
        ((47, struct.pack(">HHI", 0x1000, 0x88BE, 1) + struct.pack(">HHI", 0x1000 | 30, 0, 0) + INSIDE), "vlan 30"),
        ((97, b"\x30\0" + TAGGED), "vlan 10"),
        (writing_tunnels.l2tp(b"\xff\x03\0\x21" + PLAIN), None),
    ],
)
def test_overlays_are_named(payload: tuple[int, bytes], name: str | None) -> None:
    """RFC 7348, 8926, 9300, 2890, 7637 (of whose keys the last 8 bits tell flows apart), and what tunnels carry."""
    frame = writing.ethernet(writing.ipv4(payload[1], payload[0]), 0x0800)
    decoder = Decoder("inner")
    (row,) = decoded_by(decoder, [(1, len(frame), frame)])
    assert (row.src_port, row.tenant) == (1000, name)
    assert decode(1, frame, len(frame), inner=True) == row


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ((), None),
        (((0x8100, 0),), None),
        (((0x8100, 0xE000),), None),
        (((0x8100, 0xE00A),), "vlan 10"),
        (((0x88A8, 100), (0x8100, 20)), "vlan 100, vlan 20"),
        (((0x9100, 100), (0x8100, 0), (0x9200, 3)), "vlan 100, vlan 3"),
        (tuple((0x8100, n) for n in range(1, 20)), ", ".join(f"vlan {n}" for n in range(1, 17))),
    ],
)
@pytest.mark.parametrize("ip", [4, 6])
def test_tags_are_named(tags: Tags, name: str | None, ip: int) -> None:
    """A priority alone is no VLAN (802.1Q table 9-2); at most 16 tags of a frame count."""
    packet = PLAIN if ip == 4 else writing.ipv6(writing.tcp(1000, 80), 6)
    frame = writing.ethernet(packet, 0x0800 if ip == 4 else 0x86DD, tags)
    decoder = Decoder()
    (row,) = decoded_by(decoder, [(1, len(frame), frame)])
    assert row.tenant == name
    assert decode(1, frame, len(frame)) == row


def test_a_backbone_service_is_named() -> None:
    kind, carried = writing_links.in_frame(0x88E7, struct.pack(">I", 7 << 28 | 70_000), 0x0800, PLAIN)
    frame = writing.ethernet(carried, kind, ((0x88A8, 5),))
    decoder = Decoder()
    (row,) = decoded_by(decoder, [(1, len(frame), frame)])
    assert row.tenant == "vlan 5, i-sid 70000"
    assert decode(1, frame, len(frame)) == row


def test_labels_and_sessions_tell_no_tenants_apart() -> None:
    """They differ by direction, and by what a router made of them."""
    frames = [
        writing.ethernet(writing.mpls(writing_links.summed(PLAIN), [77]), 0x8847),
        writing.ethernet(writing.pppoe(PLAIN, 0x21), 0x8864),
    ]
    decoder = Decoder()
    rows = decoded_by(decoder, [(1, len(f), f) for f in frames])
    assert [(row.src_port, row.tenant) for row in rows] == [(1000, None)] * 2


def test_fragments_belong_to_the_first_of_their_vlan(tmp_path: Path) -> None:
    """The same addresses and identification in two VLANs, each datagram to another port."""
    datagrams = {10: writing.udp(1, 10, payload=bytes(32)), 20: writing.udp(1, 20, payload=bytes(32))}
    frames = []
    for begin, more in ((0, True), (24, False)):
        for vlan, datagram in datagrams.items():
            piece = datagram[begin : begin + 24]
            part = writing.ipv4(
                piece, 17, src=ONE, dst=TWO, identification=7, fragment_offset=begin, more_fragments=more
            )
            frames.append(writing.ethernet(part, 0x0800, ((0x8100, vlan),)))
    trace = traced(tmp_path, frames)
    assert trace.packet_table()["flow_id"].to_pylist() == [0, 1, 0, 1]
    assert trace.flows["dst_port"].to_list() == [10, 20]


def test_a_fragment_of_a_tunnels_packet_has_the_tenant_within(tmp_path: Path) -> None:
    inside = writing.ethernet(writing.ipv4(writing.udp(1000, 53, payload=bytes(64)), 17, src=ONE, dst=TWO), 0x0800)
    _, datagram = overlay(4789, struct.pack(">II", 8 << 24, 42 << 8), inside)
    pieces = [
        writing.ipv4(datagram[:96], 17, identification=5, more_fragments=True),
        writing.ipv4(datagram[96:], 17, identification=5, fragment_offset=96),
    ]
    trace = traced(tmp_path, [writing.ethernet(piece, 0x0800, VLAN_10) for piece in pieces], "inner")
    assert trace.flows["tenant"].to_list() == ["vlan 10, vxlan 42"]
    assert trace.flows["packets"].to_list() == [2]


def test_numbers_of_tenants_end_where_keys_do() -> None:
    """A table that is full tells what comes later apart no more; one that grows keeps the numbers."""
    small = t.TenantTable(np.zeros(8, np.uint32), np.zeros((4, 2), np.uint64), np.ones(1, np.int64))

    def number(table: t.TenantTable, *vlans: int) -> int:
        parts = np.zeros(t.MOST_PARTS + 1, np.uint64)
        for vlan in vlans:
            t.note(parts, t.VLAN, vlan)
        return t.number_of(table, 0, parts)

    assert [number(small, 5), number(small, 6), number(small, 5, 6)] == [1, 2, 3]
    assert [number(small, 7), number(small, 5, 7), number(small, 5, 6, 9), number(small, 6)] == [0, 1, 3, 2]
    known = Tenants()
    numbers = {vlan: number(known.with_room(1), vlan, vlan % 7) for vlan in range(1, 4000)}
    assert len(known) == 1 + 2 * 3999
    assert [number(known.with_room(1), vlan, vlan % 7) for vlan in numbers] == list(numbers.values())
    again = Tenants()
    again.restore(known.state())
    assert again.names() == known.names()
    assert number(again.with_room(1), 3999, 3999 % 7) == numbers[3999]
    assert known.names()[numbers[8]] == "vlan 8, vlan 1"


# Any talk, as by the twin.


def some_talk(c: Chooser, count: int) -> list[Sighting]:
    """Packets of a few ports and tenants, of TCP and not, some after silences."""
    now, talk = 10**18, []
    for _ in range(count):
        now += c.pick((0, US, S, S, 299 * S, 301 * S, 7441 * S, -US))
        ends = (c.integer(1, 2), c.integer(1, 2))
        is_tcp = c.integer(0, 1) == 1
        flags = c.pick((ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST, SYN | RST)) if is_tcp else 0
        tenant = c.pick((None, 1, 2, 3))
        numbers = (c.pick((5, 9)), c.pick((6, 10)))
        talk.append(
            Sighting(now, (ends[0], is_tcp, ends), (ends[1], is_tcp, ends[::-1]), is_tcp, flags, *numbers, tenant)
        )
    return talk


def assigned(talk: list[Sighting], batch: int) -> tuple[list[int], dict[int, int | None]]:
    """What our table makes of a talk, kept and restored between batches."""
    headers = allocate(len(talk))
    for i, p in enumerate(talk):
        headers.valid[i] = HAS_IP | HAS_PORTS | HAS_PAYLOAD | (HAS_TCP if p.is_tcp else 0)
        headers.version[i], headers.protocol[i] = 4, 6 if p.is_tcp else 17
        headers.src_port[i], headers.dst_port[i] = p.end[2]  # type: ignore[index]
        headers.src_low[i], headers.dst_low[i] = (ends := p.end[2])[0], ends[1]  # type: ignore[index]
        headers.tcp_flags[i], headers.tcp_seq[i], headers.tcp_ack[i] = p.flags, p.seq, p.ack
        headers.tenant[i] = p.tenant or 0
    times, ids = np.array([p.time_ns for p in talk]), np.zeros(len(talk), np.uint32)
    flows = Flows(seed=3)
    for begin in range(0, len(talk), batch):
        part = slice(begin, begin + batch)
        view = type(headers)._make(column[part] for column in headers)
        flows.add(view, times[part], np.ones(len(times[part]), np.uint32), ids[part])
        again = Flows(seed=4)
        again.restore({name: array.copy() for name, array in flows.state().items()})
        flows = again
    reverse = flows.table.reverse[: len(flows)].tolist()
    return ids.tolist(), {flow: None if other < 0 else other for flow, other in enumerate(reverse)}


@pytest.mark.parametrize("seed", range(40))
def test_any_talk_is_split_as_by_the_twin(seed: int) -> None:
    talk = some_talk(Seeded(seed), 300)
    assert assigned(talk, (7, 50, 300)[seed % 3]) == assign(talk)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_drawn_talk_is_split_as_by_the_twin(data: st.DataObject) -> None:
    talk = some_talk(Drawn(data.draw), data.draw(st.integers(1, 25)))
    assert assigned(talk, 6) == assign_by_tenant(talk)


@pytest.mark.parametrize("seed", range(10))
def test_without_tenants_both_twins_agree(seed: int) -> None:
    talk = [Sighting(p.time_ns, p.end, p.to, p.is_tcp, p.flags, p.seq, p.ack) for p in some_talk(Seeded(seed), 400)]
    assert assign_without_tenants(talk) == assign_by_tenant(talk) == assigned(talk, 64)


def test_a_table_that_grows_keeps_tenants_apart() -> None:
    """Thousands of flows of three tenants, of which every other first has its other direction in another tenant."""
    rows = 3 * 6000
    headers = allocate(rows)
    headers.valid.fill(HAS_IP | HAS_PORTS)
    headers.version.fill(4)
    headers.protocol.fill(17)
    flow = np.arange(rows) // 3
    is_back = np.arange(rows) % 3 == 2
    headers.src_low[:], headers.dst_low[:] = np.where(is_back, 9, 1), np.where(is_back, 1, 9)
    headers.src_port[:], headers.dst_port[:] = np.where(is_back, 53, flow), np.where(is_back, flow, 53)
    headers.tenant[:] = np.where(is_back, 1 + flow % 2 * 2, np.arange(rows) % 3 + 1)
    ids, flows = np.zeros(rows, np.uint32), Flows(seed=1)
    for begin in range(0, rows, 4001):
        part = slice(begin, begin + 4001)
        view = type(headers)._make(column[part] for column in headers)
        flows.add(view, np.arange(rows)[part], np.ones(len(ids[part]), np.uint32), ids[part])
    assert ids.tolist() == list(range(rows))
    reverse = flows.table.reverse[:rows].reshape(-1, 3)
    own = reverse[flow[::3] % 2 == 0]
    assert (own[:, 0] >= 0).all() and (own[:, 1] < 0).all()
    assert (reverse[flow[::3] % 2 == 1] < 0).all()
    assert flows.in_several_tenants().tolist() == [row for row in range(rows) if row % 3 < 2]


def test_a_change_of_partners_leaves_no_mark_of_batches(tmp_path: Path) -> None:
    """What was followed before the change was followed with the partner of then, whatever came in one batch."""
    one = [(c, packet(c, ACK, seq, ack, b"x" * size)) for c, seq, ack, size in ((False, 1, 9, 50), (False, 51, 9, 50))]
    other = [packet(True, ACK, 9, ack) for ack in (51, 101, 101, 500)]
    frames = [writing.ethernet(p, 0x0800, VLAN_10) for _, p in one] + [
        writing.ethernet(p, 0x0800, VLAN_20) for p in other
    ]
    frames += [writing.ethernet(packet(True, ACK, 9, ack), 0x0800, VLAN_10) for ack in (101, 101, 700)]
    data = writing.pcap([Captured(10**18 + 10_007 * n, len(f), f) for n, f in enumerate(frames)], 1, nanoseconds=True)
    (tmp_path / "c.pcap").write_bytes(data)
    told = []
    for batch in (1, 2, 5, 100):
        flows, decoder, found = Flows(seed=1), Decoder(), []
        with read_frames(tmp_path / "c.pcap", batch_frames=batch) as reader:
            for frames_ in reader:
                ids, marks_ = np.zeros(len(frames_.start), np.uint32), np.zeros(len(frames_.start), np.uint8)
                flows.add(decoder.decode(frames_), frames_.time_ns, frames_.wire, ids, marks_)
                found += list(zip(ids.tolist(), marks_.tolist(), strict=True))
        told.append(
            (found, [column.tolist() for column in flows.round_trips()], flows.table.reverse[: len(flows)].tolist())
        )
    assert told[0][2] == [2, -1, 0]
    assert all(one_ == told[0] for one_ in told)
