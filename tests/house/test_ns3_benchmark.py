"""The lists of the ns-3 scenarios are what they say, and the program beside them replays a flow as reckoned by hand."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.ns3.scenarios import RATE_BPS, SCENARIOS, SPINES, WIRE_SHARE, Scenario, flow_list, quantile, write_flows

ROOT = Path(__file__).parents[2]


def test_every_scenario_has_its_own_name() -> None:
    assert len({s.name() for s in SCENARIOS}) == len(SCENARIOS) >= 24


@pytest.mark.parametrize("scenario", SCENARIOS, ids=Scenario.name)
def test_lists_carry_the_load_between_racks(scenario: Scenario) -> None:
    rows = [row for seed in range(1, 9) for row in flow_list(scenario, seed)]
    assert {src // scenario.hosts_per_leaf == dst // scenario.hosts_per_leaf for _, _, src, dst, _, _ in rows} == {
        False
    }
    assert {path for *_, path in rows} == set(range(SPINES))
    hosts = scenario.leaves * scenario.hosts_per_leaf
    assert {dst for _, _, _, dst, _, _ in rows} <= set(range(hosts))
    wire_bits = sum(row[4] for row in rows) * 8 * WIRE_SHARE
    seconds = sum(flow_list(scenario, seed)[-1][1] for seed in range(1, 9)) / 1e9
    senders = 1 if scenario.one_way else scenario.leaves
    capacity_bps = senders * min(scenario.hosts_per_leaf, SPINES) * RATE_BPS
    assert wire_bits / seconds / capacity_bps == pytest.approx(scenario.load, rel=0.2)


def test_only_pinned_flows_are_told_their_path(tmp_path: Path) -> None:
    for policy, columns in (("pinned", 6), ("inflight", 5)):
        path = tmp_path / f"{policy}.csv"
        write_flows(Scenario("TcpDctcp", 1_000_000, 0.5, policy=policy), 1, path)
        assert {len(row) for row in csv.reader(path.read_text().splitlines())} == {columns}
    assert flow_list(SCENARIOS[0], 1) != flow_list(SCENARIOS[0], 2)


def test_quantiles_are_linear_between_ranks() -> None:
    assert [quantile([1, 2, 4], share) for share in (0, 0.5, 0.75, 1)] == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path("/usr/include/ns3/core-module.h").exists():
        pytest.skip("libns3-dev is not installed")
    path = tmp_path_factory.mktemp("ns3") / "replay"
    subprocess.run([ROOT / "benchmarks" / "ns3" / "build.sh", path], check=True, env=os.environ | {"CXXFLAGS": "-O0"})
    return path


def replay(program: Path, flows: str, *flags: str) -> subprocess.CompletedProcess[str]:
    folder = program.parent
    (folder / "flows.csv").write_text(flows)
    command = [program, f"--flows={folder / 'flows.csv'}", f"--out={folder / 'results.csv'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


LIST = "flow,start_ns,src,dst,bytes,path\na,0,1,12,1000000,0\n"


def test_an_idle_flow_takes_what_it_must(program: Path) -> None:
    assert replay(program, LIST, "--tcp=TcpNewReno", "--host_queue=2000").returncode == 0
    (row,) = csv.DictReader((program.parent / "results.csv").read_text().splitlines())
    handshake_ns = 2 * 4 * (10_000 + 40)
    rounds_ns = 3 * 4 * (10_000 + 1202 + 10_000 + 34)  # windows of 10, 20 and 40 segments; then the link is full
    rest_ns = 34 + 614 * 1202 + 40_000 + 3 * 1202 + 1122
    assert int(row["fct_ns"]) == handshake_ns + rounds_ns + rest_ns
    assert (row["flow"], row["syns"], row["rto"], row["retransmissions"]) == ("a", "1", "0", "0")


@pytest.mark.parametrize("acks", ["same", "steered", "pinned"])
def test_in_flight_counters_return_to_nothing(program: Path, acks: str) -> None:
    rows = "".join(f"{flow},{flow * 1000},{flow % 8},{8 + flow % 3},300000\n" for flow in range(24))
    flags = ["--policy=inflight", "--timeout=50us", f"--acks={acks}", "--switch_queue=40"]
    ran = replay(program, f"flow,start_ns,src,dst,bytes\n{rows}", *flags)
    assert '"bytes_in_flight": 0, "unfinished": 0}' in ran.stdout
    assert '"switch_drops": 0,' not in ran.stdout


@pytest.mark.parametrize(
    ("flows", "flags", "error"),
    [
        (LIST.replace("bytes", "size"), [], "flows.csv: line 1: no column bytes"),
        (LIST.replace(",12,", ",16,"), [], "flows.csv: line 2: dst: '16' is not a whole number from 0 to 15"),
        (LIST.replace(",12,", ",1,"), [], "flows.csv: line 2: src and dst are the same host"),
        (LIST.replace("00,0", "00,"), [], "flow a has no path: --policy=pinned needs one for each"),
        (LIST, ["--policy=best"], "--policy=best is none of pinned, ecmp, random, inflight"),
        (LIST, ["--timeout=5"], "--timeout=5 is no number with one of the units ms, ns, s, us"),
        (LIST, ["--core_rate=fast"], "--core_rate=fast is no number with one of the units Gbps, Mbps, bps, kbps"),
        (LIST, ["--tcp=TcpNone"], "--tcp=TcpNone is not known to ns-3"),
    ],
)
def test_what_cannot_be_replayed_is_refused(program: Path, flows: str, flags: list[str], error: str) -> None:
    ran = replay(program, flows, *flags)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.strip().endswith(error)
    assert ran.stderr.count("\n") == 1
