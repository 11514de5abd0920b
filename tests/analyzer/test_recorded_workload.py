"""What connections asked to send, told from captures: known vectors come back, whatever the network did to them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.recorded.rest import Reason
from segcast.analyzer.workload.recorded.run import workload_of_trace
from segcast.analyzer.workload.table import Workload
from segcast.analyzer.workload.writing import table_of
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.talking import ACK, MS, PSH, SYN, Seen, Turn, Way, pcap_of, talk
from tests.twins import writing

Vector = tuple[int, int, int]


def traced(folder: Path, seen: Sequence[Seen]) -> Trace:
    (folder / "talk.pcap").write_bytes(pcap_of(seen))
    return ingest([folder / "talk.pcap"], folder / "talk.trace")


def vectors(trace: Trace, workload: Workload) -> list[list[Vector]]:
    """Side, bytes and think time of the messages of each connection, by its number in the capture."""
    ports = {flow: max(pair) - 10_000 for flow, pair in enumerate(trace.flows.select("src_port", "dst_port").rows())}
    found: dict[int, list[Vector]] = {}
    for row in range(len(workload)):
        number = ports[int(workload.connection_name[int(workload.connection[row])].as_py())]
        side = int(workload.addresses[workload.source[row]] == "10.0.1.1")
        found.setdefault(number, []).append((side, int(workload.bytes[row]), int(workload.think_ns[row])))
    return [found[number] for number in sorted(found)]


def told(folder: Path, scripts: Sequence[Sequence[Turn]], way: Way) -> list[list[Vector]]:
    trace = traced(folder, talk(scripts, way))
    workload, _ = workload_of_trace(trace)
    assert workload is not None
    return vectors(trace, workload)


def some_scripts(count: int, epochs: int) -> list[list[Turn]]:
    draws = random.Random(5)
    sizes, thinks = [200, 1_000, 3_000, 20_000, 100_000], [0, 2, 10, 30, 80, 300]
    return [
        [Turn(side, draws.choice(sizes), draws.choice(thinks) * MS) for _ in range(epochs) for side in (0, 1)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("vantage", [0.0, 0.3, 1.0, None])
@pytest.mark.parametrize("loss", [0.0, 0.01])
@pytest.mark.parametrize("rtt_ms", [1, 20])
def test_vectors_do_not_depend_on_the_network(rtt_ms: int, loss: float, vantage: float | None, tmp_path: Path) -> None:
    """Sizes are exact, think times within 5 %: each without losses, of 100 all but one and their sum with them."""
    scripts = some_scripts(12, 8)
    found = told(tmp_path, scripts, Way(rtt_ms * MS, loss, vantage))
    assert [[vector[:2] for vector in each] for each in found] == [[(t.side, t.size) for t in each] for each in scripts]
    thought = np.array([vector[2] for each in found for vector in each[1:]])
    meant = np.array([turn.think_ns for each in scripts for turn in each[1:]])
    near = np.abs(thought - meant) <= np.maximum(0.05 * meant, MS // 20)
    assert near.mean() >= (1 if loss == 0 else 0.99)
    assert abs(thought.sum() / meant.sum() - 1) <= (0.001 if loss == 0 else 0.02)


# What continues a message, and what ends it.


def one(folder: Path, script: Sequence[Turn], way: Way = Way(MS)) -> list[Vector]:  # noqa: B008
    return told(folder, [script], way)[0]


@pytest.mark.parametrize("way", [Way(MS), Way(20 * MS, vantage=0.5), Way(MS, delayed_ack_ns=0, pushes=False)])
def test_quiet_time_in_one_direction_ends_a_message(way: Way, tmp_path: Path) -> None:
    """Half a second is the application's, 50 ms may be anything. What follows waits for what started its sender."""
    script = [Turn(0, 300, 0), Turn(1, 500, 7 * MS), Turn(1, 600, 500 * MS), Turn(1, 700, 50 * MS), Turn(0, 90, 3 * MS)]
    expected = [(0, 300, 0), (1, 500, 7 * MS), (1, 1300, 507 * MS), (0, 90, 3 * MS)]
    found = one(tmp_path, script, way)
    assert [vector[:2] for vector in found] == [vector[:2] for vector in expected]
    assert [think for *_, think in found] == pytest.approx([think for *_, think in expected], abs=20_000)


