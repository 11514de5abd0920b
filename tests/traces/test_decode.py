"""Decoding frames: against the twin on seeded and Hypothesis frames, every prefix of frames, and hostile bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.traces import reasons
from segcast.traces.headers import announced
from segcast.traces.headers.decode import INNER, LAYERS, REASONS, allocate, decode_batch
from segcast.traces.headers.tenants import MOST_PARTS, Tenants
from tests.support.decoding import batch_of, decoded, decoded_batch
from tests.support.strategies import Seeded, frames, make_frame
from tests.twins import writing
from tests.twins.decode import NOT_IP, decode
from tests.twins.frames import LINK_TYPES, Frame, mutated

Triple = tuple[int, int, bytes]


def triple(frame: Frame) -> Triple:
    return frame.link_type, frame.wire_bytes, frame.captured


def assert_decodes_like_twin(batch: list[Triple]) -> None:
    for layer in LAYERS:
        assert_layer_like_twin(batch, layer)


def assert_layer_like_twin(batch: list[Triple], layer: str) -> None:
    ours = decoded_batch(batch_of(batch), layer=layer)
    for comp, (link_type, wire, frame) in zip(ours, batch, strict=True):
        ref = decode(link_type, frame, wire, inner=layer == INNER)
        assert comp == ref, (layer, link_type, wire, frame.hex())


@settings(max_examples=200, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=5))
def test_decodes_like_the_twin(batch: list[Frame]) -> None:
    assert_decodes_like_twin([triple(frame) for frame in batch])


@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_decodes_seeded_frames_like_the_twin(link_type: int) -> None:
    chooser = Seeded(link_type)
    assert_decodes_like_twin([triple(make_frame(chooser, link_type)) for _ in range(1500)])


@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_decodes_every_prefix_like_the_twin(link_type: int) -> None:
    chooser = Seeded(1000 + link_type)
    for _ in range(12):
        frame = make_frame(chooser, link_type, sound=True)
        shown = frame.captured[:360]
        assert_decodes_like_twin([(link_type, frame.wire_bytes, shown[:n]) for n in range(len(shown) + 1)])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*LINK_TYPES, 2, 65535]), st.integers(0, 2000), st.binary(max_size=90))))
def test_decodes_noise_like_the_twin(batch: list[Triple]) -> None:
    assert_decodes_like_twin(batch)


def test_decodes_mutated_frames_like_the_twin() -> None:
    chooser = Seeded(7)
    sound = [make_frame(chooser, sound=True) for _ in range(200)]
    batch = []
    for frame in sound:
        batch += [(frame.link_type, frame.wire_bytes, mutated(chooser, frame.captured[:120])) for _ in range(20)]
    assert_decodes_like_twin(batch)


def test_no_byte_after_a_frame_matters() -> None:
    chooser = Seeded(11)
    cut = [triple(make_frame(chooser)) for _ in range(300)]
    closely = batch_of(cut)
    rows = decoded_batch(closely)
    data = np.full(closely.data.size + 300 * 64, 0xFF, np.uint8)
    start = closely.start + 64 * np.arange(1, 301)
    for i in range(300):
        frame = cut[i][2]
        data[start[i] : start[i] + len(frame)] = np.frombuffer(frame, np.uint8)
    assert decoded_batch(closely._replace(data=data, start=start)) == rows


def test_columns_are_reused() -> None:
    into = allocate(10)
    for column in into:
        column.fill(77)
    frame = triple(make_frame(Seeded(1), 1, sound=True))
    tenants = Tenants()
    headers = decode_batch(batch_of([frame, (1, 60, b"")]), into, tenants=tenants)
    assert np.shares_memory(headers.valid, into.valid)
    assert decoded(headers, tenants) == [decode(*(frame[0], frame[2], frame[1])), NOT_IP]
    assert (into.valid[2:] == 77).all()


UDP = writing.ipv4(writing.udp(), 17, src=bytes([10, 0, 0, 1]))


@pytest.mark.parametrize(
    ("link_type", "frame", "reason"),
    [
        (1, writing.ethernet(UDP, 0x0800), "ip"),
        (1, writing.ethernet(bytes(28), 0x0806), "arp"),
        (1, writing.ethernet(bytes(28), 0x88CC), "lldp"),
        (1, writing.ethernet(bytes(28), 0x8809, [(0x8100, 7)]), "slow protocols"),
        (1, writing.ethernet(bytes(28), 0x88F7), "ptp"),
        (1, writing.ethernet(bytes(28), 0x88E5), "macsec"),
        (1, writing.ethernet(bytes(28), 0x8863), "ppp control"),
        (1, writing.ethernet(bytes(28), 0x1234), "other ethertype"),
        (1, writing.ethernet(b"\x42\x42\x03" + bytes(35), 38), "802.2 llc"),
        (1, writing.ethernet(writing.snap(UDP, 0x0800), 100), "ip"),
        (1, writing.ethernet(writing.pppoe(UDP, 0x0021), 0x8864), "ip"),
        (1, writing.ethernet(writing.pppoe(bytes(20), 0xC021), 0x8864), "ppp control"),
        (1, writing.ethernet(writing.snap(writing.pppoe(UDP, 0x0021), 0x8864), 100), "ip"),
        (1, writing.ethernet(writing.mpls(bytes(20), [5, 6]), 0x8847), "mpls without ip"),
        (1, writing.ethernet(UDP[:19], 0x0800), "truncated"),
        (1, bytes(13), "truncated"),
        (1, writing.ethernet(b"\x65" + UDP[1:], 0x0800), "malformed"),
        (1, writing.ethernet(b"\x44" + UDP[1:], 0x0800), "malformed"),
        (9, b"\xff\x03\x00\x21" + UDP, "ip"),
        (9, b"\xff", "truncated"),
        (0, bytes([7, 0, 0, 0]) + UDP, "other address family"),
        (228, b"\x60" + bytes(60), "malformed"),
        (195, UDP, "unsupported link type"),
    ],
)
def test_why_there_is_no_ip_header(link_type: int, frame: bytes, reason: str) -> None:
    headers = decode_batch(batch_of([(link_type, len(frame), frame)]))
    assert REASONS[headers.reason[0]] == reason
    assert bool(headers.valid[0]) == (reason == "ip")


def test_places_of_headers() -> None:
    segment = writing.tcp(1, 2, seq=3, ack=4, data_offset=5, flags=2, window=5)
    packet = writing.ipv6(writing.extension(6, 1) + segment, 60, src=bytes(16))
    frame = writing.ethernet(packet, 0x86DD, [(0x88A8, 1), (0x8100, 2)])
    headers = decode_batch(batch_of([(1, len(frame), frame)]))
    assert (headers.ip_start[0], headers.transport_start[0]) == (22, 22 + 40 + 16)
    assert (headers.version[0], headers.protocol[0]) == (6, 6)


def test_headers_seldom_seen_are_read_within_the_frame() -> None:
    """802.2, PPPoE and PPP, cut anywhere and followed by noise: a place is given exactly where IP was found."""
    random = Seeded(5).random
    for _ in range(3000):
        begins = random.choice([b"", b"\xaa\xaa\x03\0\0\0", b"\x11\0\0\1\0\x10", b"\xff\x03\0"])
        frame = begins + random.randbytes(random.randrange(40))
        data, parts = np.frombuffer(frame, np.uint8), np.zeros(MOST_PARTS + 1, np.uint64)
        for place, version, why in (
            announced.after_type(data, parts, 0, len(frame), 100, True),
            announced.after_type(data, parts, 0, len(frame), 0x8864, False),
            announced.after(data, parts, 0, len(frame), reasons.PPP_FOLLOWS),
        ):
            assert (why == reasons.IP_FOUND) == (version != 0)
            assert place <= len(frame)
            assert place >= 0 or why != reasons.IP_FOUND


def test_an_empty_batch_has_no_rows() -> None:
    assert decoded_batch(batch_of([])) == []
