"""The kernel's program packet by packet: what it writes, what it leaves alone, and how it forgets."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from segcast.replay.srv6.templates import outer_headers
from segcast.replay.steer.bpf import test_run as ran
from segcast.replay.steer.flowlets import Log
from segcast.replay.steer.layout import NO_FLAGS, Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, clear, install
from tests.support.steering import ACK, RST, SYN, TCP, UDP, Ends, Sent, frame, ip_bytes_of, needs_bpf
from tests.twins.hashing import flow_key, mix

pytestmark = needs_bpf

SIDS = [bytes.fromhex(f"fd00000010{slot:02x}00000000000000000001") for slot in range(4)]
SOURCE = bytes.fromhex("fd000000010000000000000000000001")
MS = 10**6
V4 = Ends("10.0.0.1", "10.1.0.1", 4000, 80)
V6 = Ends("2001:db8::1", "2001:db8:1::1", 4000, 80)
PACKET = Sent(0, 0, 100)
RULES = Rules(PolicyCode.ROUND_ROBIN, Granularity.FLOWLET, MS)


def header(slot: int, inside: int, lists: int = 2) -> bytes:
    made = bytearray(outer_headers([SIDS[slot], *SIDS[:lists]], inside, 33, reduced=True, tag=slot))
    made[8:24] = SOURCE
    return bytes(made)


TABLES = Tables(
    (("10.0.0.0/24", 0), ("2001:db8::/64", 0)),
    (
        ("10.1.0.0/16", 0),
        ("2001:db8:1::/48", 0),
        ("10.1.9.0/24", 1),
        ("fe80::/10", 0),
        ("ff00::/8", 0),
        ("224.0.0.0/4", 0),
    ),
    (SteeredPair(0, 0, 0, 7, tuple(Way(header(slot, 4), header(slot, 41)) for slot in range(4))),),
    4,
)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Program]:
    with Program(TABLES.room(flows=64, outstanding=256, records=16)) as program:
        yield program


@pytest.fixture
def program(loaded: Program) -> Program:
    return told(loaded)


def told(program: Program, **rules: Any) -> Program:
    flags = Flag.PACKET_CLOCK | rules.pop("flags", NO_FLAGS)
    given = {"policy": PolicyCode.ROUND_ROBIN, "granularity": Granularity.FLOWLET, "timeout_ns": MS} | rules
    install(program, TABLES, Rules(**given, flags=flags))
    clear(program)
    return program


def sent(program: Program, of: Ends, packet: Sent, **how: Any) -> bytes:
    """What leaves, given a whole packet."""
    gso = {name: how.pop(name) for name in ("gso_segs", "gso_size") if name in how}
    given = frame(of, packet, whole=True, **how)
    found = ran(program.entries["egress"], given, time_ns=packet.time_ns, **gso)
    assert found.returned == -1  # unspecified: whoever comes next decides
    return found.packet


def answered(program: Program, of: Ends, packet: Sent, outer: bytes = b"", **how: Any) -> None:
    given = frame(of.reversed(), packet, **how)
    if outer:
        given = given[:12] + b"\x86\xdd" + outer + given[14:]
    found = ran(program.entries["ingress"], given, time_ns=packet.time_ns)
    assert (found.returned, found.packet) == (-1, given)


def inflight(program: Program) -> list[int]:
    return program.tables["counters"]["inflight_bytes"].tolist()


def tally(program: Program, name: str) -> int:
    return int(program.state["tally"][name])


@pytest.mark.parametrize("of", [V4, V6])
@pytest.mark.parametrize("copies", [False, True])
def test_the_header_is_written_as_rewrite_writes_it(loaded: Program, of: Ends, copies: bool) -> None:
    program = told(loaded, flags=Flag.COPIES_HOPS if copies else NO_FLAGS)
    for slot in range(4):
        packet = Sent(10 * MS * slot, 0, 100, 100 * slot)
        given = frame(of, packet, whole=True)
        made = sent(program, of, packet)
        expected = bytearray(header(slot, 41 if of is V6 else 4))
        label = mix(flow_key(of.src, of.dst, TCP, of.src_port, of.dst_port)) & 0xFFFFF
        expected[:4] = struct.pack("!I", 6 << 28 | (0x02 if of is V6 else 0xB8) << 20 | label)
        if of is V6:
            expected[:4] = struct.pack("!I", 6 << 28 | (0x2B0 >> 4) << 20 | label)
        expected[4:6] = struct.pack("!H", len(expected) - 40 + ip_bytes_of(of, packet))
        expected[7] = 61 if copies else 33
        assert made == given[:12] + b"\x86\xdd" + bytes(expected) + given[14:]


@pytest.mark.parametrize(
    ("of", "counted"),
    [
        (Ends("10.0.1.1", "10.1.0.1", 1, 2), "not_targeted"),
        (Ends("10.0.0.1", "10.2.0.1", 1, 2), "not_targeted"),
        (Ends("10.0.0.1", "10.1.9.1", 1, 2), "not_targeted"),
        (Ends("2001:db8::1", "2001:db8:2::1", 1, 2), "not_targeted"),
        (Ends("2001:db8::1", "fe80::1", 1, 2, UDP), "not_touched"),
        (Ends("fe80::1", "2001:db8:1::1", 1, 2, UDP), "not_touched"),
        (Ends("2001:db8::1", "ff02::1", 1, 2, UDP), "not_touched"),
        (Ends("10.0.0.1", "224.0.0.5", 1, 2, UDP), "not_touched"),
        (Ends("10.0.0.1", "255.255.255.255", 1, 2, UDP), "not_touched"),
        (Ends("127.0.0.1", "10.1.0.1", 1, 2, UDP), "not_touched"),
        (Ends("169.254.0.1", "10.1.0.1", 1, 2, UDP), "not_touched"),
        (Ends("0.0.0.0", "10.1.0.1", 1, 2, UDP), "not_touched"),
        (Ends("::", "2001:db8:1::1", 1, 2, UDP), "not_touched"),
    ],
)
def test_what_is_no_target_is_left_alone(program: Program, of: Ends, counted: str) -> None:
    assert sent(program, of, PACKET) == frame(of, PACKET, whole=True)
    assert tally(program, counted) == 1
    assert tally(program, "steered") == tally(program, "flows") == 0


@pytest.mark.parametrize("kind", range(133, 138))
def test_neighbour_discovery_is_left_alone_to_any_address(program: Program, kind: int) -> None:
    ip = struct.pack("!IHBB", 6 << 28, 24, 58, 255) + frame(V6, PACKET)[22:54]
    given = bytes(12) + b"\x86\xdd" + ip + bytes([kind]) + bytes(23)
    assert ran(program.entries["egress"], given).packet == given
    assert tally(program, "not_touched") == 1
    echo = given[:54] + bytes([128]) + given[55:]
    assert len(ran(program.entries["egress"], echo).packet) == len(echo) + 80


def test_what_has_a_routing_header_already_is_left_alone(program: Program) -> None:
    inner = frame(V6, PACKET, whole=True)
    given = inner[:20] + bytes([43]) + inner[21:54] + bytes([6, 2, 4, 0, 0, 0, 0, 0]) + bytes(16) + inner[54:]
    assert ran(program.entries["egress"], given).packet == given
    assert tally(program, "not_touched") == 1


@pytest.mark.parametrize(
    "given",
    [
        b"\x08\x06" + bytes(28),
        b"\x08\x00\x44" + bytes(60),
        b"\x08\x00\x65" + bytes(60),
        b"\x86\xdd\x40" + bytes(60),
        b"\x00\x2e" + bytes(60),
    ],
)
def test_what_is_no_ip_goes_on(program: Program, given: bytes) -> None:
    whole = bytes(12) + given
    for entry in ("egress", "ingress"):
        assert ran(program.entries[entry], whole).packet == whole
    assert tally(program, "steered") == tally(program, "acknowledged") == 0


@pytest.mark.parametrize("of", [V4, V6])
def test_a_transport_header_cut_short_is_steered_without_what_it_lacks(program: Program, of: Ends) -> None:
    whole = frame(of, PACKET)
    for size in range(34 if of is V4 else 54, len(whole)):
        assert len(ran(program.entries["egress"], whole[:size]).packet) == size + 80
        ran(program.entries["ingress"], frame(of.reversed(), PACKET)[:size])
    assert tally(program, "flows") == 2  # with ports and without
    assert tally(program, "acknowledged") == 0


def test_fragments_of_a_datagram_go_one_way(program: Program) -> None:
    first = bytearray(frame(V4._replace(protocol=UDP), PACKET, whole=True))
    later = bytearray(first)
    first[20:22], later[20:22] = b"\x20\x00", b"\x00\x10"
    later[34:38] = b"\xff\xff\xff\xff"
    for given in (first, later):
        ran(program.entries["egress"], bytes(given), time_ns=5)
    assert tally(program, "flows") == tally(program, "flowlets") == 1


def test_what_would_not_fit_is_left_alone(loaded: Program) -> None:
    for size, fits in ((1500 - 80, True), (1500 - 79, False)):
        program = told(loaded, mtu_bytes=1500)
        packet = Sent(0, 0, size - 40)
        made = sent(program, V4, packet)
        assert (len(made) - size - 14 == 80) == fits
        assert tally(program, "too_long") == (not fits)
    big = Sent(0, 0, 3000)
    program = told(loaded, mtu_bytes=1500)
    for size, too_long in ((1380, 0), (1381, 1)):  # a made-up super-frame has no kind, so no room is made in it
        sent(program, V4, big, gso_segs=3, gso_size=size)
        assert (tally(program, "push_failed"), tally(program, "too_long")) == (1, too_long)


def test_super_frames_count_as_their_segments(program: Program) -> None:
    sent(program, V4, Sent(0, 0, 3000), gso_segs=3, gso_size=1000)
    assert inflight(program)[0] == 3000 + 3 * (14 + 80 + 40)
    answered(program, V4, Sent(5, 0, 0, 0, 2999))
    assert inflight(program)[0] > 0
    answered(program, V4, Sent(5, 0, 0, 0, 3000))
    assert inflight(program)[0] == 0


def test_acknowledgements_are_read_inside_srv6(program: Program) -> None:
    for of, inside in ((V4, 4), (V6, 41)):
        for seq, outer in enumerate((header(1, inside), header(1, inside, 1)[:40], header(2, inside, 3))):
            clear(program)
            sent(program, of, Sent(seq, 0, 100, 100 * seq))
            if len(outer) == 40:
                outer = outer[:6] + bytes([inside]) + outer[7:]
            answered(program, of, Sent(seq + 5, 0, 0, 0, 100 * seq + 100), outer)
            assert tally(program, "acknowledged") == 1
            assert inflight(program) == [0] * 4


def blocks(*ranges: tuple[int, int], stamped: bool = True) -> bytes:
    option = b"".join(struct.pack("!II", *each) for each in ranges)
    stamp = b"\x01\x01\x08\x0a" + bytes(8) if stamped else b""
    return stamp + b"\x01\x01" + bytes([5, 2 + len(option)]) + option


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("reads", [True, False])
def test_blocks_of_sack_take_segments_off(loaded: Program, stamped: bool, reads: bool) -> None:
    program = told(loaded, flags=Flag.READS_SACK if reads else NO_FLAGS, timeout_ns=10**12)
    for seq in range(6):
        sent(program, V4, Sent(seq, 0, 100, 100 * seq))
    one = 14 + 80 + 140
    assert inflight(program)[0] == 6 * one
    answered(program, V4, Sent(9, 0, 0, 0, 100), options=blocks((200, 300), (399, 500), stamped=stamped))
    left = 5 - 2 * reads  # of the second block, what it holds whole
    assert inflight(program)[0] == left * one
    answered(program, V4, Sent(10, 0, 0, 0, 100), options=blocks((500, 600), (200, 300), stamped=stamped))
    assert inflight(program)[0] == (left - reads) * one
    answered(program, V4, Sent(11, 0, 0, 0, 600))
    assert inflight(program)[0] == 0
    assert program.tables["flows"]["awaited"].max() == 0


def test_bare_acknowledgements_count_if_asked_only(loaded: Program) -> None:
    for flags, counted in ((NO_FLAGS, 0), (Flag.COUNTS_BARE, 14 + 80 + 40)):
        program = told(loaded, flags=flags)
        sent(program, V4, Sent(0, 0, 0))
        assert inflight(program)[0] == counted
    program = told(loaded)
    sent(program, V4, Sent(0, 0, 0, flags=SYN))
    assert inflight(program)[0] == 14 + 80 + 40


def test_counts_expire_without_traffic_of_their_flow(loaded: Program) -> None:
    program = told(loaded, loss_timeout_ns=5 * MS)
    sent(program, V4, PACKET)
    sent(program, V6, PACKET._replace(time_ns=5 * MS - 1))
    assert inflight(program)[0] > 0
    sent(program, V6, PACKET._replace(time_ns=5 * MS, seq=100))
    assert inflight(program)[0] == 0
    assert tally(program, "timed_out") == 1


def test_thousands_of_packets_expire_and_are_acknowledged_at_once(loaded: Program) -> None:
    program = told(loaded, loss_timeout_ns=5 * MS, timeout_ns=10**12)
    for round_ns in (0, 100 * MS):
        for seq in range(250):
            sent(program, V4, Sent(round_ns + seq, 0, 100, 100 * seq + round_ns))
        if round_ns:
            answered(program, V4, Sent(round_ns + 999, 0, 0, 0, 25_000 + round_ns))
            assert tally(program, "acknowledged") == 250
        else:
            sent(program, V6, Sent(50 * MS, 0, 100))
            assert tally(program, "timed_out") == 250
        assert inflight(program)[0] == 0
        assert tally(program, "behind") == tally(program, "uncounted") == 0


def test_more_than_there_is_room_for_is_steered_uncounted(loaded: Program) -> None:
    program = told(loaded, timeout_ns=10**12)
    for seq in range(260):
        sent(program, V4, Sent(seq, 0, 100, 100 * seq))
    assert tally(program, "uncounted") == 4
    assert inflight(program)[0] == 256 * (14 + 80 + 140)
    assert tally(program, "steered") == 260


def test_a_reset_flow_suspects_nothing_and_begins_anew(loaded: Program) -> None:
    for flags, suspects in ((ACK, True), (RST, False)):
        program = told(loaded, loss_timeout_ns=MS, suspect_after=1, suspect_for_ns=10**9)
        sent(program, V4, Sent(0, 0, 100))
        answered(program, V4, Sent(1, 0, 0, 0, 0, flags))
        sent(program, V6, Sent(2 * MS, 0, 100))
        assert (int(program.state["suspects_until_ns"]) > 0) == suspects
        assert tally(program, "resets") == (not suspects)
    sent(program, V4, Sent(2 * MS, 0, 0, 5, flags=SYN))
    assert tally(program, "flows") == 3  # it, the other, and it again


def test_a_five_tuple_used_again_is_another_flow(program: Program) -> None:
    for time_ns, seq in ((0, 7), (1, 7), (2, 8)):
        sent(program, V4, Sent(time_ns, 0, 0, seq, flags=SYN))
    assert tally(program, "flows") == tally(program, "flowlets") == 2


def test_the_longest_unused_flow_of_a_full_set_is_forgotten(loaded: Program) -> None:
    program = told(loaded, flags=Flag.LOGS, loss_timeout_ns=10**9)
    log = Log(program, RULES)
    for port in range(200):
        sent(program, V4._replace(src_port=port), Sent(port, 0, 100))
        if port % 8 == 0:
            log.drain()
    assert tally(program, "flows") == 200
    gone = tally(program, "evicted")
    assert gone >= 200 - 64
    assert len(log.table()) == 200
    assert log.lost == 0
    remembered = program.tables["flows"]["last_ns"][program.tables["flows"]["generation"] > 0]
    assert len(remembered) == 200 - gone
    for bucket in program.tables["flows"].reshape(-1, 8):
        assert (bucket["generation"] > 0).all() or not (bucket["generation"] > 1).any()
    total = sum(inflight(program))
    assert total == 200 * (14 + 80 + 140)
    sent(program, V6, Sent(2 * 10**9, 0, 0))
    assert sum(inflight(program)) == 0


def test_a_log_that_nobody_reads_loses_flowlets_and_counts_them(loaded: Program) -> None:
    program = told(loaded, flags=Flag.LOGS)
    log = Log(program, RULES)
    for number in range(30):
        sent(program, V4, Sent(number * 2 * MS, 0, 100, number))
    table = log.table()
    assert log.lost == 29 - 16
    assert table.column("flowlet_id").to_pylist() == [*range(16), 29]
    row = table.to_pylist()[1]
    assert (row["src"], row["dst"], row["src_port"], row["dst_port"]) == ("10.0.0.1", "10.1.0.1", 4000, 80)
    assert (row["path_id"], row["gap_ns"], row["packets"], row["bytes"]) == (8, 2 * MS, 1, 140)
    assert row["first_ns"] == row["last_ns"] == 2 * MS + log.utc_ahead_ns
    assert (row["timeout_ns"], row["flow_id"]) == (MS, 0)
    assert table.column("gap_ns").null_count == 1


def test_who_finds_the_lock_taken_keeps_the_path_uncounted(program: Program) -> None:
    sent(program, V4, PACKET)
    slot = int(program.state["last_slot"])
    before = inflight(program)
    program.state["lock"] = 1
    made = sent(program, V4, Sent(10 * MS, 0, 100, 100))
    assert made[14 + 24 : 14 + 40] == SIDS[slot]
    assert sent(program, V6, PACKET) == frame(V6, PACKET, whole=True)  # nothing is known of it
    answered(program, V4, Sent(11 * MS, 0, 0, 0, 100))
    assert inflight(program) == before
    assert tally(program, "contended") == 3
    program.state["lock"] = 0


@pytest.mark.parametrize("tags", [b"\x81\x00\x20\x07", b"\x88\xa8\x00\x05\x81\x00\x00\x07"])
def test_what_has_its_tags_in_the_frame_is_left_alone(program: Program, tags: bytes) -> None:
    assert sent(program, V4, PACKET, tags=tags) == frame(V4, PACKET, tags=tags, whole=True)
    assert tally(program, "flows") == 0


def test_nothing_is_done_before_it_is_told_to(loaded: Program) -> None:
    program = told(loaded)
    program.config["enabled"] = 0
    assert sent(program, V4, PACKET) == frame(V4, PACKET, whole=True)
    assert np.array_equal(program.state["tally"], np.zeros(1, program.state["tally"].dtype)[0])


def test_two_processors_on_one_flow_lose_no_byte(loaded: Program) -> None:
    """Calls into the kernel release Python's lock, so these threads are in the program at once."""
    program = told(loaded, policy=PolicyCode.RANDOM, granularity=Granularity.PACKET, loss_timeout_ns=10**12)
    count, done = 3000, threading.Event()
    sent_up_to = [0]

    def send(of: Ends) -> None:
        run = program.runner("egress")
        for number in range(count):
            run(frame(of, Sent(0, 0, 100, 100 * number)), 1)
            sent_up_to[0] = number

    def answer() -> None:
        run = program.runner("ingress")
        while not done.is_set():
            ack = 100 * max(0, sent_up_to[0] - 20)
            for of in (V4, V6):
                run(frame(of.reversed(), Sent(0, 0, 0, 0, ack)), 2)

    threads = [threading.Thread(target=send, args=(of,)) for of in (V4, V6)]
    answering = [threading.Thread(target=answer) for _ in range(2)]
    for thread in (*threads, *answering):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in answering:
        thread.join()
    for of in (V4, V6):
        answered(program, of, Sent(3, 0, 0, 0, 100 * count))
    assert inflight(program) == [0] * 4
    assert not program.tables["flows"]["awaited"].any()
    decided = tally(program, "flowlets")  # a flowlet each, of those that did not find the lock taken
    assert tally(program, "acknowledged") == decided - tally(program, "uncounted")
    assert decided > count
    assert int(program.state["lock"]) == 0
