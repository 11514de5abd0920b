"""The slow capture reader and frame decoder against bytes laid out by hand, and random ones."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.support.strategies import Frame, captures, frames, mutated_captures
from tests.twins import writing
from tests.twins.captures import DamagedError, Record, read_all, read_capture
from tests.twins.decode import NOT_IP, Decoded, decode, decode_capture
from tests.twins.writing import Captured

# Captures.


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_of_every_magic(order: str, nanoseconds: bool) -> None:
    data = writing.pcap([Captured(5, 99, b"abc"), Captured(6, 1, b"d")], 101, order=order, nanoseconds=nanoseconds)
    unit_ns = 1 if nanoseconds else 1000
    assert list(read_capture(data)) == [
        Record(1, 24, 5 * unit_ns, 3, 99, 101, b"abc"),
        Record(2, 43, 6 * unit_ns, 1, 1, 101, b"d"),
    ]
    assert read_all(data[:-1]) == ([Record(1, 24, 5 * unit_ns, 3, 99, 101, b"abc")], 43)


def test_pcapng_sections_clocks_and_blocks() -> None:
    data = (
        writing.section_block("<")
        + writing.interface_block("<", 1, snap_bytes=2, tsresol=0x80 | 10, tsoffset_s=-1)
        + writing.interface_block("<", 101)
        + writing.enhanced_block("<", 0, Captured(1025, 9, b"abc"))
        + writing.block(0xBAD, b"skip", "<")
        + writing.old_block("<", 1, Captured(7, 9, b"abcd"))
        + writing.simple_block("<", Captured(0, 9, b"ab"))
        + writing.section_block(">")
        + writing.interface_block(">", 113, tsresol=9)
        + writing.enhanced_block(">", 0, Captured(2**40, 1, b"z"))
    )
    records, damage = read_all(data)
    assert damage is None
    assert [(r.frame_number, r.time_ns, r.wire_bytes, r.link_type, r.frame) for r in records] == [
        (1, 976_562, 9, 1, b"abc"),  # 1025 / 1024 s less one second, floored
        (2, 7000, 9, 101, b"abcd"),
        (3, None, 9, 1, b"ab"),
        (4, 2**40, 1, 113, b"z"),
    ]
    assert data[records[3].file_offset :] == writing.enhanced_block(">", 0, Captured(2**40, 1, b"z"))


def test_what_is_no_capture_is_refused() -> None:
    with pytest.raises(DamagedError, match="no capture"):
        list(read_capture(b"snoop"))


# Frames.

SEGMENT = writing.tcp(1024, 80, seq=7, ack=8, data_offset=8, flags=0xFF, window=9, payload=b"hello")
TCP4 = Decoded(
    ip_version=4,
    protocol=6,
    src="10.0.0.1",
    dst="10.0.0.2",
    src_port=1024,
    dst_port=80,
    ip_bytes=57,
    payload_bytes=5,
    tcp_seq=7,
    tcp_ack=8,
    tcp_flags=255,
    tcp_window=9,
    ip_id=3,
    tos=5,
)
IN_VLANS = replace(TCP4, tenant="vlan 1, vlan 2, vlan 3")
PACKET4 = writing.ipv4(SEGMENT, 6, tos=5, identification=3)
PACKET6 = writing.ipv6(SEGMENT, 6, tos=5)
TCP6 = replace(TCP4, ip_version=6, src="::1", dst="::2", ip_bytes=77, ip_id=None)


@pytest.mark.parametrize(
    ("link_type", "frame", "expected"),
    [
        (1, writing.ethernet(PACKET4, 0x0800), TCP4),
        (1, writing.ethernet(PACKET4 + bytes(9), 0x0800, [(0x88A8, 1), (0x8100, 2), (0x9100, 3)]), IN_VLANS),
        (1, writing.ethernet(writing.mpls(PACKET6, [16, 17]), 0x8847), TCP6),
        (1, writing.ethernet(writing.pppoe(PACKET6, 0x57), 0x8864), TCP6),
        (1, writing.ethernet(writing.pppoe(PACKET6, 0x57, code=9), 0x8864), NOT_IP),
        (1, writing.ethernet(writing.snap(PACKET4, 0x0800), 65), TCP4),
        (1, writing.ethernet(PACKET4, 0x86DD), NOT_IP),
        (1, writing.ethernet(PACKET4, 0x0806), NOT_IP),
        (1, b"", NOT_IP),
        (12, PACKET4, TCP4),
        (101, PACKET6, TCP6),
        (228, PACKET4, TCP4),
        (228, PACKET6, NOT_IP),
        (229, PACKET6, TCP6),
        (0, b"\x1e\x00\x00\x00" + PACKET6, TCP6),
        (0, b"\x00\x00\x00\x02" + PACKET4, TCP4),
        (108, b"\x00\x00\x00\x02" + PACKET4, TCP4),
        (108, b"\x02\x00\x00\x00" + PACKET4, NOT_IP),
        (113, writing.sll(PACKET4, 0x0800), TCP4),
        (276, writing.sll2(PACKET6, 0x86DD), TCP6),
        (9, b"\xff\x03\x00\x21" + PACKET4, TCP4),
        (9, b"\x00\x57" + PACKET6, TCP6),
        (147, PACKET4, NOT_IP),
    ],
)
def test_link_types(link_type: int, frame: bytes, expected: Decoded) -> None:
    assert decode(link_type, frame, len(frame)) == expected


def test_what_a_short_capture_leaves_unknown() -> None:
    def cut(size: int) -> Decoded:
        return decode(101, PACKET4[:size], len(PACKET4))

    no_tcp = replace(TCP4, tcp_seq=None, tcp_ack=None, tcp_flags=None, tcp_window=None)
    assert cut(36) == TCP4
    assert cut(35) == no_tcp
    assert cut(32) == replace(no_tcp, payload_bytes=None)
    assert cut(23) == replace(no_tcp, payload_bytes=None, src_port=None, dst_port=None)
    assert cut(19) == NOT_IP
    datagram = writing.ipv4(writing.udp(payload=bytes(30)), 17)
    assert decode(101, datagram[:20], 58).payload_bytes == 30


def test_ip_lengths_that_lie() -> None:
    tso = writing.ipv4(SEGMENT, 6, total_length=0)
    assert decode(1, writing.ethernet(tso, 0x0800), 9014).ip_bytes == 9000
    assert decode(101, writing.ipv4(SEGMENT, 6, total_length=19), 60) == NOT_IP
    assert decode(101, writing.ipv4(SEGMENT, 6, header_words=4), 60) == NOT_IP
    beyond = decode(101, writing.ipv4(SEGMENT, 6, total_length=22), 57)
    assert (beyond.ip_bytes, beyond.src_port, beyond.payload_bytes) == (22, None, None)
    assert decode(101, writing.ipv4(writing.udp(), 17, total_length=24), 28).payload_bytes == 0
    assert decode(101, writing.ipv6(SEGMENT, 6, payload_length=0), 70_000).ip_bytes == 70_000
    assert decode(101, writing.ipv6(b"", 59), 60).ip_bytes == 40
    jumbo = writing.extension(6, 0, b"\xc2\x04" + (80_000).to_bytes(4, "big")) + SEGMENT
    assert decode(101, writing.ipv6(jumbo, 0, payload_length=0), 90_000).ip_bytes == 80_040


def test_fragments() -> None:
    first = decode(101, writing.ipv4(SEGMENT, 6, more_fragments=True, identification=3, tos=5), 57)
    assert first == replace(TCP4, fragment_offset=0)
    later = decode(101, writing.ipv4(SEGMENT, 6, fragment_offset=1480, identification=3), 57)
    assert (later.fragment_offset, later.src_port, later.payload_bytes, later.tcp_seq) == (1480, None, 37, None)
    for offset, more, expected in ((0, True, 0), (1448, False, 1448), (0, False, None)):
        packet = writing.ipv6(writing.fragment_header(6, offset, more, 2**31) + SEGMENT, 44)
        got = decode(101, packet, len(packet))
        assert (got.ip_id, got.protocol, got.fragment_offset) == (2**31, 6, expected)
        assert got.payload_bytes == (37 if offset else 5)
        assert got.src_port == (None if offset else 1024)


def test_extension_headers_are_walked_to_the_transport() -> None:
    chain = SEGMENT
    protocol = 6
    for kind in (0, 43, 60, 135, 139, 140):
        protocol, chain = kind, writing.extension(protocol, 1) + chain
    protocol, chain = 51, writing.authentication(protocol) + chain
    packet = writing.ipv6(chain, protocol, tos=5)
    assert decode(101, packet, len(packet)) == replace(TCP6, ip_bytes=77 + 6 * 16 + 24)
    cut = decode(101, packet[:65], len(packet))  # one byte of the second header
    assert (cut.protocol, cut.payload_bytes, cut.src_port) == (140, None, None)
    sealed = decode(101, writing.ipv4(writing.authentication(6) + SEGMENT, 51, tos=5, identification=3), 81)
    assert sealed == replace(TCP4, ip_bytes=81)
    assert decode(101, writing.ipv4(SEGMENT, 50), 57).payload_bytes == 37


@settings(max_examples=150, deadline=None)
@given(frames())
def test_any_frame_is_decoded_within_its_columns(frame: Frame) -> None:
    check_columns(decode(frame.link_type, frame.captured, frame.wire_bytes))


@settings(max_examples=40, deadline=None)
@given(captures())
def test_whole_captures_are_not_damaged(data: bytes) -> None:
    records, damage = read_all(data)
    assert damage is None
    assert [record.frame_number for record in records] == list(range(1, len(records) + 1))
    assert len(list(decode_capture(data))) == len(records)


@settings(max_examples=60, deadline=None)
@given(mutated_captures())
def test_broken_captures_give_what_precedes_the_damage(data: bytes) -> None:
    records, damage = read_all(data)
    for record in records:
        assert record.file_offset + len(record.frame) <= (len(data) if damage is None else damage)
        check_columns(decode(record.link_type, record.frame, record.wire_bytes))


def check_columns(row: Decoded) -> None:
    if row.ip_version is None:
        assert row == NOT_IP
        return
    assert row.protocol is not None and row.src is not None and row.ip_bytes is not None
    assert ipaddress.ip_address(row.src).version == row.ip_version
    assert row.ip_bytes >= (20 if row.ip_version == 4 else 40)
    assert row.payload_bytes is None or 0 <= row.payload_bytes < row.ip_bytes
    assert row.tcp_seq is None or (row.protocol == 6 and row.src_port is not None)
    assert not row.fragment_offset or row.src_port is None