def test_a_long_message_is_one(tmp_path: Path) -> None:
    """At 150 ms of round trip a window opens every 150 ms: that is the network."""
    assert one(tmp_path, [Turn(0, 200_000, 0), Turn(1, 9, MS)], Way(150 * MS, vantage=0.5))[0] == (0, 200_000, 0)


def test_starts_are_those_of_the_trace(tmp_path: Path) -> None:
    """A connection starts with its SYN; what its opener thinks before it speaks is kept, the handshake is not."""
    scripts = [[Turn(0, 100, 0)], [Turn(0, 100, 25 * MS), Turn(0, 100, 400 * MS)]]
    trace = traced(tmp_path, talk(scripts, Way(20 * MS, vantage=0.5), apart_ns=1_000 * MS))
    workload, rest = workload_of_trace(trace)
    assert workload is not None
    assert workload.start_ns.tolist() == pytest.approx([0, 1_025 * MS, 1_425 * MS], abs=20_000)
    assert rest.origin_ns == trace.flows["first_ns"].min()
    assert not workload.waits.any()


def test_the_server_may_speak_first(tmp_path: Path) -> None:
    assert [v[:2] for v in one(tmp_path, [Turn(1, 60, 5 * MS), Turn(0, 70, MS)])] == [(1, 60), (0, 70)]


def packets(*rows: tuple[float, int, int, int, int, int], window: int = 500) -> list[Seen]:
    """Packets of a connection: ms, side, sequence and acknowledgement numbers, flags, payload."""
    return [Seen(round(ms * MS), 0, side, *rest, window) for ms, side, *rest in rows]


def table(folder: Path, seen: Sequence[Seen]) -> tuple[list[Vector], Workload]:
    trace = traced(folder, seen)
    workload, _ = workload_of_trace(trace)
    assert workload is not None
    return vectors(trace, workload)[0], workload


def test_data_that_crosses_makes_two_streams(tmp_path: Path) -> None:
    """Neither side waited for the other: what they sent starts when it did, and waits for nothing."""
    seen = packets(
        (0, 0, 100, 0, SYN, 0),
        (1, 1, 500, 101, SYN | ACK, 0),
        (1, 0, 101, 501, ACK | PSH, 50),
        (2, 1, 501, 151, ACK | PSH, 60),
        (3, 0, 151, 561, ACK | PSH, 70),
        (3.1, 1, 561, 151, ACK | PSH, 80),  # it has not seen the 70 bytes
        (4, 0, 221, 641, ACK, 0),
        (4.1, 1, 641, 221, ACK, 0),
        (500, 1, 641, 221, ACK | PSH, 90),
    )
    found, workload = table(tmp_path, seen)
    assert found == [(0, 120, 0), (1, 140, 0), (1, 90, 0)]
    assert not workload.waits.any()
    assert workload.start_ns.tolist() == [0, MS, 499 * MS]


def test_a_capture_may_begin_amid_a_connection(tmp_path: Path) -> None:
    seen = packets(
        (0, 0, 2**32 - 20, 700, ACK, 0),
        (5, 0, 2**32 - 20, 700, ACK | PSH, 50),
        (6, 1, 700, 30, ACK | PSH, 30),
        (7, 0, 30, 730, ACK, 0),
    )
    found, workload = table(tmp_path, seen)
    assert [v[:2] for v in found] == [(0, 50), (1, 30)]
    assert workload.start_ns.tolist() == [5 * MS, 0]


@pytest.mark.parametrize("known", [False, True])
def test_without_a_handshake_other_connections_tell_the_way(known: bool, tmp_path: Path) -> None:
    """Acknowledged only by answers, the server seems 36 ms away; another connection's handshake says 2 ms."""
    seen = packets((0, 0, 100, 700, ACK | PSH, 50), (36, 1, 700, 150, ACK | PSH, 30), (36, 0, 150, 730, ACK, 0))
    other = packets((50, 0, 9, 0, SYN, 0), (52, 1, 50, 10, SYN | ACK, 0), (52, 0, 10, 51, ACK, 0))
    trace = traced(tmp_path, [*seen, *(replace(packet, connection=1) for packet in other if known)])
    workload, _ = workload_of_trace(trace)
    assert workload is not None
    assert workload.think_ns.tolist() == [0, 34 * MS if known else 0]


