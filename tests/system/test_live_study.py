"""`segcast testbed live`: what it measures, what it refuses, and that nothing of it stays, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from segcast.replay.live.tables import LIVE_TABLES
from segcast.replay.testbed.bed import down
from segcast.replay.testbed.spaces import spaces
from tests.support.beds import NAME, needs_namespaces
from tests.support.steering import needs_bpf, why_not

ROOT = Path(__file__).parents[2]
SCENARIO = """
policies = ["ecmp", "host-ecmp"]
seeds = [3, 5]
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
hosts_per_leaf = 2
links = { rate = "100Mbps", buffer = "64KiB", burst = "10kB" }
[transport]
control = "newreno"
"""
ROWS = """flow,start_ns,src,dst,bytes,after,connection
a,0,0,2,150000,,
ask,1000000,1,3,100,,t
answer,,3,1,90000,ask,t
"""


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    if os.geteuid() == 0:
        down(NAME)
    assert spaces(f"{NAME}-") == []


def command(folder: Path, *arguments: str, more: str = "") -> list[str]:
    (folder / "s.toml").write_text(SCENARIO + more)
    for seed in (3, 5):
        (folder / f"w{seed}.csv").write_text(f"{ROWS}more,{seed},0,3,{seed * 1000},,\n")
    lists = str(folder / "w{seed}.csv")
    begin = ["testbed", "live", str(folder / "s.toml"), "--workload", lists, "--name", NAME]
    return [sys.executable, "-m", "segcast", *begin, *arguments]


def ran(folder: Path, *arguments: str, more: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *arguments, more=more), cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_says_what_it_would_send_and_sends_nothing(tmp_path: Path) -> None:
    done = ran(tmp_path, "--json")
    found = json.loads(done.stdout)
    assert sorted(found["cells"][:2]) == ["ecmp-s3", "host-ecmp-s3"]
    assert sorted(found["cells"][2:]) == ["ecmp-s5", "host-ecmp-s5"]
    assert [each["seeds"] for each in found["lists"]] == [[3], [5]]
    assert (found["control"], found["segment_bytes"], found["sent"]) == ("reno", 1472, False)
    assert [note for note in found["notes"] if "transport.header says 40:" in note]
    assert not spaces(f"{NAME}-")
    assert "nothing was sent" in ran(tmp_path, "--policy", "ecmp", "--seeds", "3").stdout


def test_what_it_cannot_run_is_one_line(tmp_path: Path) -> None:
    for arguments, more, said in (
        (["--policy", "ecmp,conga"], "", "policy conga"),
        (["--policy", "nonsense"], "", "--policy"),
        (["--seeds", "5-3"], "", "--seeds"),
        (["--seeds", "9"], "", "w9.csv"),
        (["--send"], "", "--out is missing"),
        ([], '[[events]]\ntime = "1ms"\nlink = "leaf0-spine0"\ndown = true\n', "events"),
    ):
        done = ran(tmp_path, *arguments, more=more)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert said in done.stderr


@needs_namespaces
def test_each_policy_sends_each_list_and_all_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = ran(tmp_path, "--out", str(out), "--send", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["control"], found["lists"][1]["flows"], found["program"]) == ("reno", 4, None)
    assert not any("not all flows" in finding for finding in found["findings"])
    for table in LIVE_TABLES:
        assert pq.read_schema(out / f"{table.name}.parquet").equals(table.arrow_schema())
    summary = pl.read_parquet(out / "summary.parquet")
    assert summary["seed"].to_list() == [3, 3, 5, 5]
    assert summary["list"].to_list() == ["w3", "w3", "w5", "w5"]
    assert summary["began_ns"].is_sorted()
    assert summary["unfinished"].to_list() == [0] * 4
    flows = pl.read_parquet(out / "flows.parquet")
    assert sorted(flows.filter(pl.col("flow") == "more")["bytes"].to_list()) == [3000, 3000, 5000, 5000]
    for cell in flows.partition_by("cell"):
        answer, ask = (cell.row(by_predicate=pl.col("flow") == name, named=True) for name in ("answer", "ask"))
        assert answer["start_ns"] >= ask["start_ns"] + ask["fct_ns"]
    assert flows.filter(pl.col("policy") == "ecmp")["path_id"].null_count() == 8
    assert flows.filter(pl.col("policy") == "host-ecmp")["path_id"].null_count() == 0
    links = pl.read_parquet(out / "links.parquet")
    assert links["carried_bytes"].sum() > 4 * 240_000 * 2
    assert spaces(f"{NAME}-") == []


@needs_namespaces
@needs_bpf
def test_the_kernels_program_steers_what_routes_cannot(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--policy", "random,inflight", "--timeout", "1ms,drained", "--seeds", "3", "--out", str(out), "--send"]
    done = ran(tmp_path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["program"]) == 64
    summary = pl.read_parquet(out / "summary.parquet")
    assert sorted(summary["cell"]) == ["inflight-1ms-s3", "inflight-drained-s3", "random-1ms-s3", "random-drained-s3"]
    assert summary["unfinished"].to_list() == [0] * 4
    assert summary["inflight_left_bytes"].to_list() == [0] * 4
    assert summary["flowlets_lost"].to_list() == [0] * 4
    flows, flowlets = (pl.read_parquet(out / f"{name}.parquet") for name in ("flows", "flowlets"))
    assert flows["flowlets"].min() >= 1
    counts = (
        flowlets.filter("data")
        .group_by("cell", "flow")
        .agg(pl.len().cast(pl.UInt64).alias("flowlets"), pl.col("bytes").sum())
    )
    both = flows.join(counts, on=["cell", "flow", "flowlets"], suffix="_sent")
    assert len(both) == len(flows)
    assert (both["bytes_sent"] > both["bytes"]).all()  # and headers
    assert set(flowlets["path_id"]) <= set(range(4))
    assert pl.read_parquet(out / "links.parquet")["dropped"].sum() == summary["dropped"].sum()


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_it_leaves_nothing(number: int, tmp_path: Path) -> None:
    steered = why_not() is None and number == signal.SIGKILL
    policy = ["--policy", "inflight", "--timeout", "3ms"] if steered else ["--policy", "host-ecmp"]
    arguments = [*policy, "--seeds", "3", "--out", str(tmp_path / "run"), "--send"]
    whole = command(tmp_path, *arguments)
    (tmp_path / "w3.csv").write_text("flow,start_ns,src,dst,bytes\nlong,0,0,2,400000000\n")
    child = subprocess.Popen(whole, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert waited(lambda: bool(connected()))
        child.send_signal(number)
        _, errors = child.communicate(timeout=20)
    finally:
        child.kill()
    assert child.returncode == (130 if number == signal.SIGINT else -number)
    assert (errors.strip() == "segcast: interrupted; nothing was left half-written") == (number == signal.SIGINT)
    assert waited(lambda: not Path("/run/segcast", f"{NAME}.lock").exists())  # who removed all is done
    assert not spaces(f"{NAME}-")
    assert not (tmp_path / "run").exists()
    assert not Path("/run/segcast", NAME).exists()


def waited(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if done():
            return True
        time.sleep(0.1)
    return False


def connected() -> list[str]:
    """Open connections of the host of leaf0."""
    inside = ["ip", "netns", "exec", f"{NAME}-host-leaf0", "cat", "/proc/net/tcp"]
    found = subprocess.run(inside, capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines()[1:] if line.split()[3] == "01"]


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_goes_on_with_what_is_missing(number: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--policy", "host-ecmp", "--seeds", "3,5", "--out", str(out), "--send"]
    whole = command(tmp_path, *arguments)
    (tmp_path / "w5.csv").write_text("flow,start_ns,src,dst,bytes\nlong,0,0,2,30000000\n")  # takes a few seconds
    aside = tmp_path / ".run.segcast-partial"
    child = subprocess.Popen(whole, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert waited(lambda: (aside / "checkpoint.json").exists() and bool(connected()))
        child.send_signal(number)
        _, errors = child.communicate(timeout=20)
    finally:
        child.kill()
    kept = "interrupted; 1 of 2 cells are done, kept aside: the same command goes on from there"
    assert (kept in errors) == (number == signal.SIGINT)
    assert waited(lambda: not Path("/run/segcast", f"{NAME}.lock").exists())
    assert not out.exists()
    (first,) = aside.glob("*.cell")
    measured = first.read_bytes()

    other = again([*whole, "--cc", "cubic"])
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "waits for the rest of an interrupted live run of another congestion control (cells done: 1)" in other.stderr
    assert first.read_bytes() == measured

    done = again(whole)
    assert done.returncode == 0, done.stderr
    assert "resuming: 1 of 2 cells are done" in done.stderr
    assert "was interrupted: 1 of 2 cells ran before the others" in done.stdout
    summary = pl.read_parquet(out / "summary.parquet")
    assert (summary["seed"].to_list(), summary["unfinished"].to_list()) == ([3, 5], [0, 0])
    assert summary["began_ns"].is_sorted()
    assert not aside.exists()

    before = (out / "live.json").read_bytes()
    repeated = again(whole)
    assert (repeated.returncode, repeated.stderr) == (
        0,
        f"segcast: {out}: is done, with all 2 cells; nothing is sent again\n",
    )
    other = again([*whole, "--ack-timeout", "1s", "--super-frames"])
    assert other.returncode == 2
    assert "holds a live run of other super-frames; choose another --out, or remove it" in other.stderr
    assert (out / "live.json").read_bytes() == before
    said = json.loads(before)
    (out / "live.json").write_text(json.dumps(said | {"asked": None}))
    assert "holds a live run that does not say what was asked; choose another --out" in again(whole).stderr
    (out / "live.json").write_bytes(before[:-9])
    assert (
        again(whole).stderr == f"segcast: {out / 'live.json'}: is damaged; choose another --out, or remove that run\n"
    )


def again(whole: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_namespaces
def test_links_fail_and_recover_in_each_cell(tmp_path: Path) -> None:
    """The scenario's detection is 1 ms, so where nodes hash all go on around the dead spine; hosts' paths stay."""
    events = "".join(
        f'[[events]]\nat = "{at}"\nnode = "spine1"\nstate = "{state}"\n'
        for at, state in (("2ms", "down"), ("1s", "up"))
    )
    out = tmp_path / "run"
    whole = command(tmp_path, "--seeds", "3", "--out", str(out), "--send", "--json")
    (tmp_path / "s.toml").write_text(SCENARIO.replace(', burst = "10kB"', "") + events)
    done = again(whole)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {each["link"] for each in found["outages"]} >= {"leaf0-spine1", "leaf1-spine1-back"}
    assert {each["cell"] for each in found["outages"]} == {"ecmp-s3", "host-ecmp-s3"}
    assert not any("events of links" in finding for finding in found["findings"])
    assert pl.read_parquet(out / "summary.parquet")["unfinished"].to_list() == [0, 0]


def test_rates_of_links_that_change_are_refused(tmp_path: Path) -> None:
    done = ran(tmp_path, more='[[events]]\nat = "1ms"\nlink = "leaf0-spine0"\nrate = "10Mbps"\n')
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "token bucket, which cannot change" in done.stderr
