"""The kernel's program beside its twin: round trips, suspicion, SACK and what else the engine's recorded cells lack."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.replay.steer.layout import NO_FLAGS, Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, clear, install
from tests.support.steering import ACK, RST, TCP, UDP, Ends, Sent, frame, ip_bytes_of, needs_bpf
from tests.twins.hashing import flow_key
from tests.twins.steering import Host, Options

pytestmark = needs_bpf

CODES = {
    "host-ecmp": (PolicyCode.HOST_ECMP, Granularity.FLOW),
    "random": (PolicyCode.RANDOM, Granularity.FLOWLET),
    "inflight": (PolicyCode.INFLIGHT, Granularity.FLOWLET),
    "round-robin": (PolicyCode.ROUND_ROBIN, Granularity.FLOWLET),
    "two-choices": (PolicyCode.TWO_CHOICES, Granularity.FLOWLET),
    "spray": (PolicyCode.RANDOM, Granularity.PACKET),
}
FLOWS = [
    Ends("10.0.0.1", "10.1.0.1", 4000, 80),
    Ends("2001:db8::1", "2001:db8:1::1", 4001, 80),
    Ends("10.0.0.1", "10.1.0.1", 4002, 80, UDP),
]
MOST_SLOTS = 5


def tables_of(header_bytes: list[int]) -> Tables:
    headers = [bytes((0x60, 0, 0, 0, 0, 0, 41, 64)) + bytes(31) + b"\1" + bytes(size - 40) for size in header_bytes]
    ways = tuple(Way(header, header) for header in headers)
    sources = tuple((f"{ends.src}/{128 if ':' in ends.src else 32}", 0) for ends in FLOWS[:2])
    targets = tuple((f"{ends.dst}/{128 if ':' in ends.dst else 32}", 0) for ends in FLOWS[:2])
    return Tables(sources, targets, (SteeredPair(0, 0, 0, 0, ways),), len(ways))


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with Program(tables_of([40] * MOST_SLOTS).room(flows=64, outstanding=256, records=64)) as loaded:
        yield loaded


numbers = st.one_of(st.integers(0, 7).map(lambda n: (n << 29) + 5), st.integers(0, 2**32 - 1))
KINDS = ["next"] * 5 + ["again", "any", "answer", "answer", "answer", "blocks", "blocks", "any answer", "bare", "reset"]
packets = st.tuples(
    st.sampled_from(KINDS),
    st.one_of(st.integers(0, 5), st.integers(0, 3000), st.sampled_from([1000, 10**6])),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
    st.integers(0, 9),
    numbers,
    st.sampled_from([1, 100, 1000]),
    st.sampled_from([b"", b"\x01\x01\x08\x0a" + bytes(8), b"\x01", b"\x02\x04\x05\xb4"]),
)


class Talk:
    """A flow as its packets are made up: what it has sent, so that others may send it again, or acknowledge it."""

    def __init__(self) -> None:
        self.next = 2**32 - 1000
        self.sent: list[tuple[int, int]] = [(self.next, self.next)]

    def segment(self, kind: str, which: int, number: int, payload: int) -> tuple[int, int]:
        """Sequence number and length of a packet that is sent."""
        if kind == "again":
            start, end = self.sent[-1 - which % len(self.sent)]
            return start, end - start
        if kind == "any":
            return number, payload
        if kind == "bare":
            return self.next, 0
        self.sent.append((self.next, self.next + payload))
        self.next += payload
        return self.sent[-1][0], payload

    def answer(self, kind: str, which: int, number: int) -> tuple[int, list[tuple[int, int]]]:
        """Acknowledgement and blocks of a packet that is received."""
        if kind == "any answer":
            return number, [(number, number + 500)] * (which % 5)
        _, ack = self.sent[-1 - which % len(self.sent)]
        return (ack, []) if kind == "answer" else (self.sent[0][0], self.sent[-1 - which % 4 :][: 1 + which % 3])


def sack(blocks: list[tuple[int, int]], before: bytes) -> bytes:
    """TCP options with these blocks, behind others; as many as there is room for."""
    option = before
    if blocks:
        option += bytes([5, 2 + 8 * len(blocks)]) + b"".join(struct.pack("!II", *block) for block in blocks)
    return option + bytes(-len(option) % 4)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(packets, min_size=12, max_size=60),
    policy=st.sampled_from(sorted(CODES)),
    header_bytes=st.lists(st.sampled_from([40, 64, 80]), min_size=1, max_size=MOST_SLOTS),
    times=st.tuples(
        st.sampled_from([0, 100, 1000, 10**12]),
        st.sampled_from([0, 10]),
        st.sampled_from([500, 10**7]),
        st.sampled_from([100, 500, 2500]),
    ),
    loss_timeout_ns=st.sampled_from([0, 50, 10**4, 10**7, 10**7]),
    suspects=st.tuples(st.integers(0, 3), st.sampled_from([0, 100, 5000, 10**7])),
    flags=st.sets(st.sampled_from([Flag.BY_RTT, Flag.DRAINED, Flag.READS_SACK, Flag.COUNTS_BARE])),
    seed=st.integers(0, 2**64 - 1),
)
def test_the_same_decisions_as_the_twin(
    program: Program,
    steps: list[Any],
    policy: str,
    header_bytes: list[int],
    times: tuple[int, int, int, int],
    loss_timeout_ns: int,
    suspects: tuple[int, int],
    flags: set[Flag],
    seed: int,
) -> None:
    timeout_ns, low_ns, high_ns, permille = times
    options = Options(
        policy,
        header_bytes,
        timeout_ns,
        Flag.BY_RTT in flags,
        Flag.DRAINED in flags,
        low_ns,
        high_ns,
        permille,
        loss_timeout_ns,
        *suspects,
        seed,
        Flag.READS_SACK in flags,
        Flag.COUNTS_BARE in flags,
    )
    twin = Host(options)
    given_flags = Flag.PACKET_CLOCK
    for flag in flags:
        given_flags |= flag
    rules = Rules(
        *CODES[policy],
        timeout_ns,
        given_flags | NO_FLAGS,
        low_ns=low_ns,
        high_ns=high_ns,
        times_permille=permille,
        loss_timeout_ns=loss_timeout_ns,
        suspect_after=suspects[0],
        suspect_for_ns=suspects[1],
        seed=seed,
    )
    install(program, tables_of(header_bytes), rules)
    clear(program)
    egress, ingress = program.runner("egress"), program.runner("ingress")
    now_ns = 10**9
    talks = [Talk() for _ in FLOWS]
    for kind, gap_ns, flow, which, number, payload, before in steps:
        now_ns += gap_ns
        ends, talk = FLOWS[flow], talks[flow]
        is_tcp = ends.protocol == TCP
        if kind in ("next", "again", "any", "bare"):
            seq, payload = talk.segment(kind, which, number, payload)
            packet = Sent(now_ns, flow, payload, seq)
            egress(frame(ends, packet), now_ns)
            key = flow_key(ends.src, ends.dst, ends.protocol, ends.src_port, ends.dst_port)
            length = payload if is_tcp else None
            found = twin.send(now_ns, flow, key, ip_bytes_of(ends, packet), seq % 2**32, length, is_tcp and payload > 0)
            assert (int(program.state["last_slot"]), int(program.state["last_flowlet"])) == found
        else:
            ack, blocks = talk.answer(kind, which, number)
            blocks = [(a % 2**32, b % 2**32) for a, b in blocks[: (38 - len(before)) // 8]]
            flags_of = RST if kind == "reset" else ACK
            extra = sack(blocks, before) if is_tcp else b""
            ingress(frame(ends.reversed(), Sent(now_ns, flow, 0, 0, ack, flags_of), options=extra), now_ns)
            if is_tcp:
                reset = kind == "reset"
                twin.hear(now_ns, flow, None if reset else ack, [] if reset else blocks, reset)
        counters = program.tables["counters"]
        assert counters["inflight_bytes"][: len(header_bytes)].tolist() == twin.inflight
        assert counters["suspect_until_ns"][: len(header_bytes)].tolist() == twin.suspected_until_ns
        assert counters["silent"][: len(header_bytes)].tolist() == twin.silent
        assert int(counters["round_trip_ns"][0]) == (-1 if twin.round_trip_ns is None else twin.round_trip_ns)
