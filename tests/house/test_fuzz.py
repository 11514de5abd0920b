"""Fuzzing: a short run finds nothing, planted faults are found and kept, and the parts do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.mutate import MOST_BYTES, Mutator
from tests.fuzz.packers import PACKERS
from tests.fuzz.records import cut, join, split, spread
from tests.fuzz.seeds import ROOT, conversation, erfs, seeds, snoop
from tests.twins.captures import file_begins, read_all

SHORT = ("--generated", "15", "--bundled", "--seed", "7")


def run(out: Path, *arguments: str, plant: dict[str, list[tuple[str, str]]] | None = None) -> dict[str, Any]:
    """The figures of a run; its exit status tells whether there are findings."""
    command = [sys.executable, "-m", "tests.fuzz", "--out", str(out), *SHORT, *arguments]
    if plant:
        (out.parent / "plant.json").write_text(json.dumps(plant))
        command += ["--plant", str(out.parent / "plant.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert bool(figures["findings"]) == (done.returncode == 1)
    return figures


Short = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run without a fault, before all others: none takes compilation for a hang, or its memory for an input's."""
    out = tmp_path_factory.mktemp("fuzz") / "out"
    return out, run(out, "--inputs", "1500", "--seconds", "120")


def test_a_short_run_finds_nothing(short: Short) -> None:
    out, figures = short
    texts = [path.read_text() for path in (out / "findings").glob("*.txt")]
    assert not figures["findings"], "\n".join(texts)
    assert figures["inputs"] >= 256
    assert figures["points_reached"] > 1200
    assert figures["corpus"] > 120


def test_planted_faults_are_found_and_replayed(tmp_path: Path) -> None:
    plant = {
        "segcast.traces.captures.reader": [("self.frames += count", "self.frames += count + (count == 7)")],
        "segcast.traces.ingest.merge": [
            ("np.arange(first, first + count", "np.arange(first + (begin > 0), first + count + (begin > 0)")
        ],
        "segcast.traces.headers.link": [("if after < begin or end < after:", "if after < begin:")],
        "segcast.traces.captures.formats.pcapng": [
            ("_empty_interfaces(8)", "_empty_interfaces(1)"),
            ("if at == len(self.interfaces.linktype):", "if at == len(self.interfaces.linktype) + 1:"),
        ],
    }
    figures = run(tmp_path / "out", "--inputs", "500", "--seconds", "60", plant=plant)
    found = "\n".join(figures["findings"])
    assert "rule: results do not depend on buffers" in found
    assert "rule: bytes around a frame do not matter" in found or "rule: columns as the twin" in found
    assert "rule: a merge is that of the twin" in found
    assert "IndexError at pcapng.py" in found
    saved = [path for path in (tmp_path / "out" / "findings").iterdir() if path.suffix != ".txt"]
    assert len(saved) >= 4
    replayed = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--replay", *map(str, saved)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stderr  # the fault is not in the sources


@pytest.mark.parametrize(
    ("fault", "word"), [("__import__('os').abort()", "died: signal 6"), ("exec('while 1: 0')", "hang")]
)
def test_a_worker_that_dies_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, word: str
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(fuzz, "_WARM_UP_S", 12)  # kernels are compiled by now
    plant = {"segcast.traces.captures.formats.pcapng": [("linktype, _, snaplen =", f"{fault}; linktype, _, snaplen =")]}
    (tmp_path / "plant.json").write_text(json.dumps(plant))
    out = tmp_path / "out"
    assert fuzz.main(["--out", str(out), *SHORT, "--plant", str(tmp_path / "plant.json")]) == 1
    (name,) = json.loads((out / "figures.json").read_text())["findings"]
    assert name.startswith(word)
    (saved,) = (path for path in (out / "findings").iterdir() if path.suffix != ".txt")
    assert saved.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert f"--replay {saved}" in saved.with_name(f"{saved.name}.txt").read_text()


