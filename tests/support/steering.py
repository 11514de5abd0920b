"""The kernel's steering program fed with made-up traffic: frames, the order of an instant, and the engine beside it."""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.cell import Cell
from segcast.analyzer.engine.steering import Scope, Steering
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import FlowPlan, Packets, empty_fates
from segcast.analyzer.policies.registry import find_policy
from segcast.analyzer.traffic.recorded_acks import TcpSegments, recorded
from segcast.replay.steer.bpf import TCX_EGRESS, attached
from segcast.replay.steer.program import Program, Room
from segcast.replay.steer.surroundings import why_no_bpf
from segcast.traces.hashing import flow_keys

SYN, RST, ACK = 2, 4, 16
TCP, UDP = 6, 17


@functools.cache
def why_not() -> str | None:
    """Why the kernel's program cannot be run here; None if it can."""
    if os.geteuid() != 0:
        return "loading BPF programs takes root"
    try:
        attached(socket.if_nametoindex("lo"), TCX_EGRESS)
    except OSError as error:
        return why_no_bpf(error)
    try:
        Program(Room(64, 16, 64, flows=64, outstanding=64, records=64)).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return why_no_bpf(error)
        raise  # a kernel that has tcx loads it, or the program is at fault
    return None


class Sent(NamedTuple):
    """A packet of a flow: TCP's numbers mean nothing in others. `payload_bytes` is what its headers say, not what the
    frame holds.
    """

    time_ns: int
    flow: int
    payload_bytes: int
    seq: int = 0
    ack: int = 0
    flags: int = ACK


class Ends(NamedTuple):
    """A flow: addresses and ports of who sends and who receives; flow `n ^ 1` is its reverse."""

    src: str
    dst: str
    src_port: int
    dst_port: int
    protocol: int = TCP

    def reversed(self) -> Ends:
        """The other direction."""
        return Ends(self.dst, self.src, self.dst_port, self.src_port, self.protocol)

    def words(self) -> list[int]:
        """The five words that are hashed."""
        ends = [int(ip_address(address)) for address in (self.src, self.dst)]
        halves = [half for end in ends for half in (end >> 64, end & (1 << 64) - 1)]
        return [*halves, self.protocol << 32 | self.src_port << 16 | self.dst_port]


def ip_bytes_of(ends: Ends, sent: Sent) -> int:
    """The length of the IP packet."""
    return (40 if ":" in ends.src else 20) + (20 if ends.protocol == TCP else 8) + sent.payload_bytes


def frame(ends: Ends, sent: Sent, *, options: bytes = b"", tags: bytes = b"", whole: bool = False) -> bytes:
    """The headers of a packet as Ethernet; with `whole` its payload, too, in zeros."""
    if ends.protocol == TCP:
        layer4 = struct.pack(
            "!HHIIBBHHH",
            ends.src_port,
            ends.dst_port,
            sent.seq % 2**32,
            sent.ack % 2**32,
            (20 + len(options)) << 2,
            sent.flags,
            1000,
            0,
            0,
        )
    else:
        layer4 = struct.pack("!HHHH", ends.src_port, ends.dst_port, 8 + sent.payload_bytes, 0)
    layer4 += options
    src, dst = ip_address(ends.src).packed, ip_address(ends.dst).packed
    length = len(layer4) + sent.payload_bytes
    if len(src) == 16:
        packet = struct.pack("!IHBB", 0x6 << 28 | 0x2B << 20, length, ends.protocol, 61) + src + dst
    else:
        packet = struct.pack("!BBHHHBBH", 0x45, 0xB8, 20 + length, 7, 0x4000, 61, ends.protocol, 0) + src + dst
    kind = b"\x86\xdd" if len(src) == 16 else b"\x08\x00"
    return bytes(12) + tags + kind + packet + layer4 + bytes(sent.payload_bytes if whole else 0)


class Fed(NamedTuple):
    """What the program made of a packet: slot and flowlet; and all counters, as they are at any time."""

    slot: int
    flowlet: int
    inflight_bytes: NDArray[np.int64]


