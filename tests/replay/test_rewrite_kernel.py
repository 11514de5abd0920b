"""Rewritten packets through the kernel's own SRv6 nodes to a socket, and beside the kernel's own encapsulation.

Sender - spine - leaf - host, a network namespace each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.network.sids import on_the_wire
from segcast.analyzer.network.srv6_modes import Mode
from segcast.replay.rewrite.run import RewriteChoices
from segcast.replay.srv6.templates import Encapsulation, Key
from tests.support.rewriting import CAPTURED_MACS, EPOCH_NS, UDP, Case, rewrite
from tests.twins.srv6 import check_packet, folded_sum, parse_frame, read_pcap

MAC = {name: f"02:00:00:00:00:{number:02x}" for number, name in enumerate(("e0", "a0", "b0", "c0", "h0", "r0"), 1)}
ENDS = {4: ("10.0.1.2", "10.0.2.2"), 6: ("fc00:a::2", "fc00:b::2")}
SOURCE = "fc00:a::2"
PORT = 5151
END, END_PSP = "fd00:0:1::1", "fd00:0:1::f"
UNPACK = {4: "fd00:0:20::d4", 6: "fd00:0:20::d6"}
UNPACK_L2 = "fd00:0:20::d2"
BLOCK = "fcbb:bb00::/32"
USIDS = [f"fcbb:bb00:{number:x}::" for number in range(1, 7)]
UNPACK_USID = {4: "fcbb:bb00:20:e0d4::", 6: "fcbb:bb00:20:e0d6::"}
KEY = Key(42, b"secret", flag=True)

LISTEN = """
import json, select, socket, sys, time
port, wanted = int(sys.argv[1]), int(sys.argv[2])
sockets = []
for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    one = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((any_address, port))
    sockets.append(one)
print("ready", flush=True)
got, until = [], time.monotonic() + 5
while len(got) < wanted and time.monotonic() < until:
    for one in select.select(sockets, [], [], 0.2)[0]:
        data, sender = one.recvfrom(65535)
        got.append((sender[0], data.hex()))
print(json.dumps(got))
"""

SEND = """
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
for line in sys.stdin:
    out.send(bytes.fromhex(line))
"""

SNIFF = """
import select, socket, sys, time
into = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
into.bind((sys.argv[1], 0))
print("ready", flush=True)
until = time.monotonic() + 3
while time.monotonic() < until:
    if select.select([into], [], [], 0.2)[0]:
        data, (_, _, kind, _, _) = into.recvfrom(65535)
        if kind == 0 and b"told by the kernel" in data:
            print(data.hex(), flush=True)
            break
