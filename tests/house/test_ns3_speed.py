"""Programs named by flags are measured beside the closed loop: here scripts stand in. No test asserts a time."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.ns3 import speed
from benchmarks.ns3.scenarios import SCENARIOS
from benchmarks.ns3.speed import Absent, Took, said_hops, table, theirs


def script(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def test_a_program_gets_the_list_and_says_how_many_packet_hops_it_took(tmp_path: Path) -> None:
    flows = tmp_path / "flows.csv"
    flows.write_text("flow,start_ns,src,dst,bytes,path\n0,0,0,8,1000,0\n")
    lines = f'echo "$@" > {tmp_path}/told\necho working\necho \'{{"packet_hops": 4711}}\''
    took = theirs(script(tmp_path / "program", lines), SCENARIOS[0], flows, 7)
    assert took.packet_hops == 4711
    assert took.seconds >= 0
    told = (tmp_path / "told").read_text().split()
    assert {f"--flows={flows}", "--seed=7", "--leaves=2", "--hosts_per_leaf=8", "--tcp=TcpDctcp"} <= set(told)


@pytest.mark.parametrize("output", ["", "done\n", "[4711]", '{"packet_hops": "many"}', '{"packet_hops": -1}', "{"])
def test_a_program_need_not_count(output: str) -> None:
    assert said_hops(output) is None


def test_what_cannot_be_run_is_named(tmp_path: Path) -> None:
    failing = script(tmp_path / "failing", "echo no such topology >&2\nexit 3")
    with pytest.raises(Absent, match=r"failing failed with 3: no such topology"):
        theirs(failing, SCENARIOS[0], tmp_path / "flows.csv", 1)
    with pytest.raises(Absent, match=r"absent cannot be run: No such file"):
        theirs(tmp_path / "absent", SCENARIOS[0], tmp_path / "flows.csv", 1)


def test_rates_are_compared_by_the_least_time_of_each() -> None:
    seconds = iter([3.0, 2.0, 4.0])
    calls: list[str] = []

    def failing() -> Took:
        calls.append("absent")
        raise Absent("it is not there")

    lines = table(
        {
            "here": lambda: Took(next(seconds), 8_000_000),
            "slow": lambda: Took(40.0, 4_000_000),
            "silent": lambda: Took(1.0, None),
            "absent": failing,
        },
        3,
    )
    assert [line.split() for line in lines[1:]] == [
        ["here", "2.000", "8,000,000", "4.00", "1.00", "times"],
        ["slow", "40.000", "4,000,000", "0.10", "40.00", "times"],
        ["silent", "1.000", "8,000,000", "8.00", "0.50", "times", "(packet-hops", "as", "here)"],
        ["absent", "it", "is", "not", "there"],
    ]
    assert calls == ["absent"]


def test_the_same_flows_are_given_to_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = f'for told in "$@"; do case $told in --flows=*) cp "${{told#--flows=}}" {tmp_path}/flows.csv;; esac; done'
    kept = script(tmp_path / "kept", lines)
    arguments = ["--scenario", "dctcp-100k-load60-8h-pinned", "--rounds", "1", "--ns3", str(kept), "--htsim"]
    speed.main([*arguments, str(tmp_path / "absent")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[2:]] == ["segcast", "ns-3", "htsim"]
    assert rows[4][-4:] == ["such", "file", "or", "directory"]
    sent = [int(row["bytes"]) for row in csv.DictReader((tmp_path / "flows.csv").read_text().splitlines())]
    assert len(sent) == 1_000
    least = sum(-(-size // 1460) for size in sent) * 2 * 4  # each segment and its acknowledgement cross four links
    assert least <= int(rows[2][2].replace(",", "")) <= least * 1.1
