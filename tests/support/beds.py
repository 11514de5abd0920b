"""Testbeds for the tests: scenarios of every kind, packets steered along their paths, and what a test needs to run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.pcap import file_name
from segcast.replay.srv6.templates import outer_headers
from tests.twins.srv6 import folded_sum

_RECEIVE_BUFFER_BY_FORCE = 33  # SO_RCVBUFFORCE, which Python does not name

NAME = f"sgtb{os.getpid()}"  # several processes may run tests at once

SCENARIOS = {
    "parallel": """
[network]
[[network.paths]]
segments = ["fd00:0:1000::1"]
links = [{ name = "upper", rate = "100Mbps", buffer = "64KiB", overhead = "0B" }]
[[network.paths]]
segments = ["fd00:0:1001::1", "fd00:0:1002::1"]
links = [{ name = "west", rate = "100Mbps", buffer = "64KiB" }, { name = "mid", rate = "50Mbps", buffer = "64KiB" },
         { name = "east", rate = "100Mbps", buffer = "64KiB" }]
""",
    "leaf-spine": """
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
links = { rate = "100Mbps", delay = "2us", buffer = "64KiB" }
""",
    "leaf-spine-2x4": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
links = { rate = "100Mbps", buffer = "64KiB" }
""",
    "leaf-spine-parallel-reduced": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "reduced"
""",
    "leaf-spine-usid": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "usid"
""",
    "leaf-spine-functions": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "reduced"
block = "fcbb:bb00::/40"
node_bits = 24
function_bits = 16
[srv6.locators]
spine0 = "fcbb:bb00:5::/48"
[srv6.sids.leaf0]
end = "fcbb:bb00:0:1000:e000::"
links = { "leaf0-spine0.1" = "fcbb:bb00:0:1000:f00d::" }
[srv6.sids.spine1]
outside = true
end = "fcbb:cc00::51d"
links = { "leaf1-spine1.0" = "fcbb:cc00::51e" }
""",
    "leaf-spine-f4816": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "usid"
block = "fcbb:bb00:7::/48"
[srv6.locators]
leaf0 = "fcbb:bb00:7:11::/64"
[srv6.sids.leaf0]
links = { "leaf0-spine0.0" = "fcbb:bb00:7:11:e00a::" }
""",
    "leaf-spine-f3232": """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
parallel = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "usid"
node_bits = 32
""",
    "fat-tree": """
[network]
kind = "fat-tree"
k = 2
links = { rate = "100Mbps", buffer = "64KiB" }
""",
    "fat-tree-usid": """
[network]
kind = "fat-tree"
k = 4
links = { rate = "100Mbps", buffer = "64KiB" }
[srv6]
mode = "usid"
""",
    "graph": """
[network]
kind = "graph"
paths = "k-shortest"
k = 3
links = [
    { ends = ["a", "b"], name = "short", rate = "100Mbps", buffer = "64KiB", cost = 3 },
    { ends = ["a", "c"], name = "left", rate = "100Mbps", buffer = "64KiB" },
    { ends = ["c", "b"], name = "right", rate = "100Mbps", buffer = "64KiB" },
    { ends = ["c", "b"], name = "right2", rate = "100Mbps", buffer = "64KiB" },
]
[[attachments]]
name = "west"
node = "a"
prefixes = ["10.20.1.0/24", "2001:db8:1::/64"]
[[attachments]]
name = "east"
node = "b"
prefixes = ["0.0.0.0/0", "::/0"]
""",
}


def scenario_of(kind: str, folder: Path) -> ValidScenario:
    """The scenario of that kind."""
    file = folder / f"{kind}.toml"
    file.write_text(SCENARIOS[kind])
    return read_scenario(file)


def missing(*more: str) -> str | None:
    """Why no testbed can be built here, None if one can; `more`: tools that a test needs besides."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    if not Path("/proc/sys/net/ipv6/conf/all/seg6_enabled").exists():
        return "the kernel has no SRv6"
    tools = [tool for tool in ("ip", "tc", *more) if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    return f"{tools[0]} is not installed" if tools else None


_WHY = missing("tcpdump", "tcpreplay")
needs_testbed = pytest.mark.skipif(_WHY is not None, reason=_WHY or "a testbed can be built")
needs_namespaces = pytest.mark.skipif(missing() is not None, reason=missing() or "namespaces can be made")
"""Of tests whose packets the kernel's own TCP sends: they capture nothing."""


def udp(source: str, target: str, payload: bytes, port: int = 9000) -> bytes:
    """An IPv4 or IPv6 packet with a datagram."""
    ends = ip_address(source).packed + ip_address(target).packed
    header = struct.pack("!HHHH", 5555, port, 8 + len(payload), 0)
    pseudo = ends + struct.pack("!IHBB", 8 + len(payload), 0, 0, 17)
    check = 0xFFFF - folded_sum(pseudo + header + payload) or 0xFFFF
    datagram = struct.pack("!HHHH", 5555, port, 8 + len(payload), check) + payload
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64) + ends + datagram
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ends
    return start[:10] + struct.pack("!H", 0xFFFF - folded_sum(start)) + start[12:] + datagram


def frame(scenario: ValidScenario, inner: bytes, segments: tuple[str, ...], source: str = "fd00:0:100::1") -> bytes:
    """The packet with this segment list (SIDs in the order of travel) around it, as Ethernet."""
    wire = scenario.srv6.layout().on_the_wire(segments)
    inside = 4 if inner[0] >> 4 == 4 else 41
    reduced = scenario.srv6.mode != "encaps"
    outer = bytearray(outer_headers([ip_address(sid).packed for sid in wire], inside, 64, reduced=reduced))
    outer[4:6] = struct.pack("!H", len(outer) - 40 + len(inner))
    outer[8:24] = ip_address(source).packed
    macs = scenario.srv6.destination_mac + scenario.srv6.source_mac
    return bytes.fromhex(macs.replace(":", "")) + b"\x86\xdd" + bytes(outer) + inner


def send(frames: list[bytes], interface: str) -> None:
    """Send frames at an interface of the namespace that the calling thread is in."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for each in frames:
            wire.send(each)


def listening(address: str) -> socket.socket:
    """A socket of datagrams at that address of the namespace that the calling thread is in."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_BY_FORCE, 1 << 22)  # holds all, however late we read
    made.bind((address, 9000))
    made.settimeout(2)
    return made


def rewritten(folder: Path, files: dict[str, list[tuple[int, bytes]]]) -> Path:
    """A folder as `segcast rewrite` writes it: for each host its frames with their times."""
    folder.mkdir()
    for host, records in files.items():
        content = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
        for time_ns, data in records:
            content += struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(data), len(data)), data
        (folder / file_name(host)).write_bytes(b"".join(content))
    rows = [{"host": host, "path": str(folder / file_name(host))} for host in files]
    (folder / "rewrite.json").write_text(json.dumps({"cell": "random-100us-s1", "files": rows}))
    return folder