"""


def _run(*command: str, given: str = "") -> str:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Lab:
    """The namespaces by role: s, n, l, r."""

    names: dict[str, str]

    def ip(self, role: str, *words: str) -> None:
        _run("ip", "-n", self.names[role], *words)

    def set(self, role: str, **settings: int) -> None:
        for name, value in settings.items():
            _run("ip", "netns", "exec", self.names[role], "sysctl", "-qw", f"{name.replace('__', '.')}={value}")

    @contextmanager
    def python(self, role: str, code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A program in a namespace, after it has said that it is ready."""
        command = ["ip", "netns", "exec", self.names[role], sys.executable, "-c", code, *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == "ready\n"
                yield child
            finally:
                child.kill()

    def send(self, frames: Sequence[bytes]) -> None:
        """Put frames on the sender's wire."""
        lines = "".join(frame.hex() + "\n" for frame in frames)
        _run("ip", "netns", "exec", self.names["s"], sys.executable, "-c", SEND, "e0", given=lines)

    def delivered(self, frames: Sequence[bytes], wanted: int) -> list[tuple[str, bytes]]:
        """Senders and payloads that arrive at the host's sockets, sorted: one for each IP version."""
        with self.python("r", LISTEN, PORT, wanted) as host:
            self.send(frames)
            assert host.stdout is not None
            return sorted((sender, bytes.fromhex(data)) for sender, data in json.loads(host.stdout.read()))


def _build(lab: Lab) -> None:
    for role, name in lab.names.items():
        _run("ip", "netns", "add", name)
        lab.ip(role, "link", "set", "lo", "up")
        lab.set(
            role,
            net__ipv6__conf__all__forwarding=1,
            net__ipv6__conf__default__accept_dad=0,
            net__ipv4__ip_forward=1,
            net__ipv4__conf__all__rp_filter=0,
            net__ipv4__conf__default__rp_filter=0,
        )
    wires = (("s", "e0", "n", "a0"), ("n", "b0", "l", "c0"), ("l", "h0", "r", "r0"))
    for left, near, right, far in wires:
        ends = ("type", "veth", "peer", "name", far, "address", MAC[far], "netns", lab.names[right])
        lab.ip(left, "link", "add", near, "address", MAC[near], *ends)
        for role, link in ((left, near), (right, far)):
            lab.ip(role, "link", "set", link, "mtu", "2000", "up")
    addresses = (
        ("s", "e0", "fc00:a::2/64", "10.0.1.2/24"),
        ("n", "a0", "fc00:a::1/64", "10.0.1.1/24"),
        ("n", "b0", "fc00:21::1/64", "10.0.21.1/24"),
        ("l", "c0", "fc00:21::2/64", "10.0.21.2/24"),
        ("l", "h0", "fc00:b::1/64", "10.0.2.1/24"),
        ("r", "r0", "fc00:b::2/64", "10.0.2.2/24"),
    )
    for role, link, six, four in addresses:
        lab.ip(role, "-6", "addr", "add", six, "dev", link, "nodad")
        lab.ip(role, "addr", "add", four, "dev", link)
    neighbours = (("s", "e0", "fc00:a::1", "a0"), ("n", "b0", "fc00:21::2", "c0"), ("l", "h0", "fc00:b::2", "r0"))
    for role, link, address, far in (*neighbours, ("l", "h0", "10.0.2.2", "r0"), ("s", "e0", "10.0.1.1", "a0")):
        lab.ip(role, "neigh", "add", address, "lladdr", MAC[far], "dev", link, "nud", "permanent")
    local = ("encap", "seg6local", "action")
    lab.ip("n", "-6", "route", "add", f"{END}/128", *local, "End", "dev", "b0")
    lab.ip("n", "-6", "route", "add", f"{END_PSP}/128", *local, "End", "flavors", "psp", "dev", "b0")
    csid = ("flavors", "next-csid", "lblen", "32", "nflen", "16")
    for usid in USIDS:
        lab.ip("n", "-6", "route", "add", f"{usid}/48", *local, "End", *csid, "dev", "b0")
    for prefix in ("fd00:0:20::/48", "fcbb:bb00:20::/48", "fc00:b::/64"):
        lab.ip("n", "-6", "route", "add", prefix, "via", "fc00:21::2", "dev", "b0")
    for sid4, sid6, bits in ((UNPACK[4], UNPACK[6], 128), (UNPACK_USID[4], UNPACK_USID[6], 64)):
        lab.ip("l", "-6", "route", "add", f"{sid6}/{bits}", *local, "End.DX6", "nh6", "fc00:b::2", "dev", "h0")
        lab.ip("l", "-6", "route", "add", f"{sid4}/{bits}", *local, "End.DX4", "nh4", "10.0.2.2", "dev", "h0")
    lab.ip("l", "-6", "route", "add", f"{UNPACK_L2}/128", *local, "End.DX2", "oif", "h0", "dev", "h0")
    for role in lab.names:  # a node that finds an HMAC wants to know its key
        _run("ip", "netns", "exec", lab.names[role], "ip", "sr", "hmac", "set", "42", "sha256", given="secret\n")
    _run("ip", "netns", "exec", lab.names["n"], "ip", "sr", "tunsrc", "set", SOURCE)
    lab.ip("n", "-6", "route", "add", "fd00::/16", "via", "fc00:21::2", "dev", "b0")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    token = uuid.uuid4().hex[:6]
    made = Lab({role: f"sgrw-{token}-{role}" for role in "snlr"})
    try:
        try:
            _build(made)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no SRv6 in namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}")
        yield made
    finally:
        for name in made.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def datagram(version: int, payload: bytes) -> bytes:
    """An IP packet from the sender to the host's port, from the RFCs."""
    source, destination = (ip_address(end).packed for end in ENDS[version])
    body = struct.pack("!HHHH", 4000, PORT, 8 + len(payload), 0) + payload
    if version == 4:
        pseudo = source + destination + struct.pack("!BBH", 0, UDP, len(body))
        head = struct.pack("!BBHHHBBH", 0x45, 0x2C, 20 + len(body), 7, 0, 61, UDP, 0) + source + destination
        head = head[:10] + (0xFFFF - folded_sum(head)).to_bytes(2, "big") + head[12:]
    else:
        pseudo = source + destination + struct.pack("!I3xB", len(body), UDP)
        head = struct.pack("!IHBB", 6 << 28 | 0x2C << 20 | 0x12345, len(body), UDP, 61) + source + destination
    return head + body[:6] + ((0xFFFF - folded_sum(pseudo + body)) or 0xFFFF).to_bytes(2, "big") + body[8:]