def test_what_only_acknowledgements_tell_counts(tmp_path: Path) -> None:
    """The capture missed the request: its bytes were acknowledged, a path's time before."""
    seen = packets(
        (0, 0, 100, 0, SYN, 0),
        (2, 1, 500, 101, SYN | ACK, 0),
        (2, 0, 101, 501, ACK, 0),
        (14, 1, 501, 401, ACK | PSH, 60),
        (15, 0, 401, 561, ACK, 0),
    )
    assert [v[:2] for v in table(tmp_path, seen)[0]] == [(0, 300), (1, 60)]


def test_a_shut_window_keeps_alives_and_copies_are_no_messages(tmp_path: Path) -> None:
    """The receiver's window was shut for a second: the sender had more to send."""
    begin = packets((0, 0, 100, 0, SYN, 0), (1, 1, 500, 101, SYN | ACK, 0), (1, 0, 101, 501, ACK | PSH, 900))
    shut = packets((2, 1, 501, 1001, ACK, 0), window=0)
    keeps = packets((300, 0, 1000, 501, ACK, 1), (301, 0, 1000, 501, ACK, 0))
    opens = packets((1000, 1, 501, 1001, ACK, 0))
    rest = packets((1001, 0, 1001, 501, ACK | PSH, 400), (1001, 0, 1001, 501, ACK | PSH, 400))
    assert table(tmp_path, [*begin, *shut, *keeps, *opens, *rest])[0] == [(0, 1300, 0)]


REQUEST = (
    (0, 0, 100, 0, SYN, 0),
    (2, 1, 500, 101, SYN | ACK, 0),
    (2, 0, 101, 501, ACK, 0),
    (3, 0, 101, 501, ACK | PSH, 50),
    (5, 1, 501, 151, ACK, 0),
    (5.5, 1, 501, 151, ACK, 0),
    (6, 1, 501, 151, ACK | PSH, 60),
    (6, 0, 151, 561, ACK | PSH, 70),
    (8, 1, 561, 221, ACK, 0),
)


def numbered(seen: Sequence[Seen], ids: dict[int, int]) -> list[Seen]:
    """With identifications that count up on each side, so much further at some packets."""
    count, found = [0, 0], []
    for place, packet in enumerate(seen):
        count[packet.side] += 1 + ids.get(place, 0)
        found.append(replace(packet, ip_id=count[packet.side]))
    return found


@pytest.mark.parametrize(("missing", "think_ms"), [(0, 248), (1, 46), (3, 46), (4, 248)])
def test_an_answer_lost_before_the_capture_was_sent_a_timeout_earlier(
    missing: int, think_ms: int, tmp_path: Path
) -> None:
    """Its request was acknowledged at once; 250 ms later comes an answer, before which packets are missing, or none."""
    seen = packets(*REQUEST, (9, 1, 561, 221, ACK, 0), (256, 1, 561, 221, ACK | PSH, 80))
    assert table(tmp_path, numbered(seen, {10: missing}))[0][-1] == (1, 80, think_ms * MS)


@pytest.mark.parametrize(("missing", "sizes"), [(0, [60, 80, 90]), (1, [60, 170])])
def test_the_end_of_a_message_lost_before_the_capture_is_of_it(missing: int, sizes: list[int], tmp_path: Path) -> None:
    seen = packets(
        *REQUEST, (9, 1, 561, 221, ACK | PSH, 80), (9, 0, 221, 641, ACK, 0), (250, 1, 641, 221, ACK | PSH, 90)
    )
    found, _ = table(tmp_path, numbered(seen, {11: missing}))
    assert [size for side, size, _ in found if side == 1] == sizes