def test_captures_come_apart_and_together_again() -> None:
    kinds, compressed = set(), 0
    for data in seeds(60, None):
        capture = split(data)
        if capture is None:
            compressed += data != b""
            continue
        kinds.add((capture.kind, capture.order))
        if read_all(data)[1] is None:
            joined = join(capture)
            again = split(joined)  # of snoop without needless padding
            assert joined == data or (again and capture.kind == "snoop" and len(again.records) == len(capture.records))
            assert capture.rest == b"" or file_begins(capture.rest, 0)
    assert kinds == {("pcap", "<"), ("pcap", ">"), ("pcapng", "<"), ("pcapng", ">"), ("snoop", ">")}
    assert compressed == 2 * len(PACKERS) + len(list(erfs()))
    whole, short = conversation(), cut(conversation(), 300, 0.5)
    assert len(short) <= 300
    assert read_all(short)[1] is None
    assert 0 < len(read_all(short)[0]) < len(read_all(whole)[0])


def test_records_are_spread_over_captures() -> None:
    for data in seeds(40, None):
        capture = split(data)
        if capture is None or not capture.records or capture.rest or read_all(data)[1] is not None:
            continue
        parts = spread(capture, [n % 3 for n in range(len(capture.records))])
        read = [read_all(join(part)) for part in parts]
        assert [damage for _, damage in read] == [None] * len(parts)
        frames = sorted(record.frame for found, _ in read for record in found)
        assert frames == sorted(record.frame for record in read_all(data)[0])


def test_mutations_are_seeded_and_bounded() -> None:
    corpus = list(seeds(20, None))
    made = []
    for _ in range(2):
        mutator = Mutator(3, lambda: corpus[5])
        made.append([mutator.mutate(corpus[n % len(corpus)]) for n in range(300)])
    assert made[0] == made[1]
    assert len(set(made[0])) > 280
    assert max(map(len, made[0])) <= MOST_BYTES
    sound = sum(read_all(data)[1] is None and len(read_all(data)[0]) > 0 for data in made[0])
    assert sound > 60  # many still read to their end, so that decoders see them
    assert split(snoop(conversation())) is not None


def test_every_branch_is_counted(tmp_path: Path) -> None:
    """In a process of its own: the counters must be there before `traces` is."""
    code = """
from tests.fuzz.instrument import Instrument, take_novelty
instrument = Instrument()
from tests.fuzz import seeds, worker  # as fuzzing does, in this order, so that its compiled kernels fit
import numpy as np
from segcast.traces import units
from segcast.traces.headers import link
from segcast.traces.headers.tenants import MOST_PARTS, Tenants
from segcast.traces.errors import InputError
seen = np.zeros(len(instrument.counters), np.uint8)
def locate(frame, n=None):
    data, one = np.frombuffer(bytearray(frame), np.uint8), np.zeros(1, np.int64)
    out = np.zeros(1, np.int32), np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    size = np.array([n or len(frame)], np.uint32)
    located = link.Located(*out, np.zeros(1, np.uint32), np.zeros(1, np.uint32), np.zeros(MOST_PARTS + 1, np.uint64))
    link.locate(data, one, size, size, np.ones(1, np.uint16), Tenants().with_room(1), located)
    return take_novelty(instrument.counters, seen)
arp = bytes(12) + bytes([8, 6]) + bytes(20)
tagged = bytes(12) + bytes([0x81, 0, 0, 0, 8, 6]) + bytes(20)
locate(bytes(20))
assert locate(arp) > 0 and locate(arp) == 0 and locate(tagged) > 0
units.duration_ns("1us"); assert take_novelty(instrument.counters, seen) > 0
units.duration_ns("2us"); assert take_novelty(instrument.counters, seen) == 0
assert any(place.startswith("link:") for place in instrument.places)
try:
    locate(bytes(5), 30)
    raise SystemExit("read beyond the end")
except IndexError:
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
