"""What a steering host's frames are at the first hop: every byte as `segcast rewrite` writes it for flow and path.

Nothing may differ but in what a host's own stack fills in later: here its offloads are off, so nothing does, checksums
and MAC addresses included (the testbed's wires have the scenario's).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.testbed.bed import down
from segcast.replay.testbed.plan import plan_bed
from segcast.replay.testbed.spaces import spaces, within
from tests.conftest import Run
from tests.support.beds import NAME, needs_namespaces
from tests.support.steered_hosts import ADDRESSES, ETH_P_IPV6, settled, space_of, stand, steered, transfer
from tests.support.steering import needs_bpf
from tests.twins.hashing import flow_key, mix, scale

pytestmark = [needs_namespaces, needs_bpf]

_RECEIVE_BUFFER_BY_FORCE = 33  # SO_RCVBUFFORCE
_SOL_PACKET, _STATISTICS = 263, 6
_OUTGOING = 4
SIZE = 200_000
INSIDE = {4: b"\x08\x00", 6: b"\x86\xdd"}


@pytest.fixture(scope="module", params=["encaps", "reduced", "usid"])
def bed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ValidScenario, Path]]:
    folder = tmp_path_factory.mktemp("wire")
    yield stand(folder, request.param), folder / "s.toml"
    down(NAME)
    assert spaces(f"{NAME}-") == []


def first_hop(scenario: ValidScenario) -> tuple[str, str]:
    """The leaf's namespace, and its interface that faces the steering host."""
    spaces_of = {space.namespace: space for space in plan_bed(scenario, NAME).spaces}
    mac = spaces_of[space_of("leaf0")].interfaces[0].mac
    leaf = f"{NAME}-leaf0"
    return leaf, next(each.name for each in spaces_of[leaf].interfaces if each.peer_mac == mac)


def listening(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_BY_FORCE, 1 << 26)
    wire.bind((interface, ETH_P_IPV6))
    wire.setblocking(False)
    return wire


def caught(wire: socket.socket) -> list[bytes]:
    """The frames with something inside that came in meanwhile; none was lost."""
    frames = []
    while True:
        try:
            frame, (_, _, kind, *_) = wire.recvfrom(1 << 17)
        except BlockingIOError:
            break
        if kind != _OUTGOING and frame[14 + 6] in (4, 41, 43):
            frames.append(frame)
    assert struct.unpack("II", wire.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1] == 0
    return frames


def inner_of(frame: bytes) -> bytes:
    """The IP packet behind the outer header."""
    return frame[54 + (8 * (frame[55] + 1) if frame[20] == 43 else 0) :]


def ports_by_slot(family: int) -> list[int]:
    """A port of the sender for each of the four slots that `host-ecmp` then takes (docs/model.md)."""
    source, target = (ADDRESSES[place][family] for place in ADDRESSES)
    found: dict[int, int] = {}
    port = 20_000
    while len(found) < 4:
        found.setdefault(scale(mix(flow_key(source, target, 6, port, 5001) ^ mix(1)), 4), port)
        port += 1
    return [found[slot] for slot in range(4)]


def write_capture(path: Path, packets: list[bytes]) -> None:
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for number, packet in enumerate(packets):
        size = 14 + len(packet)
        out += struct.pack("<IIII", 1_700_000_000, number, size, size) + bytes(12) + INSIDE[packet[0] >> 4] + packet
    path.write_bytes(out)


def written(path: Path) -> list[bytes]:
    """The frames of a capture that `rewrite` wrote."""
    raw, at, frames = path.read_bytes(), 24, []
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at + 8)
        frames.append(raw[at + 16 : at + 16 + size])
        at += 16 + size
    return frames


@pytest.mark.parametrize("super_frames", [True, False], ids=["super-frames", "single"])
def test_frames_are_those_that_rewrite_writes(
    bed: tuple[ValidScenario, Path], super_frames: bool, tmp_path: Path, run: Run
) -> None:
    """Over IPv4 and IPv6, four flows each, of 1500 bytes: all is delivered, on all paths."""
    scenario, file = bed
    leaf, facing = first_hop(scenario)
    with steered(scenario, "leaf0", "host-ecmp", "1ms") as host, ExitStack() as stack:
        wire = stack.enter_context(within(leaf, lambda: listening(facing)))
        for family in (0, 1):
            for port in ports_by_slot(family):
                transfer(family, SIZE, super_frames=super_frames, port=port)
        frames = caught(wire)
        tally = host.tally()
        assert tally["flows"] == tally["flowlets"] == 8
        lacking = ("dropped", "push_failed", "too_long", "uncounted", "evicted", "contended", "behind")
        assert not any(tally[name] for name in lacking)
        # Frames are cut behind the program, if they are super-frames; else each is steered by itself.
        assert (tally["steered"] < len(frames)) == super_frames
        assert all(count > SIZE for count in host.sent_bytes().values())
        assert settled(host) == [0] * 8
    packets = [inner_of(frame) for frame in frames]
    assert max(map(len, packets)) == 1500
    write_capture(tmp_path / "inner.pcap", packets)
    (tmp_path / "s.toml").write_text('policies = ["host-ecmp"]\nseeds = [1]\n' + file.read_text())
    forecast = ["--scenario", tmp_path / "s.toml", "--out", tmp_path / "f"]
    ran = run("forecast", tmp_path / "inner.pcap", *forecast)
    assert ran.code == 0, ran.err
    ran = run("rewrite", tmp_path / "f", "--policy", "host-ecmp", "--out", tmp_path / "w")
    assert ran.code == 0, ran.err
    for family, name in enumerate(("10.0.0.1.pcap", "2001-db8--1.pcap")):
        own = [frame for frame, packet in zip(frames, packets, strict=True) if packet[0] >> 4 == (4, 6)[family]]
        expected = written(tmp_path / "w" / name)
        assert len(own) == len(expected) > 4 * SIZE // 1500
        assert len({frame[38:54] for frame in own}) == 4
        for made, asked in zip(own, expected, strict=True):
            assert made == asked
