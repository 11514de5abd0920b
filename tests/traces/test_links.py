"""Link layers by name: what each leads to, what labels carry, what is padding, and what is said of what is not read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcast.traces.headers import announced, wireless
from segcast.traces.headers.decode import REASONS, Decoder, decode_batch
from segcast.traces.headers.tenants import MOST_PARTS
from segcast.traces.ingest.run import ingest
from segcast.traces.linktypes import LINK_TYPES, is_read, linktype_name
from segcast.traces.reasons import FRAME_FOLLOWS, IP_FOUND, NSH_FOLLOWS, WIFI_PROTECTED
from tests.support.decoding import batch_of, decoded, decoded_batch
from tests.twins import writing
from tests.twins import writing_links as write
from tests.twins import writing_tunnels as tunnels
from tests.twins.decode import Decoded
from tests.twins.linked_frames import LINK_TYPES as WRITTEN
from tests.twins.writing import Captured, ethernet, mpls, snap

IP4 = write.summed(writing.ipv4(writing.tcp(7, 8, payload=b"four"), 6))
IP6 = writing.ipv6(writing.udp(7, 8, payload=b"six"), 17)
SNAP4, SNAP6 = snap(IP4, 0x0800), snap(IP6, 0x86DD)


def read(link_type: int, frame: bytes, layer: str = "outer", wire: int | None = None) -> tuple[Decoded, str, Decoder]:
    """The columns of a frame, why it has none, and the decoder."""
    decoder = Decoder(layer)
    headers = decoder.decode(batch_of([(link_type, len(frame) if wire is None else wire, frame)]))
    return decoded(headers, decoder.tenants)[0], REASONS[headers.reason[0]], decoder


def reads(link_type: int, frame: bytes) -> int | None:
    """The IP version of the packet of above that is found, with nothing wrong in it."""
    row, _, decoder = read(link_type, frame)
    if row.ip_version is None:
        return None
    ours = {4: (len(IP4), 4, 6), 6: (len(IP6), 3, 17)}[row.ip_version]
    assert (row.ip_bytes, row.payload_bytes, row.protocol) == ours and (row.src_port, row.dst_port) == (7, 8)
    assert decoder.findings()["packets_beyond_frame"] == 0
    return row.ip_version


CISCO4, CISCO6 = b"\x0f\0\x08\0" + IP4, b"\x8f\0\x86\xdd" + IP6
LABELLED = mpls(IP4, [17, 18])


@pytest.mark.parametrize(
    ("link_type", "frame", "version"),
    [
        (9, CISCO4, 4),
        (9, CISCO6, 6),
        (50, CISCO4, 4),
        (104, CISCO4, 4),
        (104, b"\xff\x03\0\x57" + IP6, 6),
        (205, b"\1" + CISCO4, 4),
        (9, b"\x21" + IP4, 4),
        (9, b"\xff\x03\x57" + IP6, 6),
        (9, b"\xff\x03\x02\x81" + LABELLED, 4),
        (9, b"\x02\x83" + mpls(IP6, [17]), 6),
        (9, b"\0\x31\0\1" + ethernet(IP4, 0x0800), 4),
        (204, b"\0\xff\x03\x02\x81" + LABELLED, 4),
        (51, writing.pppoe(LABELLED, 0x0281), 4),
        (1, ethernet(writing.pppoe(LABELLED, 0x0281), 0x8864, [(0x8100, 9)]), 4),
        (10, write.fddi(SNAP4), 4),
        (10, write.fddi(SNAP6, 0x57), 6),
        (6, write.token_ring(SNAP4), 4),
        (6, write.token_ring(SNAP6, route=6), 6),
        (100, SNAP4, 4),
        (122, bytes(16) + SNAP6, 6),
        (107, write.frame_relay(IP4, 4, "id"), 4),
        (107, write.frame_relay(IP6, 6, "snap"), 6),
        (107, write.frame_relay(IP4, 4, "cisco"), 4),
        (206, b"\0" + write.frame_relay(IP4, 4, "bridged"), 4),
        (239, write.nflog(IP4, 2), 4),
        (239, write.nflog(IP6, 10, order=">"), 6),
        (239, write.nflog(IP4, 7, 0x0800), 4),
        (109, struct.pack("<III", 24, 0, 0) + IP6, 6),
        (117, write.pflog(IP4, 2), 4),
        (226, bytes(24) + IP4, 4),
        (138, bytes(16) + b"\x86\xdd" + IP6, 6),
        (240, bytes(4) + ethernet(IP4, 0x0800), 4),
        (241, bytes(12) + ethernet(IP4, 0x0800), 4),
        (258, write.pktap(ethernet(IP4, 0x0800), 1), 4),
        (258, write.pktap(struct.pack("<I", 30) + IP6, 0), 6),
        (281, ethernet(IP4, 0x0800)[:12] + bytes(4) + b"\x08\0" + IP4, 4),
        (282, bytes(4) + ethernet(IP6, 0x86DD), 6),
        (284, ethernet(IP4, 0x0800)[:12] + bytes(4) + b"\x81\0\0\7\x08\0" + IP4, 4),
        (285, ethernet(*reversed(write.tag(0xDADA, bytes(6), 0x0800, IP4))), 4),
        (178, write.juniper(ethernet(IP4, 0x0800)), 4),
        (178, write.juniper(ethernet(IP4, 0x0800), extension=b"\1\1\0"), 4),
        (179, write.juniper(b"\xff\x03\0\x57" + IP6), 6),
        (181, write.juniper(CISCO4), 4),
        (133, write.juniper(IP4, protocol=2), 4),
        (137, write.juniper(LABELLED, protocol=5), 4),
        (113, writing.sll(b"\0\7\x08\0" + IP4, 0x8100), 4),
        (276, writing.sll2(SNAP6, 4), 6),
        (0, struct.pack("<I", 0x86DD) + IP6, 6),
    ],
)
def test_link_types_lead_to_ip(link_type: int, frame: bytes, version: int) -> None:
    assert reads(link_type, frame) == version


@pytest.mark.parametrize(
    "tagged",
    [
        write.tag(0x8926, b"\0\1\0\0", 0x0800, IP4),
        write.tag(0x893F, bytes(6), 0x0800, IP4),
        write.tag(0x893F, bytes(6), *write.tag(0x8926, bytes(4), 0x8847, LABELLED)),
        write.in_frame(0x88E7, b"\0\x1e\xbb\x4d", 0x0800, IP4),
        write.tag(0x88A8, b"\0\x14", *write.in_frame(0x88E7, bytes(4), *write.tag(0x8100, b"\0\x5a", 0x0800, IP4))),
        write.in_frame(0x8903, b"\0\x60", 0x0800, IP4),
        write.in_frame(0x6558, b"", 0x0800, IP4),
        write.trill(0x0800, IP4),
        write.trill(0x0800, IP4, options=2),
        write.arista(0x0800, IP4, 0x10),
        write.arista(0x0800, IP4, 0x21),
        write.metadata(0x0800, IP4),
        write.tag(0x8100, b"\0\x5a", *write.metadata(0x0800, IP4, 2)),
        write.macsec(0x0800, IP4),
        write.macsec(0x0800, IP4, 0x20),
        write.tag(0x892F, bytes(4), 0x0800, IP4),
        write.tag(0xF1C1, bytes(4), 0x0800, IP4),
        write.tag(0x9200, bytes(2), 0x0800, IP4),
        (0x894F, tunnels.nsh(IP4, 1)),
        (0x894F, tunnels.nsh(ethernet(IP4, 0x0800), 3, 2)),
        (0x894F, tunnels.nsh(tunnels.nsh(IP4, 1), 4)),
        (0x894F, tunnels.nsh(LABELLED, 5)),
        (0x880B, b"\0\x21" + IP4),
        (0x8870, SNAP4),
        (len(SNAP4), SNAP4 + bytes(9)),
        (len(IP4) + 3, b"\x06\x06\x03" + IP4),
        (len(IP4) + 4, b"\xfe\xfe\x03\xcc" + IP4),
    ],
)
def test_tags_of_switches_are_looked_through(tagged: tuple[int, bytes]) -> None:
    ether_type, payload = tagged
    assert reads(1, ethernet(payload, ether_type)) == 4
    if ether_type > 1500:
        assert reads(113, writing.sll(payload, ether_type)) == 4
        assert reads(276, writing.sll2(payload, ether_type)) == 4
        assert reads(1, ethernet(payload + bytes(12), ether_type, [(0x8100, 7)])) == 4  # and a trailer


QOS = 0x0005


@pytest.mark.parametrize(
    ("frame", "version"),
    [
        (write.data_frame(SNAP4), 4),
        (write.data_frame(SNAP6, ends=2), 6),
        (write.data_frame(SNAP4, ends=0), 4),
        (write.data_frame(SNAP4, ends=3), 4),
        (write.data_frame(SNAP4, quality=QOS), 4),
        (write.data_frame(SNAP6, quality=QOS, ends=3), 6),
        (write.data_frame(SNAP4, quality=QOS, order=True), 4),
        (write.data_frame(SNAP4, quality=QOS, pad=2), 4),
        (write.data_frame(bytes(6) + SNAP4, quality=0x100, ends=3), 4),  # a mesh's header
        (write.data_frame(b"\2" + bytes(17) + SNAP4, quality=0x100, ends=3), 4),
        (write.data_frame(SNAP4, protected=True), 4),  # decrypted by the card
        (write.data_frame(bytes(8) + SNAP4, protected=True), 4),
        (write.data_frame(write.subframe(SNAP4, last=True), quality=0x80), 4),
    ],
)
def test_wireless_data_is_read(frame: bytes, version: int) -> None:
    assert reads(105, frame) == version
    assert reads(127, write.radiotap(frame, None)) == version
    assert reads(127, write.radiotap(frame + b"\xaa\xaa\3\0", 0x10, timed=True, words=2, pad=5)) == version
    assert reads(119, write.prism(frame)) == reads(163, write.avs(frame)) == version
    assert reads(192, write.ppi(frame)) == reads(192, write.ppi(frame + bytes(4), flags=1)) == version
    assert reads(258, write.pktap(write.radiotap(frame), 127)) == version


@pytest.mark.parametrize(
    ("link_type", "frame", "reason"),
    [
        (105, write.data_frame(b"\x5a" * 60, protected=True, quality=QOS), "802.11 protected"),
        (105, write.data_frame(SNAP4, fragment=1), "802.11 fragment"),
        (105, write.data_frame(b"", kind=0x48), "802.11 without data"),
        (105, write.data_frame(b"", kind=0x48, quality=QOS), "802.11 without data"),
        (105, b"\x80\0" + bytes(40), "802.11 management"),
        (105, b"\xd4\0" + bytes(8), "802.11 control"),
        (105, write.data_frame(b"\x42\x42\x03" + bytes(40)), "802.2 llc"),
        (105, write.data_frame(SNAP4)[:23], "truncated"),
        (127, write.radiotap(write.data_frame(SNAP4), 0x40), "802.11 with a bad fcs"),
        (192, write.ppi(write.data_frame(SNAP4), flags=5), "802.11 with a bad fcs"),
        (192, write.ppi(SNAP4, 195), "unsupported link type"),
        (127, b"\0\0\x30\0", "truncated"),
        (239, write.nflog(bytes(28), 3, 0x0806), "other address family"),
        (239, write.nflog(IP4, 2, payload=8), "truncated"),
        (10, write.fddi(SNAP4, 0x41), "other payload"),
        (9, b"\xff\x03\0\x3d" + IP4, "other ppp protocol"),
        (9, b"\xff\x03\xc0\x21" + bytes(8), "ppp control"),
        (1, ethernet(*reversed(write.macsec(0x0800, IP4, 0x0C))), "macsec"),
        (1, ethernet(tunnels.nsh(IP4, 9), 0x894F), "other payload"),
        (1, ethernet(tunnels.nsh(IP4, 1, version=1), 0x894F), "malformed"),
        (133, write.juniper(IP4), "other payload"),
        (133, bytes(60), "malformed"),
    ],
)
def test_what_holds_no_packet_is_named(link_type: int, frame: bytes, reason: str) -> None:
    row, why, _ = read(link_type, frame)
    assert (row.ip_version, why) == (None, reason)


def test_an_aggregate_gives_its_first_packet_and_counts_the_others() -> None:
    whole = write.subframe(SNAP4) + write.subframe(SNAP6) + write.subframe(SNAP4, last=True)
    frame = write.data_frame(whole, quality=0x80)
    for link_type, shown in ((105, frame), (127, write.radiotap(frame + bytes(4), 0x10)), (192, write.ppi(frame))):
        row, _, decoder = read(link_type, shown)
        assert (row.ip_version, row.ip_bytes) == (4, len(IP4))
        assert decoder.findings()["packets_in_aggregates"] == 2


def test_a_first_fragment_is_as_long_as_its_packet_says() -> None:
    row, _, decoder = read(105, write.data_frame(snap(IP4[:40], 0x0800), more=True))
    assert (row.ip_bytes, row.payload_bytes, row.src_port) == (len(IP4), 4, 7)
    assert decoder.findings()["packets_beyond_frame"] == 0


def test_a_log_entry_may_hold_the_beginning_of_a_packet() -> None:
    row, _, decoder = read(239, write.nflog(IP4[:40], 2))
    assert (row.ip_bytes, row.payload_bytes, row.tcp_seq) == (len(IP4), 4, 1)
    assert decoder.findings()["packets_beyond_frame"] == 0


# What labels carry.

NUMBERED_FLOWS = [
    write.summed(writing.ipv4(writing.udp(1000 + n, 2000, payload=bytes(400)), 17, src=bytes([10, 0, 0, n])))
    for n in range(1, 5)
]


def pseudowires(first: bytes, control: bytes) -> list[tuple[int, int, bytes]]:
    """Four flows in Ethernet whose addresses begin with `first`, behind a label."""
    frames = [ethernet(packet, 0x0800) for packet in NUMBERED_FLOWS]
    whole = [ethernet(mpls(control + first + frame[len(first) :], [1000]), 0x8847) for frame in frames]
    return [(1, len(frame), frame) for frame in whole]


@pytest.mark.parametrize("control", [b"", bytes(4), b"\0\0\x12\x34"])
@pytest.mark.parametrize(
    "first",
    [
        b"\x48\xdf\x37\x0a",
        b"\x00\x1b\x21\x0a",
        b"\x45\x00\x01\xac",  # a length that fits
        b"\x45\x00\x01\xba\x00\x00",
        b"\x45\x00\x00\x00",
        b"\x4f\xff\xff\xff",
        b"\x60\x01\x02\x03\x01\x92",  # IPv6's length fits, too
        b"\x6c\xb3\x11\x00\x00\x28",
        b"\x68\x00\x00\x00\x00\x00",
    ],
)
def test_a_pseudowire_is_no_ip_whatever_its_addresses(first: bytes, control: bytes) -> None:
    batch = batch_of(pseudowires(first, control))
    outer = decode_batch(batch)
    assert [REASONS[code] for code in outer.reason] == ["mpls without ip"] * 4
    inner = decoded_batch(batch, layer="inner")
    assert [(row.src, row.src_port, row.ip_bytes) for row in inner] == [
        (f"10.0.0.{n}", 1000 + n, 428) for n in range(1, 5)
    ]


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (IP4, 4),
        (IP6, 6),
        (IP4 + bytes(6), 4),  # padding
        (IP6 + bytes(4), 6),  # a checksum
        (IP4[:10] + b"\0\0" + IP4[12:], None),  # no checksum
        (IP4[:20] + b"\0" + IP4[21:], 4),  # whose checksum covers the header alone
        (write.summed(b"\x44" + IP4[1:]), None),
        (write.summed(IP4[:2] + b"\x40\0" + IP4[4:]), None),  # longer than the frame
        (write.summed(IP4[:2] + b"\0\x13" + IP4[4:]), None),  # shorter than its header
        (IP6[:4] + b"\x40\0" + IP6[6:], None),
        (IP6 + bytes(90), None),  # much shorter than the frame
        (IP6[:6] + b"\xfd" + IP6[7:], None),  # a next header that nobody uses
        (b"\x10\0\0\x21" + IP4, None),  # an associated channel
        (ethernet(bytes(40), 0x0806), None),
    ],
)
def test_labels_carry_ip_only_if_all_of_it_agrees(packet: bytes, found: int | None) -> None:
    for link_type, frame in (
        (1, ethernet(mpls(packet, [16, 17]), 0x8847)),
        (219, mpls(packet, [16])),
        (9, b"\xff\x03\x02\x81" + mpls(packet, [16])),
        (1, ethernet(snap(mpls(packet, [16]), 0x8848), 8 + 4 + len(packet))),
    ):
        row, why, _ = read(link_type, frame)
        assert row.ip_version == found
        assert (why == "mpls without ip") == (found is None)


def test_a_label_stack_that_was_cut_tells_nothing() -> None:
    frame = ethernet(mpls(IP4, [16]), 0x8847)
    assert read(1, frame[: 14 + 4 + 19], wire=len(frame))[1] == "truncated"
    assert reads(1, frame) == 4
    row, _, _ = read(1, frame[: 14 + 4 + 20], wire=len(frame))
    assert (row.ip_bytes, row.src_port) == (len(IP4), None)


# Padding and lengths.


def claiming(more: int) -> bytes:
    """A packet that says it has `more` bytes of payload than it has."""
    return write.summed(writing.ipv4(writing.tcp(1, 2), 6, total_length=40 + more))


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(writing.pppoe(claiming(6), 0x21) + bytes(10), 0x8864, [(0x8100, 5)]),
        ethernet(snap(claiming(6), 0x0800) + bytes(20), 48),
        ethernet(b"\x06\x06\x03" + claiming(6) + bytes(20), 43),
    ],
)
def test_padding_behind_a_stated_length_is_no_payload(frame: bytes) -> None:
    row, _, decoder = read(1, frame)
    assert (row.ip_bytes, row.payload_bytes, row.dst_port) == (46, 0, 2)
    assert decoder.findings()["packets_beyond_frame"] == 1


def test_a_header_behind_a_stated_length_is_not_there() -> None:
    frame = ethernet(writing.pppoe(IP4, 0x21), 0x8864)
    short = frame[:18] + (2 + 30).to_bytes(2, "big") + frame[20:]
    row, _, _ = read(1, short)
    assert (row.src, row.src_port, row.tcp_seq) == ("10.0.0.1", 7, None)


def test_packets_longer_than_their_frames_are_counted() -> None:
    for packet, beyond in ((claiming(0), 0), (claiming(1), 1), (claiming(1) + b"!", 0)):
        assert read(1, ethernet(packet, 0x0800))[2].findings()["packets_beyond_frame"] == beyond
    cut = ethernet(IP4, 0x0800)
    assert read(1, cut[:40], wire=len(cut))[2].findings()["packets_beyond_frame"] == 0


# What is said.


def trace_of(tmp_path: Path, link_type: int, frames: list[bytes], **more: Any) -> Any:
    ticks = range(10**15, 10**15 + len(frames))
    data = writing.pcap([Captured(t, len(f), f) for t, f in zip(ticks, frames, strict=True)], link_type)
    (tmp_path / "a.pcap").write_bytes(data)
    return ingest([tmp_path / "a.pcap"], tmp_path / "a.trace", **more).info


def test_what_is_not_read_is_counted_by_its_number(tmp_path: Path) -> None:
    frames = [ethernet(bytes(40), kind) for kind in (0x8892, 0x8892, 0x0000, 0x0806)] + [ethernet(IP4, 0x0800)]
    info = trace_of(tmp_path, 1, frames)
    assert info["skipped"] == {"arp": 1, "other ethertype 0x8892": 2, "802.2 llc": 1}
    (finding,) = (f for f in info["findings"] if f["code"] == "frames_not_read")
    assert (finding["code"], finding["severity"], finding["count"]) == ("frames_not_read", "warning", 2)
    assert finding["detail"] == "40 % of the frames hold what is not looked through: 2 other ethertype 0x8892"


def test_rare_numbers_are_counted_together(tmp_path: Path) -> None:
    frames = [ethernet(bytes(40), 0x9000 + n) for n in range(40) if n != 0] + [ethernet(IP4, 0x0800)]
    skipped = trace_of(tmp_path, 1, frames)["skipped"]
    assert sum(skipped.values()) == 39 and len(skipped) == 21 and skipped["other ethertype"] == 19


@pytest.mark.parametrize(
    ("link_type", "frame", "said"),
    [
        (
            1,
            ethernet(bytes(40), 0x8892),
            "no frame has a readable IP header; link type ethernet: 1 other ethertype 0x8892",
        ),
        (1, ethernet(bytes(40), 0x0806), "no frame has a readable IP header; link type ethernet: 1 arp"),
        (195, bytes(40), "no frame has a readable IP header; link type 802.15.4: 1 unsupported link type: 802.15.4"),
        (9, b"\0\x3d" + bytes(9), "no frame has a readable IP header; link type ppp: 1 other ppp protocol 0x003d"),
    ],
)
def test_a_trace_without_any_ip_says_so(tmp_path: Path, link_type: int, frame: bytes, said: str) -> None:
    finding = trace_of(tmp_path, link_type, [frame])["findings"][0]
    assert (finding["code"], finding["severity"], finding["detail"]) == ("no_ip", "error", said)


def test_lengths_that_contradict_are_a_finding(tmp_path: Path) -> None:
    frame = ethernet(writing.pppoe(claiming(6), 0x21) + bytes(10), 0x8864)
    info = trace_of(tmp_path, 1, [frame, frame])
    assert info["packets_beyond_frame"] == 2
    assert "packets_beyond_frame" in [finding["code"] for finding in info["findings"]]


def test_every_link_type_that_is_read_is_written_by_the_tests() -> None:
    read_ = {number for number in LINK_TYPES if is_read(number) and linktype_name(number) != "juniper"}
    assert read_ <= set(WRITTEN)
    assert linktype_name(239) == "nflog" and linktype_name(134) == "juniper" and not is_read(195)


def test_headers_are_readable_anywhere() -> None:
    """Kernels that tunnels call: over any bytes, from any place on."""
    parts = np.zeros(MOST_PARTS + 1, np.uint64)
    data = batch_of([(1, 1, b"??" + write.data_frame(SNAP4))]).data
    assert wireless.after_wifi(data, parts, 2, len(data), False) == (2 + 24 + 8, 4, IP_FOUND)
    swapped = data.copy()
    swapped[2:4] = data[3], data[2]
    assert wireless.after_wifi(swapped, parts, 2, len(data), True) == (2 + 24 + 8, 4, IP_FOUND)
    sealed = batch_of([(1, 1, write.data_frame(bytes(50), protected=True))]).data
    assert wireless.after_wifi(sealed, parts, 0, len(sealed), False) == (-1, 0, WIFI_PROTECTED)
    chained = batch_of([(1, 1, tunnels.nsh(ethernet(IP6, 0x86DD), 3))]).data
    assert announced.after(chained, parts, 0, len(chained), NSH_FOLLOWS) == (24 + 14, 6, IP_FOUND)
    assert announced.after(chained, parts, 24, len(chained), FRAME_FOLLOWS) == (24 + 14, 6, IP_FOUND)
