"""Duplicates, super-frames, findings and choices: kernels against plain Python, and whole ingests."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.data import Forecast
from segcast.traces.errors import InputError
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.quality.findings import for_timeouts
from segcast.traces.trace import Trace
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.writing import Captured

ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def packet(payload: int, *, back: bool = False, ip_id: int = 0, options: bytes = b"", **more: int) -> bytes:
    ports = (80, 1000) if back else (1000, 80)
    words = {"data_offset": 5 + len(options) // 4, **more}
    segment = bytearray(writing.tcp(*ports, payload=bytes(payload), **words))
    segment[20 : 20 + len(options)] = options
    made = bytearray(writing.ipv4(bytes(segment), 6, src=TWO if back else ONE))
    made[16:20] = ONE if back else TWO
    made[4:6] = struct.pack(">H", ip_id)
    return bytes(made)


def traced(folder: Path, frames: list[tuple[int, bytes]], **choices: Any) -> Trace:
    capture = folder / "c.pcap"
    capture.write_bytes(writing.pcap([Captured(10**18 + t, len(f), f[:96]) for t, f in frames], 101, nanoseconds=True))
    return ingest([capture], folder / "t.trace", choices=choose(**choices))


def codes(trace: Trace) -> dict[str, tuple[str, int]]:
    return {f["code"]: (f["severity"], f["count"]) for f in trace.info["findings"]}


def duplicates(frames: list[tuple[int, bytes]]) -> list[bool]:
    """Rows that repeat an earlier packet within 10 ms, 1 ms without identification; TTL, TOS, checksum aside."""
    seen: dict[bytes, int] = {}
    found = []
    for now, frame in frames:
        key = frame[:1] + frame[2:8] + frame[9:10] + frame[12:60]
        limit = 10**7 if frame[4:6] != b"\0\0" else 10**6
        found.append(key in seen and 0 <= now - seen[key] <= limit)
        if not found[-1]:
            seen[key] = now
    return found


def test_duplicates_are_counted_and_dropped(tmp_path: Path) -> None:
    c = Seeded(5)
    frames, now = [], 0
    for n in range(600):
        now += c.pick((0, 1000, 10**5, 10**6, 10**6 + 1, 6 * 10**6))
        frame = packet(c.pick((0, 5)), ip_id=c.pick((0, n % 40)), seq=c.integer(0, 3))
        frame = frame[:8] + bytes([c.integer(1, 64)]) + frame[9:]
        frames += [(now, frame), (now + 7, frame)][: c.integer(1, 2)]
    wanted = duplicates(frames)
    trace = traced(tmp_path, frames)
    assert codes(trace)["duplicate_packets"] == ("warning", sum(wanted))
    trace = traced(tmp_path, frames, drop_duplicates=True)
    assert codes(trace)["duplicate_packets"] == ("info", sum(wanted))
    assert trace.packet_table()["frame_number"].to_pylist() == [n + 1 for n, d in enumerate(wanted) if not d]
    assert trace.packet_count == len(wanted) - sum(wanted) == sum(trace.flows["packets"])
    assert trace.info["duplicates_dropped"] and trace.sources[0].packets == len(frames)


def pieces(row: dict[str, Any], piece: int, rate: int) -> list[dict[str, Any]]:
    """The wire frames of one row of the packets table."""
    made: list[dict[str, Any]] = []
    head, left, time_ns, bits = row["wire_bytes"] - row["payload_bytes"], row["payload_bytes"], row["time_ns"], 0
    while left:
        size = min(piece, left)
        k = len(made)
        last = left == size
        flags = row["tcp_flags"] & (0xFF if last else ~0x09) & (0x7F if k else 0xFF)
        made.append(
            row
            | {"time_ns": time_ns + bits * 10**9 // rate, "wire_bytes": head + size, "payload_bytes": size}
            | {"captured_bytes": min(row["captured_bytes"], head + size), "split": k + 1, "tcp_flags": flags}
            | {"ip_bytes": row["ip_bytes"] - row["payload_bytes"] + size, "ip_id": (row["ip_id"] + k) % 2**16}
            | {"tcp_seq": (row["tcp_seq"] + k * piece) % 2**32}
        )
        left -= size
        bits += (head + size + 24) * 8
    return made


MSS = b"\x02\x04\x03\xe8"  # 1000


@pytest.mark.parametrize(("mss", "piece"), [("auto", 988), ("700", 688)])
def test_super_frames_become_wire_frames(tmp_path: Path, mss: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcast.traces.ingest.packets.GROUP_ROWS", 20)
    stamp = bytes(12)
    frames = [(0, packet(0, back=True, flags=2, options=MSS))]
    for n in range(60):
        frames.append((n * 10**6 + 1, packet(600, seq=2**32 - 900, ip_id=65_530 + n % 6)))
        frames.append((n * 10**6 + 2, packet(5000 + n, seq=2**32 - 300, flags=0x99, ip_id=65_533, options=stamp)))
    before = traced(tmp_path, frames).packet_table().to_pylist()
    assert codes(traced(tmp_path, frames))["super_frames"] == ("warning", 60)
    trace = traced(tmp_path, frames, split_offload=mss, line_rate="25Gbps")
    assert codes(trace)["super_frames"] == ("info", 60)
    wanted = [
        made for row in before for made in (pieces(row, piece, 25 * 10**9) if row["payload_bytes"] > 1000 else [row])
    ]
    assert trace.packet_table().to_pylist() == wanted
    flow = trace.flow_table().to_pylist()[1]
    mine = [row for row in wanted if row["flow_id"] == 1]
    assert (flow["packets"], flow["bytes"]) == (len(mine), sum(row["wire_bytes"] for row in mine))
    assert flow["last_ns"] == max(row["time_ns"] for row in mine)
    assert trace.packet_count == len(wanted)


def test_without_an_announced_size_1500_bytes_count(tmp_path: Path) -> None:
    trace = traced(tmp_path, [(0, packet(1460)), (5, packet(1461, seq=1461))], split_offload="auto")
    assert trace.packet_table()["payload_bytes"].to_pylist() == [1460, 1460, 1]


def test_findings_by_severity_and_in_forecasts(tmp_path: Path) -> None:
    frames = [(n * 10**6, packet(4000, seq=1 + n * 4000, ip_id=n + 1)) for n in range(50)]
    frames.append((10**6, packet(0, back=True, seq=5, ack=10**6, ip_id=9)))
    trace = traced(tmp_path, frames)
    found = codes(trace)
    assert found["coarse_clock"] == ("error", 1)
    assert found["clock_steps_backwards"] == ("warning", 1)
    assert found["unseen_data_acknowledged"][1] == 1
    assert found["super_frames"] == ("warning", 50)
    severities = [f["severity"] for f in describe(trace)["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert "coarse_clock" not in {f["code"] for f in for_timeouts(trace.info, [10**9])}
    out = tmp_path / "f"
    document = forecast(trace, short_scenario(paths="2x1Gbps", seeds=[1]), out)
    assert {f["code"] for f in document["trace"]["findings"]} == {*found, "mtu_unchecked"}
    assert any("--split-offload auto" in words for words in caveats(Forecast(out)))


def test_one_sided_and_cut(tmp_path: Path) -> None:
    frames = [(n, packet(10, seq=n * 10, ip_id=n + 1)[: 40 if n else 99]) for n in range(30)]
    capture = tmp_path / "c.pcap"
    capture.write_bytes(writing.pcap([Captured(10**18 + t, len(f), f[:30]) for t, f in frames], 101, nanoseconds=True))
    trace = ingest([capture], tmp_path / "t.trace")
    assert codes(trace)["short_snaplen"] == ("warning", 30)
    assert codes(traced(tmp_path, frames))["one_sided_traffic"] == ("warning", 1)


def test_anonymized_traces_hide_addresses_and_are_not_rewritten(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("7f" * 32)
    frames = [(n * 1000, packet(100, seq=n * 100, ip_id=n + 1)) for n in range(20)]
    plain = traced(tmp_path, frames).flow_table()
    trace = traced(tmp_path, frames, anonymize=key)
    hidden = trace.flow_table()
    assert plain.drop_columns(["src", "dst"]) == hidden.drop_columns(["src", "dst"])
    assert not set(hidden["src"].to_pylist() + hidden["dst"].to_pylist()) & {"10.0.0.1", "10.0.0.2"}
    assert trace.info["anonymized"]["method"] == "Crypto-PAn"
    assert "7f7f" not in (trace.folder / "trace.json").read_text()
    forecast(trace, short_scenario(paths="2x1Gbps", seeds=[1]), tmp_path / "f")
    with pytest.raises(InputError, match="was ingested with --anonymize, so its packets are not those"):
        rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="inflight")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"split_offload": "big"}, "'big' is neither a number of bytes nor auto"),
        ({"split_offload": "9"}, "a segment size lies between 64 and 65535"),
        ({"line_rate": "10Gbps"}, "give --split-offload, too"),
        ({"split_offload": "auto", "line_rate": "0bps"}, "--line-rate 0 sends nothing"),
    ],
)
def test_wrong_choices(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose(**flags)


def test_frames_beside_a_super_frame_keep_what_was_captured(tmp_path: Path) -> None:
    """A record may claim fewer bytes on the wire than it holds; cutting another frame leaves that alone."""
    whole, odd = packet(3000), packet(10, back=True)
    capture = tmp_path / "c.pcap"
    records = [Captured(0, len(whole), whole[:96]), Captured(1000, 30, odd)]
    capture.write_bytes(writing.pcap(records, 101, nanoseconds=True))
    trace = ingest([capture], tmp_path / "t.trace", choices=choose(split_offload="auto"))
    table = trace.packet_table()
    assert table["split"].to_pylist() == [1, 2, 3, 0]
    assert table["captured_bytes"].to_pylist()[-1] == len(odd)


def jumbogram(payload_bytes: int) -> bytes:
    """An IPv6 TCP segment whose jumbo payload option (RFC 2675) claims so many bytes, of which none is there."""
    option = bytes([6, 0, 0xC2, 4]) + (8 + 20 + payload_bytes).to_bytes(4, "big")
    return writing.ipv6(option + writing.tcp(), 0, payload_length=0)


def test_what_claims_to_be_huge_is_cut_within_memory(tmp_path: Path) -> None:
    """Half a mebibyte is the most a host hands over at once; thousands of such frames become millions of rows."""
    import tracemalloc

    capture = tmp_path / "c.pcap"
    frames = [Captured(n, 10**6, jumbogram(512_000)) for n in range(300)] + [Captured(300, 10**7, jumbogram(4_000_000))]
    capture.write_bytes(writing.pcap(frames, 101))
    tracemalloc.start()
    trace = ingest([capture], tmp_path / "t.trace", choices=choose(split_offload="64"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trace.packet_count == 300 * 8000 + 1
    assert peak < 300 << 20
