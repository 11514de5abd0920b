"""Packets of every kind as Hypothesis draws them, and the check that each was rewritten as asked."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

from hypothesis import strategies as st

from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.srv6.templates import Encapsulation
from tests.support.rewriting import (
    CAPTURED_MACS,
    CHECKED,
    DESTINATION_MAC,
    EXTENSIONS,
    PROTOCOLS,
    SCTP,
    SOURCE_MAC,
    TCP,
    UDP,
    UDP_LITE,
    Case,
    checksum_at,
    fragment,
    make,
)
from tests.twins.srv6 import Frame, check_packet, parse_frame, read_pcap


@st.composite
def packets(draw: st.DrawFn, flow: int = 0) -> Case:
    """A packet of flow 0 (IPv4) or 1 (IPv6), whole or cut anywhere behind its fixed IP header."""
    version = 6 if flow % 2 else 4
    rng = random.Random(draw(st.integers(0, 2**32)))
    protocol = draw(st.sampled_from(PROTOCOLS[version]))
    size = draw(st.one_of(st.integers(0, 80), st.sampled_from((1, 536, 1447, 1448))))
    kind = draw(st.sampled_from(("plain", "plain", "extended", "first", "later")))
    if kind == "extended":
        chain = st.lists(st.sampled_from(EXTENSIONS), min_size=1, max_size=4, unique=True)
        case = make(rng, version, protocol, size, draw(chain))
    else:
        case = make(rng, version, protocol, size + (48 if kind in ("first", "later") else 0))
    if kind == "first" or (kind == "later" and protocol != 59):
        case = fragment(rng, case, 0 if kind == "first" else 8 * draw(st.integers(1, 5)))
    fixed = 20 if version == 4 else 40
    how = draw(st.sampled_from(("whole", "whole", "cut", "cut early", "spoilt", "offloaded", "padded")))
    if how in ("cut", "cut early"):
        most = len(case.packet) if how == "cut" else min(len(case.packet), case.transport + 24)
        case = replace(case, captured=draw(st.integers(fixed, most)))
    # An IPv6 length of 0 stands for a segment yet to be cut: what follows then counts as the packet's.
    empty = version == 6 and len(case.packet) == fixed
    return replace(
        case,
        flow=flow,
        spoilt=how == "spoilt" and not case.fragment,
        total_zero=how == "offloaded" and version == 4 and not case.fragment,
        padding=draw(st.integers(1, 40)) if how == "padded" and not empty else 0,
    )


def verify(folder: Path, cases: list[Case], around: Encapsulation, hosts: list[int], done: RewriteSummary) -> None:
    """Check every packet written for the cases against what was asked for; all of them are expected.

    But an SRH is never inserted into an IPv4 packet.
    """
    if around.mode.inserts:
        foreign = sum(bool(case.version == 4 and around.segments6[case.path]) for case in cases)
        assert done.skipped == ({"ipv4_without_insertion": foreign} if foreign else {})
        cases = [case for case in cases if case.version == 6 or not around.segments6[case.path]]
    else:
        assert done.skipped == {}
    assert done.packets == len(cases)
    assert sum(file.packets for file in done.files) == len(cases)
    labels: dict[int, set[int]] = {}
    total = 0
    for file in done.files:
        host = int(IPv6Address(file.host)) >> 96 & 0xFFFF
        mine = sorted((case for case in cases if hosts[case.flow] == host - 1), key=lambda case: case.send_ns)
        records = read_pcap(Path(file.path))
        assert [record.time_ns for record in records] == [case.send_ns for case in mine]
        assert (file.first_ns, file.last_ns) == (mine[0].send_ns, mine[-1].send_ns)
        assert file.bytes == sum(len(record.frame) for record in records)
        total += file.bytes
        for record, case in zip(records, mine, strict=True):
            key = None if around.key is None else (around.key.number, around.key.secret, around.key.flag)
            segments = (around.segments4 if case.version == 4 else around.segments6)[case.path]
            # An SRH of the packet's own is none that was inserted.
            mode = "none" if around.mode.inserts and not segments else around.mode
            frame = parse_frame(record.frame, mode, tag=around.tag, key=key)
            verify_outer(frame, case, around, host - 1)
            verify_inner(frame.inner, case)
            if frame.outer and not around.mode.inserts:
                labels.setdefault(case.flow, set()).add(frame.outer.flow_label)
    assert done.bytes == total
    assert all(len(values) == 1 and 0 not in values for values in labels.values())
    assert {path.name for path in (folder / "out").iterdir()} == {
        "rewrite.json",
        *(Path(file.path).name for file in done.files),
    }


def verify_outer(frame: Frame, case: Case, around: Encapsulation, host: int) -> None:
    assert (frame.source_mac, frame.destination_mac) == (SOURCE_MAC, DESTINATION_MAC)
    segments = (around.segments4 if case.version == 4 else around.segments6)[case.path]
    hops = case.packet[8 if case.version == 4 else 7]
    assert frame.inside == (CAPTURED_MACS if around.mode.layer_2 else b"")
    if around.mode == "none" or (around.mode.inserts and not segments):
        assert frame.outer is None
        return
    assert frame.outer is not None
    if around.mode.inserts:
        segments = (*segments, case.packet[24:40])
    assert tuple(sid.packed for sid in frame.outer.segments) == segments
    listed = len(segments) - around.mode.reduced
    if not listed and (around.key or around.tag):
        listed = 1
    assert frame.outer.srh_bytes == (8 + 16 * listed + 40 * bool(around.key) if listed else 0)
    if around.mode.inserts:
        return  # the rest is the packet's own, and compared with it
    assert frame.outer.hop_limit == (hops if around.hop_limit is None else around.hop_limit)
    assert frame.outer.source.packed == around.source[host]
    word = int.from_bytes(case.packet[:2], "big")
    assert frame.outer.traffic_class == (word & 255 if case.version == 4 else word >> 4 & 255)


def verify_inner(inner: bytes, case: Case) -> None:
    """A whole packet is what was sent; a cut one is valid, begins as captured, and is zero from there on."""
    assert len(inner) == len(case.packet)
    if not case.cut:
        assert inner == case.packet
        return
    found = check_packet(inner)
    if case.fragment:
        assert case.captured < case.transport or found.checksum == "fragment"
    elif case.captured >= case.transport:
        assert found.protocol == case.protocol
        unused = case.protocol == UDP and case.packet[case.transport + 6 : case.transport + 8] == b"\0\0"
        known = case.protocol in CHECKED[case.version]
        assert found.checksum in (("none", "good") if unused else ("good",) if known else ("unknown",))
    fields = mended_fields(case)
    begin, following = cut_unit(case)
    fields |= {*range(begin, begin + 4), *range(following, following + 4)}
    for at in range(min(begin, case.captured)):
        assert inner[at] == case.packet[at] or at in fields, f"captured byte {at} differs"
    for at in range(begin, len(inner)):
        original = case.packet[at] if at < case.captured else 0
        assert inner[at] in (0, original) or at in fields, f"byte {at} is neither as captured nor zero"


def mended_fields(case: Case) -> set[int]:
    """Places whose bytes rewriting may set: lengths, checksums, and TCP's data offset."""
    fields = {2, 3, 10, 11} if case.version == 4 else {4, 5}
    at = case.transport
    if not later_fragment(case) and case.protocol in CHECKED[case.version]:
        checksum = checksum_at(replace(case, fragment=False))
        assert checksum is not None
        fields |= set(range(checksum, checksum + (4 if case.protocol == SCTP else 2)))
        if case.protocol == TCP:
            fields.add(at + 12)
        if case.protocol == SCTP and case.captured < at + 12:
            fields |= set(range(at + 12, at + 16))  # a PAD chunk
        if case.protocol in (UDP, UDP_LITE):
            fields |= {at + 4, at + 5}
    return fields