@pytest.mark.parametrize(("missing", "think_ms"), [(0, 78), (1, 288)])
def test_a_lost_acknowledgement_causes_a_repeat_that_is_no_arrival(missing: int, think_ms: int, tmp_path: Path) -> None:
    """The request is sent again after 210 ms, for it was lost, or for its acknowledgement was."""
    seen = packets(
        *REQUEST[:-1], (216, 0, 151, 561, ACK | PSH, 70), (218, 1, 561, 221, ACK, 0), (296, 1, 561, 221, ACK | PSH, 80)
    )
    assert table(tmp_path, numbered(seen, {9: missing}))[0][-1] == (1, 80, think_ms * MS)


# What stays open loop.


def test_reasons_are_told(tmp_path: Path) -> None:
    """Each flow is in the list or open loop, whole, with a reason."""

    def frame(src: str, dst: str, ports: tuple[int, int], payload: bytes, flags: int, seq: int, ack: int) -> bytes:
        segment = writing.tcp(*ports, seq=seq, ack=ack, flags=flags, payload=payload)
        return writing.ethernet(writing.ipv4(segment, 6, src=address(src), dst=address(dst)), 0x0800)

    def address(text: str) -> bytes:
        return bytes(map(int, text.split(".")))

    def exchange_of(a: str, b: str, port: int, size: int = 10, jump: int = 0) -> list[bytes]:
        there, back = (a, b, (port, 80)), (b, a, (80, port))
        return [
            frame(*there, b"", SYN, 9, 0),
            frame(*back, b"", SYN | ACK, 99, 10),
            frame(*there, bytes(size), ACK, 10 + jump, 100),
            frame(*back, bytes(size), ACK, 100, 10 + size),
        ]

    frames = exchange_of("10.0.0.1", "10.0.0.2", 1)
    frames += exchange_of("10.0.0.1", "10.0.0.2", 2, size=0)
    frames += exchange_of("127.0.0.1", "127.0.0.2", 3)
    frames += exchange_of("10.0.0.1", "10.0.0.2", 4, jump=1 << 30)
    frames += exchange_of("10.0.0.1", "10.0.0.2", 5)[:1]
    frames += [each[:40] for each in exchange_of("10.0.0.3", "10.0.0.4", 6)]
    ends = {"src": address("10.0.0.1"), "dst": address("10.0.0.2")}
    frames.append(writing.ethernet(writing.ipv4(writing.udp(7, 53), 17, **ends), 0x0800))
    frames.append(writing.ethernet(writing.ipv4(bytes(8), 1, **ends), 0x0800))
    frames.append(writing.ethernet(writing.ipv4(bytes(8), 89, **ends), 0x0800))
    records = [writing.Captured(at * 1000, max(54, len(each)), each) for at, each in enumerate(frames)]
    (tmp_path / "a.pcap").write_bytes(writing.pcap(records, 1))
    trace = ingest([tmp_path / "a.pcap"], tmp_path / "a.trace")
    workload, rest = workload_of_trace(trace)
    assert workload is not None
    assert workload.bytes.tolist() == [10, 10]
    reasons = [Reason(each).name for each in rest.reason.tolist()]
    expected = ["LISTED", "NO_DATA", "NO_HOST", "JUMP"]
    assert reasons[:8] == [each for each in expected for _ in (0, 1)]
    assert reasons[8:9] == ["ONE_WAY"]
    assert reasons[-3:] == ["UDP", "ICMP", "OTHER"]
    assert set(reasons[9:-3]) == {"CUT"}
    assert rest.open_loop.tolist() == [each != "LISTED" for each in reasons]


def test_connections_that_are_not_listed_leave_no_trace_in_those_that_are(tmp_path: Path) -> None:
    """One whose sequence numbers jump after it had messages: what the others wait for is theirs all the same."""
    scripts = some_scripts(3, 4)
    seen = talk(scripts, Way())
    alone = told(tmp_path, scripts[1:], Way())
    last = max(each.time_ns for each in seen if each.connection == 0)
    jump = next(each for each in seen if each.connection == 0 and each.payload)
    far = replace(jump, time_ns=last + 1, seq=(jump.seq + (1 << 30) + 10**6) % 2**32)
    (tmp_path / "jump").mkdir()
    trace = traced(tmp_path / "jump", sorted([*seen, far], key=lambda each: each.time_ns))
    workload, rest = workload_of_trace(trace)
    assert workload is not None
    assert (rest.reason == Reason.JUMP).sum() == 2
    found = vectors(trace, workload)
    assert [[turn[:2] for turn in each] for each in found] == [[turn[:2] for turn in each] for each in alone]
    rows = np.repeat(np.arange(len(workload)), np.diff(workload.after_first))
    assert (workload.connection[rows] == workload.connection[workload.after_row]).all()
    assert (workload.after_row < rows).all()
    assert (workload.source[rows] != workload.source[workload.after_row]).all()


