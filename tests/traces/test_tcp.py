"""What the capture says about TCP, against the slow twin, examples by hand, and tshark."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.traces.captures.reader import read_frames
from segcast.traces.flows import tcp
from segcast.traces.flows.assign import Flows
from segcast.traces.headers.decode import Decoder, decode_batch
from segcast.traces.samples import CLUSTER
from tests.support.captures import FOLDER
from tests.support.decoding import batch_of
from tests.support.strategies import Seeded
from tests.support.tcp import A, B, S, compare, names, run, seg
from tests.twins import writing
from tests.twins.tcp import ACK, FIN, RST, SYN, Segment

FAR = (2**30, -(2**30), 2**30 - 1, 1 - 2**30, 2**31, 2**31 - 1, 12345, -54321, 0)


def make_segments(c: Seeded, count: int) -> list[Segment]:
    """Few connections with losses, repeats, probes, handshakes, resets, pauses, and clocks that step back."""
    ends = [[c.pick((0, 2**32 - 3000, 2**31)) for _ in range(2)] for _ in range(c.integer(1, 5))]
    now, out = c.pick((0, 10**18)), []
    for _ in range(count):
        now += c.pick(
            (0, 1, 1000, 10**5, 10**6, 10**7, 3 * 10**6, -500, c.pick((9 * S, 239 * S, 241 * S, 7439 * S, 7441 * S)))
        )
        pair, side = c.integer(0, len(ends) - 1), c.integer(0, 1)
        here = (pair + 1, 1000, 99, 80)
        there = (99, 80, pair + 1, 1000)
        flow, to = (here, there) if side == 0 else (there, here)
        payload = c.pick((0, 0, 0, 1, 2, 500, 1460, 1461, 9000, 2**30 - 1))
        flags = c.pick((ACK, ACK, ACK, ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, SYN | FIN))
        seq = (ends[pair][side] - c.pick((0, 0, 0, 1, 1, 500, 1460, -500, -2, 2920, c.pick(FAR)))) % 2**32
        ack = (ends[pair][1 - side] - c.pick((0, 0, 0, 1, 500, 1460, -1, -700, c.pick(FAR)))) % 2**32
        if c.integer(0, 2) == 0:
            ends[pair][side] = (seq + payload + (flags & 3 > 0)) % 2**32
        mss = c.pick((0, 0, 0, 536, 1460, 1)) if flags & SYN else 0
        out.append(Segment(now, flow, to, seq, ack, flags, c.pick((0, 9, 9, 9)), payload, payload + 52, mss))
    return out


@pytest.mark.parametrize("seed", range(40))
def test_marks_and_sums_are_those_of_the_twin(seed: int) -> None:
    c = Seeded(seed)
    compare(make_segments(c, 400), c.pick((10**9, 1, 37)))


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_marks_and_sums_of_the_twin_anywhere(random: object, count: int) -> None:
    compare(make_segments(Seeded(random.randrange(2**32)), count), 7)  # type: ignore[attr-defined]


def test_by_hand() -> None:
    steps: list[tuple[Segment, str]] = [
        (seg(0, True, 99, 0, SYN, mss=1000), ""),
        (seg(300, False, 499, 100, SYN | ACK, mss=1400), ""),
        (seg(400, True, 100, 500), ""),
        (seg(500, True, 100, 500, payload=1000), ""),
        (seg(510, True, 2100, 500, payload=1000), "after_gap"),
        (seg(520, True, 1100, 500, payload=1000), "out_of_order"),  # within the handshake's 400 us
        (seg(600, False, 500, 1100), ""),
        (seg(610, False, 500, 1100), "duplicate_ack"),
        (seg(620, False, 500, 1100), "duplicate_ack"),
        (seg(700, True, 1100, 500, payload=1000), "retransmission"),  # fast: within 400 us, too
        (seg(800, False, 500, 3100), ""),
        (seg(810, True, 2100, 500, payload=1000), "retransmission"),  # acknowledged already
        (seg(820, True, 3099, 500), "keep_alive"),
        (seg(900, False, 500, 3100), ""),  # its answer is no duplicate
        (seg(910, False, 500, 5000, payload=1001), "ack_of_unseen super_frame"),
        (seg(920, True, 3100, 1501, payload=1400), ""),  # the peer takes 1400
    ]
    flows, _, marks = run([step for step, _ in steps])
    assert [names(mark) for mark in marks] == [set(words.split()) for _, words in steps]
    handshakes = flows.pool.results["handshake1_ns"][:2] - 1
    assert handshakes.tolist() == [300_000, 100_000]
    compare([step for step, _ in steps])


@pytest.mark.parametrize(("open_", "count", "alive", "slots"), [(False, 3000, 240, 1024), (True, 8_000, 7_440, 8192)])
def test_old_connections_retire_and_slots_serve_again(open_: bool, count: int, alive: int, slots: int) -> None:
    """One connection a second: of those that were reset, 240 are alive; of those that stay open, all of 2 h 4 min."""
    segments = []
    for n in range(count):
        here, there = (n, 5, 7, 80), (7, 80, n, 5)
        segments.append(Segment(n * S, here, there, 1, 1, ACK, 9, 10, 50))
        if not open_:
            segments.append(Segment(n * S, there, here, 1, 1, RST, 9, 0, 40))
    again = [s for s in segments if s.payload][count - alive - 100 :]
    segments += [Segment(count * S + n, s.flow, s.to, 1, 1, ACK, 9, 10, 50) for n, s in enumerate(again)]
    flows, _, marks = run(segments, 1000)
    assert len(flows.pool.life) == slots
    assert [mark > 0 for mark in marks[-len(again) :]] == [False] * 101 + [True] * (alive - 1)
    compare(segments, 1000)


def test_a_median_of_many_samples_is_that_of_the_kept_ones() -> None:
    rng = np.random.default_rng(3)
    segments, now = [], 0
    for n in range(5000):
        now += 10**6
        segments.append(Segment(now, A, B, n * 10, 1, ACK, 9, 10, 50))
        now += int(rng.integers(1000, 10**6))
        segments.append(Segment(now, B, A, 1, n * 10 + 10, ACK, 9, 0, 40))
    compare(segments, 333)


def test_samples_of_many_flows_share_the_pool() -> None:
    """Flows outgrow their blocks one after the other, and take over those of others."""
    rng = np.random.default_rng(5)
    segments, now, sent = [], 0, [0] * 300
    for flow in np.repeat(np.arange(300), rng.geometric(0.02, 300)).tolist() + rng.integers(0, 300, 4000).tolist():
        here, there = (flow, 1000, 99, 80), (99, 80, flow, 1000)
        now += 1000
        segments.append(Segment(now, here, there, sent[flow], 1, ACK, 9, 10, 50))
        sent[flow] += 10
        segments.append(Segment(now + int(rng.integers(1, 900)), there, here, 1, sent[flow], ACK, 9, 0, 40))
    compare(segments, 777)


def test_a_segment_that_ends_more_than_half_the_numbers_ahead() -> None:
    numbers = ((2**32 - 1, 0), (2**31 - 499, 500), (2**32 - 1449, 1), (2**32 - 2, 1), (2**31, 500))
    compare([Segment(n * 10**6, A, B, seq, 1, ACK, 9, size, size + 40) for n, (seq, size) in enumerate(numbers)], 2)


def test_announced_mss() -> None:
    def syn(options: bytes, flags: int = SYN, cut: int = 999) -> bytes:
        segment = bytearray(writing.tcp(data_offset=5 + (len(options) + 3) // 4, flags=flags))
        segment[20 : 20 + len(options)] = options
        return writing.ipv4(bytes(segment), 6)[:cut]

    cases = [
        (syn(b"\x02\x04\x05\xb4"), 1460),
        (syn(b"\x01\x01\x04\x02\x02\x04\x02\x18"), 536),
        (syn(b"\x02\x04\x05\xb4", ACK), 0),
        (syn(b"\x00\x00\x00\x00\x02\x04\x05\xb4"), 0),
        (syn(b"\x03\x00\x00\x00\x02\x04\x05\xb4"), 0),
        (syn(b"\x02\x04\x05\xb4", cut=43), 0),
        (syn(b""), 0),
        (b"\x45", 0),
    ]
    batch = batch_of([(101, max(len(frame), 60), frame) for frame, _ in cases])
    found = np.full(len(cases), 7, np.uint16)
    tcp.announced_mss(batch.data, batch.start, batch.captured, decode_batch(batch), found)
    assert found.tolist() == [mss for _, mss in cases]


ANALYSIS = ["retransmission", "out_of_order", "keep_alive", "duplicate_ack", "ack_lost_segment", "lost_segment"]
# Captures whose counts differ: ours less tshark's, and why.
DIFFERENCES: dict[str, tuple[list[int], str]] = {
    "example.pcap": ([3, -3, 0, 0, 0, 0], "bytes seen before, which tshark calls reordered"),
    "mpls-gtp-nanosecond.pcap.gz": ([-2, -3, 0, -4, 0, -1], "TCP in GTP-U: tshark looks into the tunnel"),
    "vlan-ipv6-snaplen100.pcap.gz": ([400, -400, 0, 4, 0, 0], "bytes seen before, which tshark calls reordered"),
}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize(
    "name", [CLUSTER.name, "650HttpResponses.pcap", "example2.pcap", "sll2.pcap", "tcpreplay-test.pcap", *DIFFERENCES]
)
def test_counts_are_those_of_tshark(name: str) -> None:
    path = CLUSTER if name == CLUSTER.name else FOLDER / name
    if not path.is_file():
        pytest.skip(f"no folder of captures at {FOLDER}")
    command = ["tshark", "-n", "-r", str(path), "-o", "ip.defragment:FALSE", "-T", "fields"]
    command += ["-o", "tcp.desegment_tcp_streams:FALSE", *(w for f in ANALYSIS for w in ("-e", f"tcp.analysis.{f}"))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    theirs = [
        sum(column != "" for column in columns) for columns in zip(*(li.split("\t") for li in lines), strict=True)
    ]
    flows, decoder = Flows(), Decoder(by_tenant=False)
    with read_frames(path) as reader:
        for batch in reader:
            ids = np.zeros(len(batch.start), np.uint32)
            flows.add(decoder.decode(batch), batch.time_ns, batch.wire, ids)
    ours = list(tcp.marked(flows.pool).values())[:6]
    wanted, _ = DIFFERENCES.get(name, ([0] * 6, ""))
    assert [a - b for a, b in zip(ours, theirs, strict=True)] == wanted