def cut_unit(case: Case) -> tuple[int, int]:
    """Where the header, list of options or chunk begins that the cut runs through, and where the next one does."""
    cut = case.captured
    if case.version == 4 and cut < case.transport:
        return 20, case.transport
    at, following = 40, case.packet[6]
    while case.version == 6 and at < case.transport:
        size = case.packet[at + 1] * 4 + 8 if following == 51 else case.packet[at + 1] * 8 + 8
        size = 8 if following == 44 else size
        if cut < at + size:
            return at, at + size
        at, following = at + size, case.packet[at]
    at = case.transport
    if case.protocol == TCP and not later_fragment(case):
        header = (case.packet[at + 12] >> 4) * 4
        if cut < at + header:
            return at + 20, at + header
    if case.protocol == SCTP and not case.fragment:
        at += 12
        while at < len(case.packet):
            size = -(-int.from_bytes(case.packet[at + 2 : at + 4], "big") // 4) * 4
            if cut < at + size:
                return at, at + size
            at += size
    return max(cut, at), max(cut, at)


def later_fragment(case: Case) -> bool:
    """Whether the case is a fragment without a transport header."""
    place, bits = (6, 0x1FFF) if case.version == 4 else (42, 0xFFF8)
    return case.fragment and int.from_bytes(case.packet[place : place + 2], "big") & bits > 0