def test_more_bytes_than_a_list_may_have_are_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(tmp_path, packets(*REQUEST))
    monkeypatch.setattr("segcast.analyzer.workload.recorded.run.MOST_BYTES", 179)
    workload, rest = workload_of_trace(trace)
    assert workload is None
    assert rest.reason.tolist() == [Reason.JUMP] * 2


def test_batches_and_room_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(tmp_path, talk(some_scripts(3, 4), Way(loss=0.02)))
    at_once, _ = workload_of_trace(trace)
    monkeypatch.setattr("segcast.analyzer.workload.recorded.run._BATCH_ROWS", 7)
    monkeypatch.setattr("segcast.analyzer.workload.recorded.run._FIRST_ROOM", 2)
    in_pieces, _ = workload_of_trace(trace)
    assert at_once is not None
    assert in_pieces is not None
    assert table_of(in_pieces).equals(table_of(at_once))


def test_the_bundled_capture_is_listed_whole(cluster: Trace) -> None:
    """Of 170 connections, none of which lost anything, all bytes are there."""
    workload, rest = workload_of_trace(cluster)
    assert workload is not None
    assert int(workload.connection.max()) + 1 == 170
    tcp = pl.Series(~rest.open_loop)
    assert cluster.flows.filter(tcp)["protocol"].unique().to_list() == [6]
    payload = cluster.packets.filter(pl.col("tcp_seq").is_not_null()).select(pl.col("payload_bytes").sum()).collect()
    assert int(workload.bytes.sum()) == payload.item()


def test_the_command_writes_a_list_that_is_read_back(tmp_path: Path, run: Run) -> None:
    trace = traced(tmp_path, talk(some_scripts(3, 2), Way()))
    for name in ("w.csv", "w.parquet"):
        done = run("workload", trace.folder, "--out", tmp_path / name, "--json")
        assert (done.code, done.err) == (0, "")
        document = json.loads(done.out)
        assert (document["flows"], document["connections"], document["crossing"]) == (12, 3, 0)
        workload, _ = workload_of_trace(trace)
        assert workload is not None
        again = read_workload(tmp_path / name)
        assert again.flow.to_pylist() == workload.flow.to_pylist() == document_names(workload)
        for column in ("start_ns", "source", "target", "bytes", "after_row", "after_first", "think_ns", "connection"):
            assert getattr(again, column).tolist() == getattr(workload, column).tolist(), column
    shown = run("workload", trace.folder, "--out", tmp_path / "w.csv")
    assert "12 flows" in shown.out


def document_names(workload: Workload) -> list[str]:
    """Each message is named by its connection, whose name is its first flow in the trace, and counted in it."""
    numbers: dict[str, int] = {}
    names = []
    for number in workload.connection.tolist():
        name = workload.connection_name[number].as_py()
        numbers[name] = numbers.get(name, 0) + 1
        names.append(f"{name}.{numbers[name]}")
    return names


def test_what_cannot_be_is_one_line(tmp_path: Path, run: Run) -> None:
    trace = traced(tmp_path, packets((0, 0, 1, 0, SYN, 0)))
    for arguments, said in (
        ((trace.folder, "--out", tmp_path / "w.csv"), "no TCP connection whose messages can be told"),
        ((trace.folder, "--out", tmp_path / "w.txt"), "ends in .csv or .parquet"),
        ((tmp_path / "none", "--out", tmp_path / "w.csv"), "none"),
    ):
        done = run("workload", *arguments)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "w.csv").exists()
