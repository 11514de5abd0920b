"""Rewriting as a whole: many hosts and files, order in time, what is refused, and what is left when it fails."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segcast.replay.rewrite.pcap import file_name
from segcast.replay.rewrite.run import Hosts, rewrite_schedule
from segcast.replay.srv6.templates import Encapsulation, Key, flow_labels, outer_headers
from segcast.traces.errors import DamagedCapture, InputError
from tests.support.rewriting import (
    EPOCH_NS,
    TCP,
    UDP,
    Case,
    encapsulation,
    flow_table,
    fragment,
    make,
    rewrite,
    schedule_table,
    sids,
    write_capture,
)
from tests.support.verifying import verify
from tests.twins.hashing import flow_key, mix
from tests.twins.srv6 import BadPacketError, check_packet, need, parse_frame, read_pcap


def some(count: int, flows: int = 1, version: int = 4, **changes: object) -> list[Case]:
    """TCP packets of flows in turn, a microsecond apart."""
    rng = random.Random(count)
    cases = [
        replace(make(rng, version, TCP, rng.randint(0, 200)), flow=n % flows, send_ns=EPOCH_NS + 1000 * n)
        for n in range(count)
    ]
    return [replace(case, **changes) for case in cases]  # type: ignore[arg-type]


def test_unordered_send_times_come_out_ordered_from_several_files(tmp_path: Path) -> None:
    rng = random.Random(1)
    cases = [
        replace(case, send_ns=EPOCH_NS + 1000 * place, file=rng.randrange(3))
        for case, place in zip(some(300, flows=4), rng.sample(range(300), 300), strict=True)
    ]
    around = encapsulation("reduced", [2])
    done = rewrite(tmp_path, cases, around, [0, 1, 0, 1], chunk_bytes=4000)
    verify(tmp_path, cases, around, [0, 1, 0, 1], done)


def test_packets_of_one_time_keep_the_order_of_the_schedule(tmp_path: Path) -> None:
    cases = some(50, send_ns=EPOCH_NS)
    write_capture(tmp_path / "in0.pcap", cases)
    table = schedule_table(cases).take(list(range(49, -1, -1)))
    hosts = Hosts(("::1",), np.zeros(1, np.int64))
    rewrite_schedule(table, flow_table([4]), [tmp_path / "in0.pcap"], encapsulation("none", []), hosts, tmp_path / "o")
    records = read_pcap(tmp_path / "o" / "--1.pcap")
    assert [record.frame[14:] for record in records] == [case.packet for case in reversed(cases)]


def test_more_hosts_than_files_may_be_open(tmp_path: Path) -> None:
    cases = some(600, flows=300)
    around = encapsulation("encaps", [1], hosts=300)
    done = rewrite(tmp_path, cases, around, list(range(300)), chunk_bytes=20_000)
    assert len(done.files) == 300
    verify(tmp_path, cases, around, list(range(300)), done)


def test_labels_tell_flows_apart_and_are_never_zero() -> None:
    labels = flow_labels(flow_table([4, 6] * 400))
    assert labels.min() > 0 and labels.max() < 1 << 20
    assert len(set(labels.tolist())) > 790
    assert flow_labels(flow_table([4, 6])).tolist() == labels[:2].tolist()
    assert labels[0] == (mix(flow_key("10.0.0.1", "10.0.0.2", 6, 1000, 80)) & 0xFFFFF or 1)


def test_packets_too_large_for_an_outer_header_are_counted_and_named(tmp_path: Path) -> None:
    rng = random.Random(3)
    # 24 bytes of SRH leave 65511 bytes for the packet
    fits, beyond = make(rng, 4, 253, 65511 - 20), make(rng, 4, 253, 65512 - 20)
    cases = [replace(case, send_ns=EPOCH_NS + n, captured=400) for n, case in enumerate((fits, beyond, fits, beyond))]
    around = encapsulation("encaps", [1])
    done = rewrite(tmp_path, cases, around, [0])
    assert (done.packets, done.skipped) == (2, {"too_large": 2})
    assert [(refusal.frame_number, refusal.ip_bytes, refusal.reason) for refusal in done.refusals] == [
        (2, 65512, "too_large"),
        (4, 65512, "too_large"),
    ]
    assert done.refusals[0].source.endswith("in0.pcap")
    for record in read_pcap(Path(done.files[0].path)):
        assert len(record.frame) == 14 + 40 + 65535
        assert check_packet(parse_frame(record.frame, "encaps").inner).checksum == "unknown"


@pytest.mark.parametrize("version", [4, 6])
def test_the_largest_packet_goes_through_reduced_and_plain(tmp_path: Path, version: int) -> None:
    rng = random.Random(4)
    for name, around in (("reduced", encapsulation("reduced", [1])), ("plain", encapsulation("none", [1]))):
        most = 65535 if version == 4 or name == "reduced" else 65575
        case = make(rng, version, TCP, 0)
        case = make(rng, version, 253, most - case.transport)
        (tmp_path / name).mkdir()
        done = rewrite(tmp_path / name, [case], around, [0])
        assert done.skipped == {}
        verify(tmp_path / name, [case], around, [0], done)


def test_what_was_mended_is_counted(tmp_path: Path) -> None:
    rng = random.Random(5)
    whole, udp = make(rng, 4, TCP, 100), make(rng, 4, UDP, 100)
    first, later = fragment(rng, udp, 0), fragment(rng, udp, 16)
    cases = [
        whole,
        replace(whole, captured=60),
        replace(whole, captured=30),
        first,
        replace(first, captured=30),
        replace(later, captured=30),
        make(rng, 4, 253, 40),
        replace(make(rng, 4, 253, 40), captured=30),
    ]
    cases = [replace(case, send_ns=EPOCH_NS + n) for n, case in enumerate(cases)]
    done = rewrite(tmp_path, cases, encapsulation("none", []), [0])
    assert done.mended == {
        "padded": 5,
        "shortened": 0,
        "mapped": 0,
        "header_completed": 1,
        "fragment": 3,
        "fragment_cut": 2,
        "malformed": 0,
        "checksum_left": 5,
        "checksum_zeroed": 1,
        "checksum_unsure": 3,
    }
    fate = [record.frame[14:] for record in read_pcap(Path(done.files[0].path))]
    assert fate[4][26:28] == b"\0\0"
    assert fate[3] == first.packet
    assert fate[5][:30] == later.packet[:30]
    assert json.loads((tmp_path / "out" / "rewrite.json").read_text()) == json.loads(json.dumps(done.as_dict()))


def test_malformed_packets_are_written_as_they_are(tmp_path: Path) -> None:
    rng = random.Random(6)
    tcp = make(rng, 4, TCP, 50)
    short = bytearray(tcp.packet)
    short[32] = 0x20  # a data offset below the fixed header
    beyond = bytearray(make(rng, 6, UDP, 8, (60,)).packet)
    beyond[41] = 200  # an extension header longer than the packet
    cases = [
        replace(tcp, packet=bytes(short), protocol=253),
        Case(bytes(beyond), 6, 60, 40, len(beyond), flow=1, send_ns=EPOCH_NS + 1),
    ]
    done = rewrite(tmp_path, cases, encapsulation("encaps", [2]), [0, 0])
    assert done.mended["malformed"] == 2
    frames = [parse_frame(record.frame, "encaps") for record in read_pcap(Path(done.files[0].path))]
    assert frames[1].inner == bytes(beyond)
    assert frames[0].inner[:36] + frames[0].inner[38:] == bytes(short)[:36] + bytes(short)[38:]


def test_random_bytes_behind_an_ip_header_do_no_harm(tmp_path: Path) -> None:
    rng = random.Random(7)
    cases = []
    for number in range(3000):
        version = rng.choice((4, 6))
        protocol = rng.choice((0, 1, 2, 6, 17, 43, 44, 51, 58, 60, 132, 136))
        case = make(rng, version, 253, rng.randint(0, 90))
        packet = bytearray(case.packet)
        packet[9 if version == 4 else 6] = protocol
        if version == 4:
            packet[0] = 0x40 | rng.randint(5, min(15, len(packet) // 4))
            packet[6:8] = rng.choice((b"\0\0", b"\0\0", rng.randbytes(2)))
        kept = rng.randint(20 if version == 4 else 40, len(packet))
        kept = len(packet) if rng.random() < 0.5 else kept
        cases.append(replace(case, packet=bytes(packet), captured=kept, flow=version // 6, send_ns=EPOCH_NS + number))
    done = rewrite(tmp_path, cases, encapsulation("reduced", [4]), [0, 1])
    records = sorted((r for f in done.files for r in read_pcap(Path(f.path))), key=lambda record: record.time_ns)
    lengths = [len(parse_frame(record.frame, "reduced").inner) for record in records]
    written = {record.time_ns - EPOCH_NS for record in records}
    assert lengths == [len(case.packet) for n, case in enumerate(cases) if n in written]
    assert done.packets + sum(done.skipped.values()) == len(cases)


def test_a_second_rewrite_replaces_the_first(tmp_path: Path) -> None:
    rewrite(tmp_path, some(8, flows=2), encapsulation("encaps", [2]), [0, 1])
    done = rewrite(tmp_path, some(4), encapsulation("reduced", [2]), [0])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["fc00-1--1.pcap", "rewrite.json"]
    assert len(read_pcap(Path(done.files[0].path))) == 4


def test_captures_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.pcap").write_bytes(b"x")
    with pytest.raises(InputError, match="out: exists and was not made by this command"):
        rewrite(tmp_path, some(4), encapsulation("encaps", [2]), [0])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.pcap"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    cases = some(20)
    write_capture(tmp_path / "short.pcap", cases[:10])
    hosts = Hosts(("::1",), np.zeros(1, np.int64))
    arguments = (flow_table([4]), [tmp_path / "short.pcap"], encapsulation("none", []), hosts, tmp_path / "out")
    with pytest.raises(InputError, match=r"short\.pcap: has no frame 11, which the schedule sends"):
        rewrite_schedule(schedule_table(cases), *arguments)
    assert not (tmp_path / "out").exists()
    rewrite_schedule(schedule_table(cases[:10]), *arguments)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="has no frame 11"):
        rewrite_schedule(schedule_table(cases), *arguments)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    write_capture(tmp_path / "in.pcap", some(5))
    hosts = Hosts(("::1",), np.zeros(1, np.int64))
    with pytest.raises(KeyboardInterrupt):
        rewrite_schedule(
            schedule_table(some(5)),
            flow_table([4]),
            [tmp_path / "in.pcap"],
            encapsulation("none", []),
            hosts,
            tmp_path / "out",
            progress=interrupt,
        )
    assert not (tmp_path / "out").exists()


def test_a_damaged_capture_serves_as_far_as_it_goes(tmp_path: Path) -> None:
    cases = some(20)
    source = tmp_path / "in.pcap"
    write_capture(source, cases)
    source.write_bytes(source.read_bytes()[:-5])
    hosts = Hosts(("::1",), np.zeros(1, np.int64))
    arguments = (flow_table([4]), [source], encapsulation("none", []), hosts, tmp_path / "out")
    assert rewrite_schedule(schedule_table(cases[:19]), *arguments).packets == 19
    with pytest.raises(DamagedCapture, match=r"in\.pcap: damaged at byte"):
        rewrite_schedule(schedule_table(cases), *arguments)


def test_an_empty_schedule_is_no_rewrite(tmp_path: Path) -> None:
    nobody = Hosts((), np.zeros(0, np.int64))
    with pytest.raises(InputError, match=r"^the schedule has no packets, so there is nothing to replay$"):
        rewrite_schedule(schedule_table([]), flow_table([]), [], encapsulation("encaps", [1]), nobody, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def _refused(folder: Path, message: str, table: pa.Table, *, hosts: Hosts | None = None, version: int = 4) -> None:
    write_capture(folder / "in.pcap", some(3))
    hosts = hosts or Hosts(("h",), np.zeros(1, np.int64))
    around = encapsulation("encaps", [2, 2], hosts=1)
    with pytest.raises(InputError, match=message):
        rewrite_schedule(table, flow_table([version]), [folder / "in.pcap"], around, hosts, folder / "out")
    assert not (folder / "out").exists()


def test_schedules_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    table = schedule_table(some(3))

    def changed(column: str, value: int) -> pa.Table:
        place = table.column_names.index(column)
        return table.set_column(
            place, table.schema.field(place), [pa.array([value] * 3, table.schema.field(place).type)]
        )

    _refused(tmp_path, "the schedule has no column path_id: give the packets", table.drop_columns(["path_id"]))
    _refused(tmp_path, "the schedule names flow 7, which the trace has not", changed("flow_id", 7))
    _refused(
        tmp_path, "path 2 of the schedule has no segments: the scenario gives them for 2 paths", changed("path_id", 2)
    )
    _refused(tmp_path, "source file 3, but the trace has 1", changed("file", 3))
    _refused(tmp_path, r"in\.pcap: the schedule sends frame 0, but frames count from 1", changed("frame_number", 0))
    _refused(tmp_path, r"send time -1 ns does not fit a pcap \(1970 to 2106\)", changed("send_ns", -1))
    _refused(tmp_path, "send time 4294967296000000000 ns does not fit", changed("send_ns", (1 << 32) * 10**9))
    _refused(tmp_path, r"in\.pcap: frame 1 is no IPv6 packet, as flow 0 is", table, version=6)
    nobody = Hosts(("h",), np.full(1, -1, np.int64))
    _refused(tmp_path, "flow 0 of the schedule has no steering host", table, hosts=nobody)
    second = Hosts(("g", "h"), np.ones(1, np.int64))
    _refused(tmp_path, "host h has no outer source address", table, hosts=second)
    twice = Hosts(("a:b", "a-b"), np.zeros(1, np.int64))
    _refused(tmp_path, "hosts 'a:b' and 'a-b' would both be written to a-b.pcap", table, hosts=twice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_mac": b"\0\0"}, "source MAC address '00:00' has 2 bytes: give 6"),
        ({"source_mac": b"\1\0\0\0\0\0"}, "is a group address"),
        ({"mode": "inline"}, "SRv6 mode 'inline' is unknown: give encaps, reduced, insert, "),
        ({"tag": 65536}, "tag 65536 does not fit the SRH: give 0 to 65535"),
        ({"key": Key(1, b"k"), "segments6": (sids(0, 126, 6),)}, "path 0 has 126 SIDs for IPv6: give 1 to 125"),
        ({"mode": "insert", "segments6": (sids(0, 127, 6),)}, "path 0 has 127 SIDs for IPv6: give 0 to 126"),
        ({"hop_limit": 256}, "hop limit 256 does not fit"),
        ({"segments4": ()}, "0 paths have segments for IPv4 but 1 for IPv6"),
        ({"segments4": ((),)}, "path 0 has 0 SIDs for IPv4: give 1 to 127"),
        ({"segments6": (sids(0, 128, 6),)}, "path 0 has 128 SIDs for IPv6: give 1 to 127"),
        ({"segments6": ((b"\xff" + bytes(15),),)}, "a SID of path 0 is ff00::: give a unicast address"),
        ({"source": (b"abc",)}, "outer source of host 0 has 3 bytes: give an IPv6 address of 16"),
    ],
)
def test_encapsulations_that_cannot_be_written_are_refused(change: dict[str, object], message: str) -> None:
    good = encapsulation("encaps", [2], hosts=1)
    with pytest.raises(InputError, match=message):
        replace(good, **change)  # type: ignore[arg-type]


def test_the_longest_segment_list(tmp_path: Path) -> None:
    cases = some(3)
    for mode in ("encaps", "reduced"):
        around: Encapsulation = encapsulation(mode, [127])
        (tmp_path / mode).mkdir()
        verify(tmp_path / mode, cases, around, [0], rewrite(tmp_path / mode, cases, around, [0]))


def test_files_are_named_after_the_host() -> None:
    assert file_name("fd00::1") == "fd00--1.pcap"
    assert file_name("10.0.0.0/24") == "10.0.0.0_24.pcap"
    for bad in ("", "..", ".hidden", "a\0b"):
        with pytest.raises(InputError, match="cannot name a file"):
            file_name(bad)


def test_the_folder_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="out: exists and was not made by this command"):
        rewrite(tmp_path, some(4), encapsulation("encaps", [2]), [0])
    assert (tmp_path / "out").read_text() == ""


def test_what_others_put_beside_captures_is_not_lost(tmp_path: Path) -> None:
    rewrite(tmp_path, some(4), encapsulation("encaps", [2]), [0])
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(
        InputError, match=r"out: holds notes\.txt, which is not from an earlier rewrite: give an empty folder"
    ):
        rewrite(tmp_path, some(5), encapsulation("encaps", [2]), [0])
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_headers_as_in_the_rfcs() -> None:
    one, two, three = (bytes(15) + bytes([n]) for n in (1, 2, 3))
    full = outer_headers((one, two, three), 4, 64, reduced=False)
    assert full[:8] == bytes.fromhex("60000000 0000 2b 40")
    assert full[24:40] == one
    assert full[40:48] == bytes.fromhex("04 06 04 02 02 00 0000")
    assert full[48:] == three + two + one
    reduced = outer_headers((one, two, three), 41, 64, reduced=True)
    assert reduced[40:48] == bytes.fromhex("29 04 04 02 01 00 0000")
    assert reduced[48:] == three + two
    alone = outer_headers((one,), 41, 64, reduced=True)
    assert alone == bytes.fromhex("60000000 0000 29 40") + bytes(16) + one
    assert outer_headers((one,), 41, 64, reduced=False)[40:] == bytes.fromhex("29 02 04 00 00 00 0000") + one


def test_the_twin_refuses_broken_packets() -> None:
    rng = random.Random(8)
    for version, protocol in ((4, TCP), (6, UDP)):
        case = make(rng, version, protocol, 30)
        packet = case.packet
        check_packet(packet)
        for at in range(case.transport + 38):
            if version == 6 and at in (0, 1, 2, 3, 7):
                continue  # traffic class, flow label and hop limit are covered by no checksum
            broken = bytearray(packet)
            broken[at] ^= 0x40
            with pytest.raises((BadPacketError, IndexError)):
                need(check_packet(bytes(broken)).checksum == "good", f"byte {at} is covered")
                pytest.fail(f"byte {at} may be broken")
