"""Packets captured twice: the kernel against its twin, and what tells packets apart that look alike."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.traces.captures.reader import FrameBatch
from segcast.traces.headers.decode import decode_batch
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.quality.duplicates import WAYS, Recent, find_duplicates, nothing_seen
from segcast.traces.trace import Trace
from tests.support.decoding import batch_of
from tests.support.strategies import Drawn, Seeded
from tests.twins import writing
from tests.twins.choosing import Chooser
from tests.twins.copies import verdicts
from tests.twins.frames import make_frame
from tests.twins.writing import Captured

Timed = tuple[int, int, bytes, int]  # time, link type, captured, wire bytes
ETHERNET, RAW = 1, 101
US, MS = 1000, 10**6


def verdicts_of(frames: list[Timed], sizes: list[int], layer: str = "outer", recent: Recent | None = None) -> list[str]:
    """What the kernel says, fed batches of `sizes` again and again."""
    recent = nothing_seen() if recent is None else recent
    found: list[str] = []
    begin = turn = 0
    while begin < len(frames):
        part = frames[begin : begin + sizes[turn % len(sizes)]]
        batch: FrameBatch = batch_of([(link, wire, frame) for _, link, frame, wire in part])
        batch = batch._replace(time_ns=np.array([time_ns for time_ns, *_ in part], np.int64))
        headers = decode_batch(batch, layer=layer)
        duplicate = np.empty(len(part), np.bool_)
        find_duplicates(batch.data, batch.start, batch.captured, headers, batch.time_ns, recent, duplicate)
        found += ["copy" if d else "" for d in duplicate]
        begin += len(part)
        turn += 1
    return found


def agrees(frames: list[Timed], sizes: list[int], layer: str) -> None:
    recent = nothing_seen()
    wanted = verdicts(frames, inner=layer == "inner")
    assert verdicts_of(frames, sizes, layer, recent) == ["copy" if v == "copy" else "" for v in wanted]
    assert (recent.tally[0]["copies"], recent.tally[0]["undecided"]) == (
        wanted.count("copy"),
        wanted.count("undecided"),
    )


def similar(c: Chooser, link: int, frame: bytes, wire: int) -> tuple[int, bytes, int]:
    """The frame again, a little changed or cut, or not."""
    kind = c.integer(0, 5)
    b = bytearray(frame)
    if kind == 1 and b:
        b[c.integer(0, len(b) - 1)] ^= c.pick((1, 16, 255))
    elif kind == 2 and len(b) > 60:
        b[c.integer(14, 59)] ^= c.pick((1, 64))
    elif kind == 3:
        b = b[: c.integer(0, len(b))]
    elif kind == 4 and link == ETHERNET:
        b[12:12] = struct.pack(">HH", 0x8100, 7)
        wire += 4
    return link, bytes(b), wire


def made(c: Chooser, count: int) -> list[Timed]:
    """Frames and what is similar to them; never so many alike that one is forgotten."""
    frames: list[Timed] = []
    families: list[list[Timed]] = []
    now = 10**18
    while len(frames) < count:
        now += c.pick((0, 1, 400 * US, MS, MS + 1, 9 * MS, 10 * MS, -50 * US))
        family = families[-1 - c.integer(0, min(len(families) - 1, 3))] if families and c.integer(0, 3) else []
        if family and len(family) <= WAYS:
            _, link, frame, wire = c.pick(family)
            frames.append((now, *similar(c, link, frame, wire)))
        else:
            new = make_frame(c, c.pick((ETHERNET, RAW)))
            frames.append((now, new.link_type, new.captured, new.wire_bytes))
            families.append(family := [])
        family.append(frames[-1])
    return frames


@pytest.mark.parametrize("layer", ["outer", "inner"])
@pytest.mark.parametrize("seed", range(6))
def test_copies_are_those_of_the_twin_whatever_the_batches(seed: int, layer: str) -> None:
    c = Seeded(seed)
    frames = made(c, 400)
    agrees(frames, [c.integer(1, 7) for _ in range(5)], layer)
    agrees(frames, [400], layer)


@pytest.mark.parametrize("seed", [1169, 1979, 2029, 4111, 6554, 21172, 35409])
def test_headers_that_contradict_one_another_make_no_difference(seed: int) -> None:
    """Packets that claim more than what encloses them has, links that say less, and one with two fragment headers."""
    for layer in ("inner", "outer"):
        c = Seeded(seed)
        agrees(made(c, 40), [c.integer(1, 5)], layer)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["outer", "inner"]))
def test_copies_of_any_frames_are_those_of_the_twin(data: st.DataObject, layer: str) -> None:
    c = Drawn(data.draw)
    agrees(made(c, 12), [c.integer(1, 5)], layer)


# Streams whose packets differ only where nobody used to look; each is given by the number of the packet.


def ip4(payload: bytes, protocol: int, ip_id: int = 0, atomic: bool = False) -> bytes:
    packet = bytearray(writing.ipv4(payload, protocol, identification=ip_id))
    packet[6] |= 0x40 if atomic else 0
    return bytes(packet)


def six(n: int) -> bytes:
    here, there = (bytes.fromhex("20010db8") + bytes(11) + bytes([k]) for k in (1, 2))
    return writing.ipv6(writing.tcp(seq=1000 * n, payload=bytes(200)), 6, src=here, dst=there)


def rtp(n: int) -> bytes:
    return ip4(writing.udp(4000, 5004, payload=struct.pack(">HHI", 0x8000, n, 160 * n) + bytes(160)), 17, 0x1234, True)


def late(n: int) -> bytes:
    """Differs in its last bytes alone."""
    return ip4(writing.udp(payload=bytes(1200) + struct.pack(">I", n)), 17, 77, True)


def sack(n: int) -> bytes:
    """Left to the card, the checksum is that of the pseudo header: the same for all."""
    segment = bytearray(writing.tcp(data_offset=8))
    segment[20:32] = struct.pack(">BBBBII", 1, 1, 5, 10, 5000, 6000 + 1448 * n)
    return ip4(bytes(segment), 6)


def srv6(n: int) -> bytes:
    routing = writing.extension(41, 2, bytes([4, 0, 0, 0, 0, 0]) + bytes(16))
    return writing.ipv6(routing + six(n), 43)


def ethernet(packet: bytes) -> bytes:
    return writing.ethernet(packet, 0x86DD)


STREAMS = {
    "rtp": rtp,
    "late": late,
    "sack": sack,
    "srv6": srv6,
    "vxlan": lambda n: ip4(writing.vxlan(ethernet(six(n))), 17),
    "gre": lambda n: ip4(writing.gre(six(n), 0x86DD), 47),
    "6in4": lambda n: ip4(six(n), 41),
    "gtp-u": lambda n: ip4(writing.udp(2152, 2152, payload=struct.pack(">BBHI", 0x30, 255, 260, 9) + six(n)), 17),
    "echo": lambda n: ip4(struct.pack(">BBHHH", 8, 0, 0, 1, n) + bytes(56), 1, 5, True),
    "echo of ipv6": lambda n: writing.ipv6(struct.pack(">BBHHH", 128, 0, 0, 1, n) + bytes(56), 58),
}


def traced(folder: Path, packets: list[tuple[int, bytes]], snaplen: int = 65_535, **choices: Any) -> Trace:
    capture = folder / "c.pcap"
    records = [Captured(10**18 + t, len(p), p[:snaplen]) for t, p in packets]
    capture.write_bytes(writing.pcap(records, RAW, nanoseconds=True))
    return ingest([capture], folder / "t.trace", choices=choose(**choices))


def finding(trace: Trace, code: str) -> dict[str, Any] | None:
    return next((f for f in trace.info["findings"] if f["code"] == code), None)


def hop_later(packet: bytes) -> bytes:
    """As the next router sends it."""
    b = bytearray(packet)
    if b[0] >> 4 == 4:
        b[8] -= 1
        b[1], b[10:12] = 3, b"\xab\xcd"
    else:
        b[7] -= 1
        b[1] |= 0x30
    return bytes(b)


@pytest.mark.parametrize("name", STREAMS)
def test_packets_that_differ_anywhere_are_no_copies(tmp_path: Path, name: str) -> None:
    packets = [(n * 10 * US, STREAMS[name](n)) for n in range(200)]
    assert finding(traced(tmp_path, packets), "duplicate_packets") is None
    twice = [pair for t, p in packets for pair in ((t, p), (t + 2 * US, hop_later(p)))]
    trace = traced(tmp_path, twice, drop_duplicates=True)
    found = finding(trace, "duplicate_packets")
    assert found is not None and found["count"] == 200 and found["detail"].startswith("50 % of the packets repeat")
    assert trace.packet_count == 200
    assert trace.packet_table()["frame_number"].to_pylist() == list(range(1, 400, 2))


def test_a_packet_on_its_way_through_segments_is_the_same(tmp_path: Path) -> None:
    """Segments Left counts down and the destination follows the list."""
    segments = [bytes(15) + bytes([n]) for n in (9, 8)]
    packets = []
    for n in range(20):
        for left in (1, 0):
            routing = writing.extension(41, 4, bytes([4, left, 1, 0, 0, 0]) + b"".join(segments))
            packets.append((n * 100 * US + left, writing.ipv6(routing + six(n), 43, dst=segments[left])))
        packets[-2:] = packets[:-3:-1]
    found = finding(traced(tmp_path, packets), "duplicate_packets")
    assert found is not None and found["count"] == 20


def test_a_packet_sent_over_two_paths_is_a_copy_unless_it_goes_elsewhere() -> None:
    def over(middle: int, last: int) -> bytes:
        lists = bytes(15) + bytes([last]) + bytes(15) + bytes([middle])
        return writing.ipv6(writing.extension(41, 4, bytes([4, 1, 1, 0, 0, 0]) + lists) + six(1), 43, dst=lists[16:])

    for other, verdict in ((over(8, 1), "copy"), (over(7, 2), "")):
        frames = [(0, RAW, over(7, 1), 400), (5, RAW, other, 400)]
        assert verdicts_of(frames, [1]) == verdicts_of(frames, [2]) == verdicts(frames) == ["", verdict]


def test_a_sum_that_the_card_fills_in_later_does_not_tell_packets_apart() -> None:
    packet = rtp(1)
    filled = packet[:26] + b"\x12\x34" + packet[28:]
    assert verdicts_of([(0, RAW, packet, 200), (9, RAW, filled, 200)], [2]) == ["", "copy"]


@pytest.mark.parametrize(
    ("packet", "gap", "copy"),
    [
        (ip4(writing.tcp(payload=b"x"), 6, 9), 10 * MS, True),
        (ip4(writing.tcp(payload=b"x"), 6, 9, True), 10 * MS, True),
        (ip4(writing.udp(), 17, 9), 10 * MS, True),
        (ip4(writing.udp(), 17, 9, True), MS, True),
        (ip4(writing.udp(), 17, 9, True), MS + 1, False),
        (ip4(writing.tcp(), 6), MS + 1, False),
        (six(1), MS + 1, False),
        (ip4(ip4(writing.tcp(), 6, 9, True), 4), 10 * MS, True),
        (writing.ipv6(ip4(writing.tcp(), 6, 9, True), 4), 10 * MS, True),
        (writing.ipv6(ip4(writing.udp(), 17, 9, True), 4), MS + 1, False),
        (writing.ipv6(writing.fragment_header(17, 0, True, 5) + writing.udp(), 44), 10 * MS, True),
    ],
)
def test_how_long_a_copy_may_take(packet: bytes, gap: int, copy: bool) -> None:
    frames = [(0, RAW, packet, len(packet)), (gap, RAW, packet, len(packet))]
    assert verdicts_of(frames, [1]) == ["", "copy" if copy else ""]
    assert verdicts(frames)[1] == ("copy" if copy else "")


def test_copies_are_found_among_many_alike() -> None:
    """The same stream from a second point, 3 ms later: hundreds of packets of equal headers lie between."""
    stream = [(n * 10 * US, RAW, rtp(n), 200) for n in range(600)]
    merged = sorted([*stream, *((t + 300 * US + 1, link, p, w) for t, link, p, w in stream)])
    assert verdicts_of(merged, [100]).count("copy") == 600


def test_what_is_out_of_reach_is_no_copy_whatever_the_batches() -> None:
    recent = nothing_seen(64, 1 << 12)
    packets = [rtp(n) for n in range(30)]
    size = len(packets[0])
    frames = [(n, RAW, packets[n % 30], size) for n in range(60)]
    short, long = (nothing_seen(64, 1 << 12), nothing_seen(64, 1 << 13))
    assert (1 << 12) < 29 * size < (1 << 13)
    for sizes in ([60], [7], [1, 13]):
        assert verdicts_of(frames, sizes, recent=short).count("copy") == 0
        assert verdicts_of(frames, sizes, recent=long).count("copy") == 30
        short, long = (nothing_seen(64, 1 << 12), nothing_seen(64, 1 << 13))
    assert verdicts(frames, reach=1 << 12).count("copy") == 0
    assert verdicts_of([*frames[:30], (31, RAW, packets[29], size)], [1], recent=recent)[-1] == "copy"


def test_a_copy_cut_shorter_is_compared_as_far_as_both_go(tmp_path: Path) -> None:
    packet = ip4(writing.tcp(payload=bytes(1000)), 6, 9)
    capture = tmp_path / "c.pcap"
    records = [Captured(0, 1040, packet), Captured(1000, 1040, packet[:82])]
    capture.write_bytes(writing.pcap(records, RAW, nanoseconds=True))
    found = finding(ingest([capture], tmp_path / "t.trace"), "duplicate_packets")
    assert (
        found is not None
        and "of 1 only the captured part was compared (down to 82 bytes of the frame)" in found["detail"]
    )


def test_the_finding_says_how_little_was_compared(tmp_path: Path) -> None:
    packets = [(n * MS, ip4(writing.tcp(seq=n, payload=bytes(100)), 6, n + 1)) for n in range(10)]
    twice = [pair for t, p in packets for pair in ((t, p), (t + 5, p))]
    found = finding(traced(tmp_path, twice, snaplen=40), "duplicate_packets")
    assert found is not None and found["count"] == 10
    assert "of 10 only the headers were compared (40 bytes of the frame)" in found["detail"]
    whole = finding(traced(tmp_path, twice), "duplicate_packets")
    assert whole is not None and "compared" not in whole["detail"]


@pytest.mark.parametrize("name", ["rtp", "srv6", "gre", "vxlan"])
def test_what_was_not_captured_makes_no_copy(tmp_path: Path, name: str) -> None:
    """Headers of a stream are alike, and nothing in them stands for the payload."""
    snaplen = {"rtp": 28, "srv6": 100, "gre": 60, "vxlan": 80}[name]
    packets = [(n * 10 * US, STREAMS[name](n)) for n in range(100)]
    trace = traced(tmp_path, packets, snaplen=snaplen, drop_duplicates=True)
    assert finding(trace, "duplicate_packets") is None
    found = finding(trace, "possible_duplicates")
    assert found is not None and (found["severity"], found["count"]) == ("warning", 99)
    assert f"before, as far as they were captured (down to {snaplen} bytes of the frame)" in found["detail"]
    assert "none of them was dropped" in found["detail"]
    assert trace.packet_count == 100


def test_a_computed_checksum_stands_for_what_was_not_captured(tmp_path: Path) -> None:
    def datagram(n: int) -> bytes:
        packet = bytearray(rtp(n))
        packet[26:28] = struct.pack(">H", 0x4000 + n)
        return bytes(packet)

    packets = [(n * 10 * US, datagram(n // 2)) for n in range(100)]
    trace = traced(tmp_path, packets, snaplen=28)
    found = finding(trace, "duplicate_packets")
    assert found is not None and found["count"] == 50
    assert finding(trace, "possible_duplicates") is None


def test_a_sum_of_the_pseudo_header_alone_stands_for_nothing(tmp_path: Path) -> None:
    def datagram(n: int) -> bytes:
        packet = bytearray(rtp(n))
        total = sum(struct.unpack(">4H", packet[12:20])) + 17 + struct.unpack(">H", packet[24:26])[0]
        packet[26:28] = struct.pack(">H", (total & 0xFFFF) + (total >> 16))
        return bytes(packet)

    trace = traced(tmp_path, [(n * 10 * US, datagram(n)) for n in range(100)], snaplen=28)
    assert finding(trace, "duplicate_packets") is None
    found = finding(trace, "possible_duplicates")
    assert found is not None and found["count"] == 99


def test_shares_are_of_what_was_captured(tmp_path: Path) -> None:
    """What was found before copies were dropped or frames cut is no share of what is left."""
    packets = [(n * MS + k, rtp(n)) for n in range(10) for k in range(20)]
    trace = traced(tmp_path, packets, drop_duplicates=True, snaplen=200)
    found = finding(trace, "duplicate_packets")
    assert found is not None and found["detail"].startswith("95 % of the packets repeat")
    facts = describe(trace)
    assert facts["packets"] == 10
    assert facts["wire_bytes"] == sum(entry["wire_bytes"] for entry in facts["protocols"]) == 10 * len(rtp(0))
    assert facts["captured_bytes"] == 10 * min(len(rtp(0)), 200)
    cut = traced(tmp_path, packets, drop_duplicates=True, snaplen=100)
    assert describe(cut)["truncated_share"] == 1
    big = [(n * MS, ip4(writing.tcp(seq=n * 9000, payload=bytes(9000)), 6, n + 1)) for n in range(5)]
    small = [(n * MS + 5, ip4(writing.tcp(seq=n, payload=b"x"), 6, n + 900)) for n in range(5)]
    split = traced(tmp_path, sorted(big + small), split_offload="auto")
    found = finding(split, "super_frames")
    assert found is not None and found["detail"].startswith("50 % of the packets are larger than the wire")
    facts = describe(split)
    assert facts["packets"] > 10 and facts["wire_bytes"] == sum(entry["wire_bytes"] for entry in facts["protocols"])


def test_what_a_rewrite_writes_has_as_many_copies_as_its_source(tmp_path: Path) -> None:
    """Each packet within SRv6, some copies over another path than the packet."""
    packets = []
    for n in range(150):
        many = [six(n), rtp(n), ip4(writing.tcp(seq=n, payload=bytes(300)), 6, n + 1, True)]
        for k, packet in enumerate(many):
            packets += [(n * 20 * MS + k * MS, packet), (n * 20 * MS + k * MS + (n % 9) * 100 * US, hop_later(packet))]
    packets.sort()
    source = traced(tmp_path, packets)
    forecast(source, short_scenario(paths="3x50Mbps", timeouts=["50us"], seeds=[1]), tmp_path / "f")
    rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="random")
    again = ingest([tmp_path / "out"], tmp_path / "again.trace")
    counts = [finding(trace, "duplicate_packets") for trace in (source, again)]
    assert counts[0] is not None and counts[1] is not None
    assert counts[0]["count"] == counts[1]["count"] == 450
    assert len({row["segments"][0] for row in again.segment_list_table().to_pylist()}) == 3
