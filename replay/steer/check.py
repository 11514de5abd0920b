"""`segcast steer check`: whether this kernel runs the program, shown on made-up packets that go nowhere."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from segcast.replay.steer.bpf import TCX_EGRESS, attached, test_run
from segcast.replay.steer.layout import Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program, digest
from segcast.replay.steer.surroundings import why_no_bpf, why_no_tcx
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, install

_HEADERS: Final = (40, 64, 80, 152)
_SOURCE4, _TARGET4 = "198.18.0.1", "198.19.0.1"
_SOURCE6, _TARGET6 = "fd5e:9ca5::1", "fd5e:9ca5:1::1"
_SYN, _ACK = 2, 16
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that steering needs; `why` says what is lacking."""

    needs: str
    held: bool
    why: str = ""


def check() -> dict[str, Any]:
    """What the kernel has and lacks, as JSON values; nothing is attached, and no packet is sent."""
    findings = [_tcx()]
    try:
        with Program(_tables().room(flows=64, outstanding=64, records=64)) as program:
            findings.append(Finding("loads the program", True))
            install(program, _tables(), _RULES)
            findings += [_tried(needs, attempt, program) for needs, attempt in _ATTEMPTS]
    except OSError as error:
        findings.append(Finding("loads the program", False, why_no_bpf(error)))
    return {
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "program_sha256": digest(),
        "fit": all(finding.held for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


_RULES: Final = Rules(
    PolicyCode.INFLIGHT,
    Granularity.FLOWLET,
    timeout_ns=_MS,
    flags=Flag.PACKET_CLOCK | Flag.LOGS | Flag.READS_SACK,
    loss_timeout_ns=100 * _MS,
    mtu_bytes=2000,
)


def _tcx() -> Finding:
    needs = "attaches by tcx, or else by clsact"
    try:
        attached(socket.if_nametoindex("lo"), TCX_EGRESS)
    except OSError as error:
        if error.errno == errno.EINVAL:  # older than tcx; whether it has clsact shows when it is attached
            return Finding(needs, True, f"{why_no_tcx(error)}; clsact is not tried here")
        return Finding(needs, False, why_no_bpf(error))
    return Finding(needs, True)


def _tried(needs: str, attempt: Callable[[Program], str], program: Program) -> Finding:
    try:
        why = attempt(program)
    except OSError as error:
        why = why_no_bpf(error)
    return Finding(needs, not why, why)


def _header(size: int) -> bytes:
    start = bytes((0x60, 0, 0, 0, 0, 0, 43 if size > 40 else 41, 64))
    return start + bytes(range(1, 33)) + bytes(n % 251 for n in range(size - 40))


def _tables() -> Tables:
    ways = tuple(Way(_header(size), _header(size)) for size in _HEADERS)
    sources = ((f"{_SOURCE4}/32", 0), (f"{_SOURCE6}/128", 0))
    targets = ((f"{_TARGET4}/32", 0), (f"{_TARGET6}/128", 0))
    return Tables(sources, targets, (SteeredPair(0, 0, 0, 0, ways),), len(ways))


def _frame(seq: int, *, ipv6: bool = False, ack: int = 0, flags: int = _ACK, payload: int = 100) -> bytes:
    """A segment that is sent; with `ack`, one that answers it."""
    ends = (_SOURCE6, _TARGET6) if ipv6 else (_SOURCE4, _TARGET4)
    ports = (40_000, 5_001)
    if ack:
        ends, ports = ends[::-1], ports[::-1]
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    src, dst = (socket.inet_pton(family, address) for address in ends)
    layer4 = struct.pack("!HHIIBBHHH", *ports, seq, ack, 0x50, flags, 1000, 0, 0) + bytes(payload)
    if ipv6:
        return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 0x6B000000, len(layer4), 6, 64) + src + dst + layer4
    header = struct.pack("!BBHHHBBH", 0x45, 0xB0, 20 + len(layer4), 0, 0x4000, 64, 6, 0)
    return bytes(12) + b"\x08\x00" + header + src + dst + layer4


def _pushes(program: Program, *, ipv6: bool) -> str:
    """Four flowlets go to the four paths, each with the header of its path in front of it."""
    for number in range(len(_HEADERS)):
        given = _frame(100 * number, ipv6=ipv6)
        ran = test_run(program.entries["egress"], given, time_ns=(1 + number) * 10 * _MS)
        header = _header(_HEADERS[int(program.state["last_slot"])])
        made = ran.packet[14 : 14 + len(header)]
        if ran.packet[12:14] != b"\x86\xdd" or ran.packet[14 + len(header) :] != given[14:]:
            return "the packet did not stay whole behind its header"
        if made[8:] != header[8:] or made[6:8] != header[6:8] or made[0] != 0x6B:
            return "the header is not the one that was asked for"
        if int.from_bytes(made[4:6]) != len(given) - 14 + len(header) - 40:
            return "the header does not say how long the packet is"
    counts = program.tables["counters"]["inflight_bytes"][: len(_HEADERS)]
    return "" if (counts > 0).all() else "flowlets did not spread over the paths with the fewest bytes in flight"


def _acknowledges(program: Program, *, ipv6: bool) -> str:
    test_run(program.entries["ingress"], _frame(1, ipv6=ipv6, ack=400, payload=0), time_ns=50 * _MS)
    left = int(program.tables["counters"]["inflight_bytes"][: len(_HEADERS)].sum())
    return "" if left == 0 else f"{left} bytes stay in flight after an acknowledgement of all"


def _leaves_others_alone(program: Program) -> str:
    given = _frame(0, ack=1)  # from a target: no source of ours
    ran = test_run(program.entries["egress"], given, time_ns=60 * _MS)
    return "" if ran.packet == given else "a packet to nobody's prefix was changed"


_ATTEMPTS: Final[tuple[tuple[str, Callable[[Program], str]], ...]] = (
    ("pushes headers before IPv4", lambda program: _pushes(program, ipv6=False)),
    ("reads acknowledgements over IPv4", lambda program: _acknowledges(program, ipv6=False)),
    ("pushes headers before IPv6", lambda program: _pushes(program, ipv6=True)),
    ("reads acknowledgements over IPv6", lambda program: _acknowledges(program, ipv6=True)),
    ("leaves all other packets alone", _leaves_others_alone),
)
