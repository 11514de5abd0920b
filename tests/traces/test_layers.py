"""State that lives from frame to frame: fragments and segment lists against their twins; named counts of tunnels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segcast.traces.headers.decode import HAS_SEGMENTS, LAYERS, Decoder, decode_batch
from segcast.traces.headers.fragments import Fragments
from segcast.traces.headers.segment_lists import SegmentLists
from tests.support.decoding import batch_of, decoded, decoded_by
from tests.support.strategies import Seeded, make_frame
from tests.twins import writing
from tests.twins import writing_links as write
from tests.twins import writing_tunnels as tunnels
from tests.twins.decode import layers, segments_of
from tests.twins.fragments import LIFETIME_NS, Firsts
from tests.twins.writing_links import summed

Frame = tuple[int, int, bytes]


def fragments_of(c: Seeded, packet: bytes) -> list[bytes]:
    """An IPv4 packet cut into fragments of 16 or more bytes, at times out of order or incomplete."""
    at, size, header = 0, c.pick((16, 48, 400)), packet[:20]
    pieces = []
    payload = packet[20:]
    while at < len(payload):
        pieces.append(
            writing.ipv4(
                payload[at : at + size],
                header[9],
                src=header[12:16],
                dst=header[16:20],
                identification=c.integer(0, 3),
                more_fragments=at + size < len(payload),
                fragment_offset=at,
            )
        )
        at += size
    identification = c.integer(0, 3).to_bytes(2, "big")
    pieces = [piece[:4] + identification + piece[6:] for piece in pieces]
    if c.integer(0, 3) == 3:
        pieces.reverse()
    if c.integer(0, 3) == 3:
        pieces.pop(c.integer(0, len(pieces) - 1))
    return pieces


def fragmented(seed: int, datagrams: int) -> list[Frame]:
    c = Seeded(seed)
    out: list[Frame] = []
    for _ in range(datagrams):
        src = bytes([10, 0, 0, c.integer(1, 3)])
        inside = writing.ipv4(writing.udp(c.integer(1, 9), 9, payload=bytes(c.integer(0, 90))), 17, src=src)
        inside = c.pick((inside, writing.ipv6(writing.udp(c.integer(1, 9), 7, payload=bytes(60)), 17)))
        pieces = fragments_of(c, inside) if inside[0] == 0x45 else [inside]
        if c.integer(0, 1):  # in a tunnel that is cut as well
            pieces = [
                whole
                for piece in pieces
                for whole in fragments_of(c, writing.ipv4(writing.gtp_u(piece), 17, src=src, dst=bytes([10, 1, 0, 1])))
            ]
        if c.integer(0, 3) == 3:
            ident = c.integer(0, 2)
            datagram = writing.udp(c.integer(1, 9), 7, payload=bytes(40))
            pieces += [
                writing.ipv6(writing.fragment_header(17, 0, True, ident) + datagram[:16], 44),
                writing.ipv6(writing.fragment_header(17, 16, False, ident) + datagram[16:], 44),
            ]
        out += [(101, len(piece), piece) for piece in pieces]
    return out


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("most", [1, 4, 16_384])
def test_fragments_find_their_flow_like_the_twin(layer: str, most: int) -> None:
    for seed in range(6):
        frames = fragmented(seed, 120)
        step = Seeded(seed)
        times = np.cumsum([step.pick((0, 10**6, LIFETIME_NS // 3, -(10**9))) for _ in frames])
        decoder, twin = Decoder(layer), Firsts(most)
        decoder._fragments = Fragments(most)
        ours: list[Any] = []
        for begin in range(0, len(frames), 37):
            part = slice(begin, begin + 37)
            ours += decoded(decoder.decode(batch_of(frames[part])._replace(time_ns=times[part])), decoder.tenants)
        wanted = [
            twin.take(int(time), layers(link, frame, wire, inner=layer == "inner"))
            for time, (link, wire, frame) in zip(times, frames, strict=True)
        ]
        assert ours == wanted
        assert decoder.findings()["fragments_without_first"] == twin.without_first > 0
        assert sum(d.fragment_offset is not None and d.src_port is not None for d in wanted) > 20


def test_a_later_fragment_of_a_tunnel_joins_the_flow_inside() -> None:
    inside = writing.ipv6(writing.udp(5, 6, payload=bytes(100)), 17)
    outside = writing.udp(50_000, 4789, payload=b"\x08" + bytes(7) + writing.ethernet(inside, 0x86DD))
    pieces = [
        writing.ipv4(outside[:96], 17, more_fragments=True, identification=7),
        writing.ipv4(outside[96:], 17, fragment_offset=96, identification=7),
    ]
    first, later = decoded_by(Decoder("inner"), [(101, len(p), p) for p in pieces])
    assert (later.src, later.dst_port, later.protocol, later.ip_version) == (first.src, 6, 17, 6)
    assert (later.fragment_offset, later.ip_id) == (96, 7)
    assert first.ip_bytes + later.ip_bytes == len(inside)
    assert (first.payload_bytes, later.payload_bytes) == (100, 0)


def test_fragments_of_fragments_add_up_to_the_packet_within() -> None:
    """A packet in GRE, cut, and each piece again in IP in IP, cut: whatever is cut, inner bytes are counted once."""
    inside = writing.ipv4(writing.tcp(1, 2, payload=bytes(2920)), 6)
    gre = writing.gre(writing.ethernet(inside, 0x0800), 0x6558)
    pieces = [
        writing.ipv4(gre[at : at + 1480], 47, identification=7, fragment_offset=at, more_fragments=at + 1480 < len(gre))
        for at in range(0, len(gre), 1480)
    ]
    for frames in (pieces, [writing.ipv4(piece, 4, src=bytes([10, 9, 9, 9])) for piece in pieces]):
        rows = decoded_by(Decoder("inner"), [(101, len(p), p) for p in frames])
        assert [row.protocol for row in rows] == [6, 6, 6]
        assert [row.ip_bytes for row in rows] == [1480 - 18, 1480, len(gre) - 2960]
        assert sum(row.ip_bytes or 0 for row in rows) == len(inside)
        assert sum(row.payload_bytes or 0 for row in rows) == 2920


def test_segment_lists_are_those_of_the_twin() -> None:
    c = Seeded(21)
    made = [make_frame(c, 229) for _ in range(4000)]
    frames = [(f.link_type, f.wire_bytes, f.captured) for f in made]
    for layer in LAYERS:
        decoder = Decoder(layer)
        out = decoder.decode(batch_of(frames))
        lists = decoder.segment_lists.table()["segments"].to_pylist()
        ours = [lists[i] if v & HAS_SEGMENTS else None for i, v in zip(out.segment_list_id, out.valid, strict=True)]
        wanted = [segments_of(link, frame, wire) for link, wire, frame in frames]
        assert ours == [None if s is None else list(s) for s in wanted]
        assert len(lists) == len({s for s in wanted if s}) > 20
        assert set(decoder.findings()["segment_lists_unread"]) == {"truncated", "malformed"}


def routed(segments: list[bytes], left: int) -> Frame:
    packet = writing.ipv6(writing.srh(59, segments, left), 43, dst=bytes(15) + b"\x09")
    return 229, len(packet), packet


def test_the_segment_table_grows_and_is_bounded() -> None:
    lists = [[(n * 7).to_bytes(16, "big")] * (1 + n % 126) for n in range(900)]
    frames = [routed(segments, 0) for segments in lists * 2]
    decoder = Decoder()
    assert decoder.decode(batch_of(frames)).segment_list_id.tolist() == [*range(900)] * 2
    assert [len(s) for s in decoder.segment_lists.table()["segments"].to_pylist()] == [len(s) for s in lists]
    decoder = Decoder()
    decoder.segment_lists = SegmentLists(most=10)
    out = decoder.decode(batch_of(frames[:6]))
    assert (out.valid & HAS_SEGMENTS != 0).tolist() == [True] * 4 + [False] * 2
    assert decoder.findings()["segment_lists_unread"] == {"too many distinct lists": 2}


def test_a_reduced_list_begins_with_the_destination() -> None:
    decoder = Decoder()
    decoder.decode(batch_of([routed([bytes(15) + b"\x02", bytes(15) + b"\x01"], left) for left in (2, 1, 0)]))
    assert decoder.segment_lists.table()["segments"].to_pylist() == [["::9", "::1", "::2"], ["::1", "::2"]]


IP4 = writing.ipv4(writing.udp(7, 8), 17)
IP6 = writing.ipv6(writing.udp(7, 8), 17)

WIFI = write.data_frame(writing.snap(IP4, 0x0800), quality=0, ends=1)


def tunnel(protocol: int, payload: bytes) -> bytes:
    return writing.ipv4(payload, protocol)


@pytest.mark.parametrize(
    ("packet", "tunnels", "unread"),
    [
        (writing.ipv4(writing.vxlan(writing.ethernet(IP4, 0x0800)), 17), {"vxlan": 1}, {}),
        (writing.ipv4(writing.vxlan(writing.ethernet(bytes(28), 0x0806)), 17), {}, {"vxlan: arp": 1}),
        (writing.ipv4(writing.vxlan(b"", 0), 17), {}, {"vxlan: malformed": 1}),
        (writing.ipv4(writing.geneve(IP4, 0x0800, 3), 17), {"geneve": 1}, {}),
        (writing.ipv4(writing.gtp_u(IP4, 0x34, extensions=(1, 2)), 17), {"gtp-u": 1}, {}),
        (writing.ipv4(writing.gtp_u(bytes(20), message=1), 17), {}, {"gtp-u: other payload": 1}),
        (writing.ipv4(writing.gre(IP4[:15], 0x0800, 0xB000), 47), {}, {"gre: truncated": 1}),
        (writing.ipv4(writing.erspan(writing.ethernet(IP4, 0x0800), 3, 0, True), 47), {"erspan": 1}, {}),
        (writing.ipv4(IP4, 4), {"ip in ip": 1}, {}),
        (writing.ipv4(b"\x65" + IP4[1:], 4), {}, {"ip in ip: malformed": 1}),
        (writing.ipv4(writing.ipv6(writing.udp(), 17), 41), {"6in4": 1}, {}),
        (writing.ipv6(writing.ipv6(IP4, 4), 41), {"ipv6 in ipv6": 1, "ipv4 in ipv6": 1}, {}),
        (writing.ipv6(writing.srh(4, [bytes(16)], 0) + IP4, 43), {"srv6": 1}, {}),
        (writing.ipv4(writing.ethernet(IP4, 0x0800), 143), {"ethernet in ip": 1}, {}),
        (tunnel(*tunnels.vxlan_gpe(IP4, 1)), {"vxlan-gpe": 1}, {}),
        (tunnel(*tunnels.vxlan_gpe(tunnels.nsh(writing.ethernet(IP4, 0x0800), 3), 4)), {"vxlan-gpe": 1}, {}),
        (tunnel(*tunnels.vxlan_gpe(bytes(40), 7)), {}, {"vxlan-gpe: other payload": 1}),
        (tunnel(*tunnels.gre_in_udp(IP4, 0x0800)), {"gre in udp": 1}, {}),
        (tunnel(17, writing.udp(1, 6635, payload=writing.mpls(summed(IP4), [17]))), {"mpls in udp": 1}, {}),
        (tunnel(137, writing.mpls(bytes(4) + writing.ethernet(IP4, 0x0800), [17])), {"mpls in ip": 1}, {}),
        (tunnel(*tunnels.gtp_0(IP4)), {"gtp version 0": 1}, {}),
        (tunnel(*tunnels.gtp_0(IP4, message=2)), {}, {"gtp version 0: other payload": 1}),
        (tunnel(*tunnels.teredo(IP6, origin=True, authentication=4)), {"teredo": 1}, {}),
        (tunnel(*tunnels.teredo(IP6, origin=False, answering=True)), {"teredo": 1}, {}),
        (tunnel(*tunnels.teredo(b"E" + bytes(60), origin=False, answering=True)), {}, {}),  # another's port
        (tunnel(*tunnels.ayiya(IP6, 41)), {"ayiya": 1}, {}),
        (tunnel(*tunnels.ayiya(b"", 59)), {}, {"ayiya: other payload": 1}),
        (tunnel(*tunnels.lisp(IP4)), {"lisp": 1}, {}),
        (tunnel(*tunnels.aruba(WIFI)), {"aruba gre": 1}, {}),
        (tunnel(*tunnels.aruba(WIFI[1::-1] + WIFI[2:], 0x8370)), {"aruba gre": 1}, {}),
        (tunnel(*tunnels.aruba(b"\x80\0" + bytes(30))), {}, {"aruba gre: 802.11 management": 1}),
        (tunnel(*tunnels.capwap(WIFI, native=True, words=4)), {"capwap": 1}, {}),
        (tunnel(*tunnels.capwap(WIFI[1::-1] + WIFI[2:], native=True, offset=0)), {"capwap": 1}, {}),
        (tunnel(*tunnels.capwap(writing.ethernet(IP4, 0x0800), native=False)), {"capwap": 1}, {}),
        (tunnel(*tunnels.capwap(WIFI, native=True, offset=3)), {}, {"capwap: other payload": 1}),
        (tunnel(*tunnels.capwap(WIFI, native=True, first=1)), {}, {"capwap: encrypted": 1}),
        (tunnel(*tunnels.gue(IP6, 41, 3)), {"gue": 1}, {}),
        (tunnel(*tunnels.l2tp(b"\xff\x03\0\x21" + IP4, 0x4A02, 3)), {"l2tp": 1}, {}),
        (tunnel(*tunnels.l2tp(b"\xff\x03\xc0\x21" + bytes(9))), {}, {"l2tp: ppp control": 1}),
        (tunnel(*tunnels.etherip(writing.ethernet(IP4, 0x0800))), {"etherip": 1}, {}),
        (tunnel(*tunnels.pim_register(IP4)), {"pim register": 1}, {}),
        (tunnel(*tunnels.wccp(IP4, 1)), {"gre": 1}, {}),
        (tunnel(*tunnels.wccp(IP4, 2)), {"gre": 1}, {}),
        (tunnel(50, bytes(90)), {}, {"esp: encrypted": 1}),
        (tunnel(17, writing.udp(4500, 4500, payload=b"\1" * 90)), {}, {"esp in udp: encrypted": 1}),
        (tunnel(17, writing.udp(4500, 4500, payload=bytes(90))), {}, {}),  # a key exchange
        (tunnel(17, writing.udp(9, 51820, payload=b"\4" + bytes(60))), {}, {"wireguard: encrypted": 1}),
        (tunnel(17, writing.udp(9, 51820, payload=b"GET / HTTP")), {}, {}),
        (tunnel(115, bytes(60)), {}, {"l2tp version 3: other payload": 1}),
    ],
)
def test_layers_are_counted_by_name(packet: bytes, tunnels: dict[str, int], unread: dict[str, int]) -> None:
    decoder = Decoder("inner")
    (row,) = decoded_by(decoder, [(101, len(packet), packet)])
    assert row.ip_version is not None
    if tunnels and not unread:
        assert row.protocol == 17
    found = decoder.findings()
    assert (found["tunnels"], found["tunnels_unread"]) == (tunnels, unread)


def test_layers_without_end_are_given_up() -> None:
    packet = IP4
    for _ in range(100):
        packet = writing.ipv4(packet, 4)
    decoder = Decoder("inner")
    out = decoder.decode(batch_of([(101, len(packet), packet)]))
    assert out.ip_start[0] == 64 * 20
    assert decoder.findings()["tunnels_unread"] == {"more than 64 layers": 1}


def test_a_pseudowire_must_lead_to_ip() -> None:
    def decode_mpls(carried: bytes) -> Any:
        frame = writing.ethernet(writing.mpls(carried, [16, 17]), 0x8847)
        return decode_batch(batch_of([(1, len(frame), frame)]), layer="inner")

    for carried in (writing.ethernet(IP4, 0x0800), bytes(4) + writing.ethernet(IP4, 0x0800, [(0x8100, 5)])):
        assert decode_mpls(carried).protocol[0] == 17
    for carried in (writing.ethernet(bytes(40), 0x0800), writing.ethernet(IP4, 0x1234), bytes(60), b"\0\0"):
        assert decode_mpls(carried).valid[0] == 0
