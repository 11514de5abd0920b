"""The second decoder: it agrees where it can, finds planted faults by frame and field, and says what it left out."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segcast.cli import cli, main
from segcast.interruption import INTERRUPTION
from segcast.traces.errors import CheckFailed, InputError
from segcast.traces.headers import decode, ip
from segcast.traces.headers.ip import HAS_TCP, Headers
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.cross_check import MOST_SHOWN, CrossCheck, cross_check
from tests.support.ingesting import conversations
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.frames import make_frame
from tests.twins.writing import Captured

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "traces" / "samples" / "cluster.pcap.gz"


def plain(frames: list[bytes], link_type: int) -> bytes:
    return writing.pcap([Captured(10**15 + i * 1001, len(f), f) for i, f in enumerate(frames)], link_type)


def checked(tmp_path: Path, data: bytes, frames: int = 10**6, **choices: Any) -> CrossCheck:
    capture = tmp_path / "some.pcap"
    capture.write_bytes(data)
    return cross_check(ingest([capture], tmp_path / "some.trace", choices=choose(**choices)), frames)


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["segcast", *arguments])
    monkeypatch.setattr(INTERRUPTION, "install", int)  # the signals stay pytest's
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_agrees_on_the_bundled_capture(tmp_path: Path) -> None:
    trace = ingest([SAMPLE], tmp_path / "sample.trace")
    found = cross_check(trace, 300)
    assert (found.frames, found.differed, found.difference_count) == (300, 0, 0)
    assert found.agreed > 290 and set(found.not_compared) <= {"no IP header"}
    found.require_agreement()
    assert found.as_dict() == cross_check(trace, 300).as_dict()
    every = {"src", "dst", "protocol", "src_port", "dst_port", "payload_bytes", "ip_bytes", "tos", "ip_id"}
    assert set(found.fields) == every | {"tcp_seq", "tcp_ack", "tcp_flags", "tcp_window"}


@pytest.mark.parametrize("link_type", [0, 1, 9, 12, 51, 101, 108, 113, 228, 229, 276])
def test_agrees_on_made_captures_whatever_is_in_them(tmp_path: Path, link_type: int) -> None:
    agreed = 0
    for seed in range(6):
        c = Seeded(seed * 1000 + link_type)
        made = [make_frame(c, link_type, sound=seed % 2 == 0) for _ in range(200)]
        packets = [Captured(10**15 + i * 1001, frame.wire_bytes, frame.captured) for i, frame in enumerate(made)]
        data = writing.pcap(packets, link_type, order="<>"[seed % 2], nanoseconds=seed > 1)
        found = checked(tmp_path, data)
        assert found.differences == []
        assert found.agreed + sum(found.not_compared.values()) == found.frames == 200
        assert found.fields["time_ns"] == found.agreed
        agreed += found.agreed
    assert agreed > 100


def test_samples_evenly_over_all_captures(tmp_path: Path) -> None:
    captures = []
    for number, count in enumerate((10, 30)):
        captures.append(tmp_path / f"{number}.pcap")
        captures[-1].write_bytes(conversations(number, count))
    trace = ingest(captures, tmp_path / "both.trace")
    assert cross_check(trace, 4).frames == 4
    assert cross_check(trace, 41).frames == cross_check(trace, 40).frames == 40
    assert cross_check(trace, 1).frames == 1


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Headers], None]) -> None:
    """Decode wrongly: `change` alters what the kernel read."""
    right = ip.decode_ip

    def wrong(data: Any, start: Any, captured: Any, wire: Any, out: Headers) -> int:
        beyond = right(data, start, captured, wire, out)
        change(out)
        return beyond

    monkeypatch.setattr(decode.ip, "decode_ip", wrong)


@pytest.mark.parametrize("name", ["tcp_seq", "tcp_window", "ip_bytes", "ip_id", "src_port", "src_low", "tcp_flags"])
def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def change(out: Headers) -> None:
        assert out.valid[6] & HAS_TCP
        getattr(out, name)[6] += 1

    spoil(monkeypatch, change)
    segment = writing.tcp(seq=1, flags=16, payload=bytes(10))
    found = checked(tmp_path, plain([writing.ipv4(segment, 6)] * 20, 101))
    assert (found.agreed, found.differed, found.difference_count) == (19, 1, 1)
    assert [(d.frame_number, d.field) for d in found.differences] == [(7, name.replace("_low", ""))]
    with pytest.raises(CheckFailed, match=r"1 of 20 frames differ, first frame 7 of .*some\.pcap, .*the trace is kept"):
        found.require_agreement()


def test_a_missed_ip_header_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(out: Headers) -> None:
        out.valid[3], out.ip_start[3], out.reason[3] = 0, -1, 13

    spoil(monkeypatch, change)
    found = checked(tmp_path, plain([writing.ipv4(writing.tcp(), 6)] * 5, 101))
    assert [d[1:] for d in found.differences] == [(4, "ip header", False, True)]


def test_exit_status_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, out = tmp_path / "some.pcap", tmp_path / "some.trace"
    capture.write_bytes(plain([writing.ipv4(writing.tcp(), 6)] * 30, 101))
    command = ["ingest", str(capture), "--out", str(out), "--cross-check", "100"]
    assert run(command, monkeypatch) == 0
    assert "cross-check with dpkt: 30 of 30 frames agree\n" in capsys.readouterr().out
    assert run([*command, "--json"], monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)["cross_check"]
    assert (found["frames"], found["agreed"], found["differences"], found["not_compared"]) == (30, 30, [], {})

    def change(o: Headers) -> None:
        o.tcp_ack[:] += 1

    spoil(monkeypatch, change)
    assert run([*command, "--json"], monkeypatch) == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)["cross_check"]
    assert found["difference_count"] == found["differed"] == 30 and len(found["differences"]) == MOST_SHOWN
    assert found["differences"][0] == {
        "file": str(capture),
        "frame_number": 1,
        "field": "tcp_ack",
        "segcast": 3,
        "dpkt": 2,
    }
    assert "30 of 30 frames differ" in shown.err and out.is_dir()
    assert run(command, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "frame 20, tcp_ack: 3 by Segcast, 2 by dpkt\n10 more differences" in shown.out


def test_what_is_not_compared_is_counted_by_its_reason(tmp_path: Path) -> None:
    packet = writing.ipv4(writing.tcp(), 6)
    arp = writing.ethernet(bytes(28), 0x0806)
    found = checked(tmp_path, plain([writing.ethernet(packet, 0x0800), arp], 1))
    assert (found.agreed, dict(found.not_compared)) == (1, {"no IP header": 1})
    labelled = checked(tmp_path, plain([writing.mpls(packet, [3])], 219))
    assert dict(labelled.not_compared) == {"link type mpls": 1}


def test_changed_traces(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    data = conversations(3, 100)
    anonymous = checked(tmp_path, data, anonymize=key)
    assert anonymous.differences == [] and anonymous.agreed == 100
    assert "src" not in anonymous.fields and anonymous.fields["src_port"] > 50
    big = plain([writing.ipv4(writing.tcp(payload=bytes(5000)), 6), writing.ipv4(writing.tcp(dst_port=9), 6)], 101)
    cut = checked(tmp_path, big, split_offload="1000")
    assert (cut.agreed, dict(cut.not_compared)) == (1, {"cut into wire frames": 1})
    twice = plain([writing.ipv4(writing.tcp(), 6, identification=7)] * 2, 101)
    dropped = checked(tmp_path, twice, drop_duplicates=True)
    assert (dropped.agreed, dict(dropped.not_compared)) == (1, {"left out as a duplicate": 1})


@pytest.mark.parametrize(
    ("capture", "options", "said"),
    [
        ("some.pcap", ["--cross-check", "0"], "at least 1"),
        ("some.pcap", ["--cross-check", "5", "--layer", "inner"], "leave out --layer inner"),
        ("-", ["--cross-check", "5"], "a pipe does not allow"),
    ],
)
def test_refuses_before_reading(tmp_path: Path, capture: str, options: list[str], said: str) -> None:
    out = tmp_path / "some.trace"
    with pytest.raises(InputError, match=said):
        cli(["ingest", capture, "--out", str(out), *options], standalone_mode=False)
    assert not out.exists()


def test_dpkt_is_imported_only_when_asked_for(tmp_path: Path) -> None:
    capture = tmp_path / "some.pcap"
    capture.write_bytes(plain([writing.ipv4(writing.tcp(), 6)], 101))
    code = "import sys\nfrom segcast.cli import cli\n"
    code += f"cli(['ingest', {str(capture)!r}, '--out', {str(tmp_path / 'some.trace')!r}], standalone_mode=False)\n"
    code += "print('read' if 'dpkt' in sys.modules else 'untouched')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("untouched\n")


def test_the_second_decoder_shares_no_code_with_the_first() -> None:
    tree = ast.parse((ROOT / "traces" / "quality" / "cross_check.py").read_text("utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names and not any(name.startswith("segcast.traces.headers") for name in names)