def feed(program: Program, frames: Sequence[bytes], times_ns: Sequence[int]) -> Iterator[Fed]:
    """Send frames through the program, each at its own time, received by whom it answers just before.

    What returns at an instant comes before what is sent in it (docs/model.md, Order of events): every packet is
    received before those of its instant are sent, if what it acknowledges has been sent by then.
    """
    egress, ingress = program.runner("egress"), program.runner("ingress")
    state, counters = program.tables["states"], program.tables["counters"]
    for number, now_ns in enumerate(times_ns):
        later = number
        while later < len(frames) and times_ns[later] == now_ns:
            ingress(frames[later], now_ns)
            later += 1
        egress(frames[number], now_ns)
        yield Fed(int(state["last_slot"][0]), int(state["last_flowlet"][0]), counters["inflight_bytes"])


class Fabric(NamedTuple):
    """A network of two sides, `slots` parallel paths between them, each with the SRv6 bytes of its headers."""

    header_bytes: Sequence[int]

    def network(self) -> Network:
        """As the engine knows it; nothing queues for long."""
        paths, links = [], []
        for group in (0, 1):
            for size in self.header_bytes:
                paths.append(Path(group, (len(links),), size, 0))
                links.append(Link(f"l{len(links)}", 10**11, 0, None, None, 0))
        return Network(tuple(links), tuple(paths))


def planned(flows: Sequence[Ends], hosts: Sequence[str]) -> FlowPlan:
    """Where flows enter: hosts with an even number are on one side, those with an odd one on the other."""
    words = np.array([ends.words() for ends in flows], np.uint64)
    host = np.array([hosts.index(ends.src) for ends in flows], np.int64)
    return FlowPlan(flow_keys(words), host, host % 2, words)


def engine(
    fabric: Fabric,
    plan: FlowPlan,
    *,
    policy: str,
    parameters: dict[str, Any],
    timeout_ns: int | None,
    drained_gap_ns: int | None,
    scope: Scope,
    loss_timeout_ns: int,
    seed: int,
) -> Cell:
    """A cell of the engine with recorded acknowledgements; `drained_gap_ns`: the detector `drained` with that gap."""
    known = find_policy(policy)
    detector = None if drained_gap_ns is None else find_detector("drained")
    return Cell(
        fabric.network(),
        known,
        plan,
        Steering(loss_timeout_ns, "recorded", scope),
        timeout_ns=timeout_ns if detector is None else None,
        seed=seed,
        parameters=known.parameters(**parameters),
        detector=detector,
        detector_parameters=None if detector is None else detector.parameters(gap_ns=drained_gap_ns),
    )


def engine_steps(
    cell: Cell, flows: Sequence[Ends], packets: Sequence[Sent], loss_timeout_ns: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Path, flowlet and counters of the engine after each packet."""
    sent = Packets(
        np.array([packet.time_ns for packet in packets], np.int64),
        np.array([packet.flow for packet in packets], np.uint32),
        np.array([ip_bytes_of(flows[packet.flow], packet) for packet in packets], np.uint32),
    )
    tcp = np.array([flows[packet.flow].protocol == TCP for packet in packets], np.bool_)
    segments = TcpSegments(
        np.array([packet.seq % 2**32 for packet in packets], np.uint32),
        np.array([packet.ack % 2**32 for packet in packets], np.uint32),
        np.array([packet.flags for packet in packets], np.uint8) * tcp,
        np.array([packet.payload_bytes for packet in packets], np.uint32),
        tcp,
    )
    reverse = np.arange(len(flows), dtype=np.int64) ^ 1
    releases = recorded(sent, segments, reverse, loss_timeout_ns)
    fates = empty_fates(len(packets))
    for number in range(len(packets)):
        cell.run(sent, fates, number + 1, releases)
        yield int(fates.path[number]), int(fates.flowlet[number]), cell.state.inflight.tolist()


needs_bpf = pytest.mark.skipif(why_not() is not None, reason=why_not() or "BPF programs can be loaded")