def packed(sids: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(ip_address(sid).packed for sid in sids)


def around(mode: Mode, four: Sequence[str], six: Sequence[str], **others: Any) -> Encapsulation:
    return Encapsulation(
        mode=mode,
        source=(ip_address(SOURCE).packed,),
        hop_limit=others.pop("hop_limit", 64),
        segments4=(packed(four),),
        segments6=(packed(six),),
        source_mac=bytes.fromhex(MAC["e0"].replace(":", "")),
        destination_mac=bytes.fromhex(MAC["a0"].replace(":", "")),
        **others,
    )


def frames_of(folder: Path, packets: Sequence[bytes], how: Encapsulation, **choices: Any) -> list[bytes]:
    """The packets as frames, rewritten."""
    cases = [
        Case(packet, packet[0] >> 4, UDP, 20 if packet[0] >> 4 == 4 else 40, len(packet), flow=int(packet[0] >> 4 == 6))
        for packet in packets
    ]
    cases = [replace(case, send_ns=EPOCH_NS + number) for number, case in enumerate(cases)]
    folder.mkdir(exist_ok=True)
    done = rewrite(folder, cases, how, [0, 0], choices=RewriteChoices(**choices))
    return [record.frame for record in read_pcap(Path(done.files[0].path))]


def carriers(count: int, version: int) -> tuple[str, ...]:
    return on_the_wire([*USIDS[:count], UNPACK_USID[version]], Mode.USID, BLOCK)


WAYS: dict[str, Encapsulation] = {
    "encaps": around("encaps", [END, UNPACK[4]], [END, UNPACK[6]]),
    "encaps, no transit": around("encaps", [UNPACK[4]], [UNPACK[6]]),
    "encaps, tag": around("encaps", [END, UNPACK[4]], [END, UNPACK[6]], tag=0xBEEF),
    "encaps, hmac": around("encaps", [END, UNPACK[4]], [END, UNPACK[6]], key=KEY),
    "encaps, psp": around("encaps", [END_PSP, UNPACK[4]], [END_PSP, UNPACK[6]]),
    "encaps, inner hop limit": around("encaps", [END, UNPACK[4]], [END, UNPACK[6]], hop_limit=None),
    "reduced": around("reduced", [END, UNPACK[4]], [END, UNPACK[6]]),
    "reduced, no transit": around("reduced", [UNPACK[4]], [UNPACK[6]]),
    "reduced, psp": around("reduced", [END_PSP, UNPACK[4]], [END_PSP, UNPACK[6]]),
    "reduced, hmac": around("reduced", [END, UNPACK[4]], [END, UNPACK[6]], key=KEY),
    "one uSID carrier": around("reduced", carriers(1, 4), carriers(1, 6)),
    "two uSID carriers": around("reduced", carriers(6, 4), carriers(6, 6)),
    "insert": around("insert", [END], [END]),
    "insert, psp": around("insert", [END_PSP], [END_PSP]),
    "insert, hmac": around("insert", [END, END_PSP], [END, END_PSP], key=KEY),
    "insert-reduced": around("insert-reduced", [END], [END]),
    "insert-reduced, psp": around("insert-reduced", [END_PSP], [END_PSP]),
    "insert-reduced, hmac": around("insert-reduced", [END, END_PSP], [END, END_PSP], key=KEY),
    "l2": around("l2", [END, UNPACK_L2], [END, UNPACK_L2]),
    "l2-reduced": around("l2-reduced", [END, UNPACK_L2], [END, UNPACK_L2]),
    "l2-reduced, no transit": around("l2-reduced", [UNPACK_L2], [UNPACK_L2]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_kernel_forwards_and_delivers(lab: Lab, tmp_path: Path, way: str) -> None:
    how = WAYS[way]
    signed = int(how.key is not None)
    versions = (6,) if how.mode.inserts else (4, 6)
    # A host takes packets that still have an SRH only if it is told to.
    lab.set("r", net__ipv6__conf__all__seg6_enabled=1, net__ipv6__conf__r0__seg6_enabled=1)
    lab.set("n", net__ipv6__conf__all__seg6_require_hmac=signed, net__ipv6__conf__a0__seg6_require_hmac=signed)
    rng = random.Random(way)
    payloads = [(version, rng.randbytes(size)) for version in versions for size in (1, 100, 1001)]
    packets = [datagram(version, payload) for version, payload in payloads]
    host = bytes.fromhex(MAC["r0"].replace(":", ""))
    frames = frames_of(tmp_path / "w", packets, how, macs=((CAPTURED_MACS[:6], host),) if how.mode.layer_2 else ())
    assert lab.delivered(frames, len(packets)) == sorted((ENDS[version][0], payload) for version, payload in payloads)
    if way == "one uSID carrier":
        assert all(parse_frame(frame, how.mode).outer.srh_bytes == 0 for frame in frames)  # type: ignore[union-attr]


def test_a_wrong_key_is_dropped(lab: Lab, tmp_path: Path) -> None:
    lab.set("n", net__ipv6__conf__all__seg6_require_hmac=1, net__ipv6__conf__a0__seg6_require_hmac=1)
    wrong = replace(WAYS["encaps, hmac"], key=replace(KEY, secret=b"guessed"))
    assert lab.delivered(frames_of(tmp_path / "w", [datagram(6, b"no")], wrong), 1) == []
    assert lab.delivered(frames_of(tmp_path / "n", [datagram(6, b"no")], WAYS["encaps"]), 1) == []


# What Linux's frame may hold that ours does not, by byte of the frame: it leaves the flow label of the outer header 0
# unless seg6_flowlabel is set, it may leave the traffic class 0 and takes its own default hop limit around IPv4 and
# Ethernet, and it knows no flag D of the HMAC TLV (RFC 8754 section 2.1.2), so that HMACs of reduced lists are alike
# but for that bit.
KERNEL_MODES: dict[str, Mode] = {
    "encap": "encaps",
    "encap.red": "reduced",
    "inline": "insert",
    "l2encap": "l2",
    "l2encap.red": "l2-reduced",
}


@pytest.mark.parametrize("signed", [False, True], ids=["plain", "hmac"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kernel_mode", KERNEL_MODES)
@pytest.mark.parametrize("transit", [0, 1, 3])
def test_linux_writes_the_same(
    lab: Lab, tmp_path: Path, kernel_mode: str, version: int, signed: bool, transit: int
) -> None:
    mode = KERNEL_MODES[kernel_mode]
    if mode == "insert" and version == 4:
        pytest.skip("an SRH cannot be inserted into IPv4")
    if mode == "insert" and transit == 0:
        pytest.skip("nothing to insert")
    transits = [f"fd00:0:2::{number}" for number in range(1, transit + 1)]
    last = [] if mode == "insert" else [UNPACK_L2 if mode.startswith("l2") else UNPACK[version]]
    segments = [*transits, *last]
    destination = ENDS[version][1]
    route = (destination, "encap", "seg6", "mode", kernel_mode, "segs", ",".join(segments))
    hmac = ("hmac", "42") if signed else ()
    family = ("-6",) if version == 6 else ()
    # The kernel encapsulates Ethernet only as it forwards.
    lab.set("n", net__ipv6__conf__all__seg6_require_hmac=0, net__ipv6__conf__a0__seg6_require_hmac=0)
    lab.ip("n", *family, "route", "add", *route, *hmac, "dev", "b0")
    try:
        with lab.python("l", SNIFF, "c0") as sniffer:
            mac = bytes.fromhex((MAC["a0"] + MAC["e0"]).replace(":", ""))
            lab.send([mac + (b"\x08\0" if version == 4 else b"\x86\xdd") + datagram(version, b"told by the kernel")])
            assert sniffer.stdout is not None
            theirs = bytes.fromhex(sniffer.stdout.readline())
    finally:
        lab.ip("n", *family, "route", "del", *route, *hmac, "dev", "b0")
    assert theirs, "the kernel sent nothing"
    key = KEY if signed else None
    how = around(mode, segments, segments, key=key, hop_limit=theirs[21])
    inner = _unwrapped(theirs, mode)
    check_packet(inner)
    ours = frames_of(tmp_path / "w", [inner], how)[0]
    assert _compared(ours, mode) == _compared(theirs, mode)
    differing = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert all(at < 12 or at in range(14, 18) or at in _flag_d(how) or _in_frame(at, ours, mode) for at in differing)


def _unwrapped(frame: bytes, mode: str) -> bytes:
    """The packet within a frame of the kernel's, by lengths alone."""
    packet = frame[14:]
    srh = packet[41] * 8 + 8 if packet[6] == 43 else 0
    if mode == "insert":
        fixed = packet[:4] + (len(packet) - 40 - srh).to_bytes(2, "big") + packet[40:41] + packet[7:24]
        return fixed + packet[48:64] + packet[40 + srh :]
    return packet[40 + srh + (14 if mode.startswith("l2") else 0) :]


def _compared(frame: bytes, mode: str) -> bytes:
    """Without what may differ: MACs, also inside, traffic class and flow label of an outer header, flag D."""
    packet = bytearray(frame[12:])
    if mode != "insert":
        packet[2:6] = b"\x60\0\0\0"
    if packet[8] == 43:
        size = packet[43] * 8 + 8
        listed = 8 + 16 * (packet[46] + 1)
        if size > listed:
            packet[42 + listed + 2] = 0
    if mode.startswith("l2"):
        at = 42 + (packet[43] * 8 + 8 if packet[8] == 43 else 0)
        packet[at : at + 12] = bytes(12)
    return bytes(packet)


def _flag_d(how: Encapsulation) -> range:
    listed = len(how.segments6[0]) - 1
    at = 14 + 40 + 8 + 16 * listed + 2
    return range(at, at + 1) if how.key and how.mode.reduced and listed else range(0)


def _in_frame(at: int, frame: bytes, mode: str) -> bool:
    inside = 54 + (frame[55] * 8 + 8 if frame[20] == 43 else 0)
    return mode.startswith("l2") and inside <= at < inside + 12
