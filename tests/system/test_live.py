"""Real TCP through the testbed: it arrives over the paths that hosts chose, and leaves nothing when it is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.table import Workload
from segcast.replay.live.plan import plan_live
from segcast.replay.live.run import LiveRun, run_live, summary_of
from segcast.replay.live.sockets import Options
from segcast.replay.testbed.bed import down, status, up
from segcast.replay.testbed.spaces import spaces
from segcast.traces.errors import InputError
from tests.support.beds import NAME, needs_namespaces

pytestmark = needs_namespaces

ROOT = Path(__file__).parents[2]
RENO = Options("reno")
SCENARIO = """
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
hosts_per_leaf = 2
links = { rate = "100Mbps", buffer = "64KiB" }
"""
SIXES = "".join(
    f'\n[[attachments]]\nname = "leaf{place}"\nprefixes = ["2001:db8:{place}::/64"]\n' for place in range(3)
)
LIST = """flow,start_ns,src,dst,bytes,after,connection
a,0,0,2,150000,,
b,10000000,1,4,150000,,
c,,2,5,150000,a,
ask,20000000,5,3,100,,talk
answer,,3,5,150000,ask,talk
d,30000000,3,0,150000,,
"""


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    down(NAME)
    assert spaces(f"{NAME}-") == []


def made(folder: Path, more: str = "", rows: str = LIST) -> tuple[ValidScenario, Workload]:
    (folder / "s.toml").write_text(SCENARIO + more)
    (folder / "w.csv").write_text(rows)
    return read_scenario(folder / "s.toml"), read_workload(folder / "w.csv")


def carried(run: LiveRun) -> set[str]:
    """The links that carried more than what interfaces tell of themselves."""
    return {link for link, (packets, _) in run.counts.links.items() if packets > 20}


@pytest.mark.parametrize("more", ["", '[srv6]\nmode = "reduced"\n', f'[srv6]\nmode = "usid"\n{SIXES}'])
def test_flows_take_the_paths_that_hosts_choose(more: str, tmp_path: Path) -> None:
    scenario, workload = made(tmp_path, more)
    up(scenario, NAME)
    for seed in (1, 2):  # the second run's rules take the place of the first's
        plan = plan_live(workload, scenario, "host-ecmp", seed)
        links = attach(workload, scenario).network
        run = run_live(
            workload, scenario, policy="host-ecmp", seed=seed, name=NAME, options=RENO, super_frames=seed == 2
        )
        assert run.unfinished_why is None
        assert run.flows.column("fct_ns").null_count == 0
        data = [plan.connections[half // 2].paths[half % 2] for half in plan.half_of_row.tolist()]
        assert run.flows.column("path_id").to_pylist() == data
        used = {path for connection in plan.connections for path in connection.paths}  # by data and acknowledgements
        names = {links.links[link].name for path in used for link in links.paths[path].links}
        assert carried(run) == names
        assert run.counts.tcp["TCPOrigDataSent"] >= workload.bytes.sum() / 1460


def test_without_segment_lists_the_network_chooses(tmp_path: Path) -> None:
    scenario, workload = made(tmp_path)
    up(scenario, NAME)
    run_live(workload, scenario, policy="host-ecmp", seed=1, name=NAME, options=RENO)
    run = run_live(workload, scenario, policy="ecmp", seed=1, name=NAME, options=RENO)
    found = summary_of(run)
    assert (found["flows"], found["unfinished"], run.flows.column("path_id").null_count) == (6, 0, 6)
    assert found["fct_p50_ns"] > 150_000 * 80  # at 100 Mbit/s
    assert sum(packets for packets, _ in run.counts.links.values()) > 5 * 2 * 100


def test_losses_are_counted_where_they_happen(tmp_path: Path) -> None:
    rows = "flow,start_ns,src,dst,bytes,path\n" + "".join(f"{n},0,{n % 2},2,400000,1\n" for n in range(6))
    scenario, workload = made(tmp_path, rows=rows)
    up(scenario, NAME)
    run = run_live(workload, scenario, policy="host-ecmp", seed=1, name=NAME, options=RENO)
    found = summary_of(run)
    assert {link for link, (_, drops) in run.counts.links.items() if drops} == {"leaf0-spine1"}
    assert found["retransmissions"] >= found["dropped"] - found["syn_retransmissions"] > 0


def test_another_network_is_refused(tmp_path: Path) -> None:
    scenario, workload = made(tmp_path)
    with pytest.raises(InputError, match="does not stand"):
        run_live(workload, scenario, policy="ecmp", seed=1, name=NAME)
    up(scenario, NAME)
    other, _ = made(tmp_path, '[srv6]\nmode = "usid"\n')
    with pytest.raises(InputError, match="was built for another srv6"):
        run_live(workload, other, policy="ecmp", seed=1, name=NAME)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_it_leaves_a_testbed_that_the_next_one_uses(number: int, tmp_path: Path) -> None:
    scenario, workload = made(tmp_path, rows="flow,start_ns,src,dst,bytes\nlong,0,0,2,400000000\n")
    up(scenario, NAME)
    code = (
        "from pathlib import Path\nfrom segcast.analyzer.scenario.reading import read_scenario\n"
        "from segcast.analyzer.workload.reading import read_workload\nfrom segcast.replay.live.run import run_live\n"
        "from segcast.replay.live.sockets import Options\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"run_live(read_workload(folder / 'w.csv'), read_scenario(folder / 's.toml'), "
        f"policy='host-ecmp', seed=1, name={NAME!r}, options=Options('reno'))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        sends = plan_live(workload, scenario, "host-ecmp", 1).connections[0].ends[0][1]
        until = time.monotonic() + 30
        while time.monotonic() < until and not connected(sends):
            time.sleep(0.1)
        assert connected(sends)
        child.send_signal(number)
        _, errors = child.communicate(timeout=10)
        assert child.returncode == (-number if number == signal.SIGKILL else 1) or "KeyboardInterrupt" in errors
    finally:
        child.kill()
    again, workload = made(tmp_path)
    assert run_live(workload, again, policy="host-ecmp", seed=1, name=NAME, options=RENO).unfinished_why is None


def connected(port: int) -> bool:
    """Whether the host of leaf0 has an open connection from this port."""
    ran = subprocess.run(
        ["ip", "netns", "exec", f"{NAME}-host-leaf0", "cat", "/proc/net/tcp"],
        capture_output=True,
        text=True,
        check=True,
    )
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in ran.stdout.splitlines()[1:]
    )


EVENTS = """
[[events]]
at = "200ms"
node = "spine1"
state = "down"
[[events]]
at = "1s"
node = "spine1"
state = "up"
"""
ROWS = "flow,start_ns,src,dst,bytes,path\n" + "".join(
    f"{n},{25_000_000 * n},{n % 2},2,150000,{n % 2}\n" for n in range(20)
)


def test_a_spine_that_black_holes_takes_what_comes_and_nobody_is_told(tmp_path: Path) -> None:
    scenario, workload = made(tmp_path, f"{EVENTS}\n", ROWS)
    scenario = scenario.model_copy(update={"detection": 60_000_000_000})
    up(scenario, NAME)
    run = run_live(workload, scenario, policy="host-ecmp", seed=1, name=NAME, options=RENO)
    assert (run.unfinished_why, run.late_events) == (None, 0)
    rows = run.flows.to_pylist()
    hit = [row for n, row in enumerate(rows) if n % 2 and n >= 8]  # over spine1, and begun while it was dead
    spared = [row for n, row in enumerate(rows) if n % 2 == 0]
    assert all(row["start_ns"] + row["fct_ns"] > 1_000_000_000 for row in hit)
    assert all(row["fct_ns"] < 600_000_000 for row in spared)
    assert all(row["syn_retransmissions"] for row in hit)
    outages = {each.link: each for each in run.outages}
    assert set(outages) == {f"leaf{n}-spine1{way}" for n in range(3) for way in ("", "-back")}
    assert {(each.down_ns, each.up_ns) for each in run.outages} == {(200_000_000, 1_000_000_000)}
    took = outages["leaf0-spine1"]
    assert took.packets >= len(hit)
    assert run.counts.links["leaf0-spine1"][1] >= took.packets
    assert carried(run) >= {"leaf0-spine0", "leaf0-spine1"}
    assert status(NAME)["state"] == "up"  # as it was built


def test_routing_that_knows_leads_around_what_is_dead(tmp_path: Path) -> None:
    """Where nodes hash, nothing takes the dead spine once they know; afterwards all routes are as they were."""
    rows = "flow,start_ns,src,dst,bytes\n" + "".join(f"{n},{25_000_000 * n},{n % 2},2,150000\n" for n in range(30))
    scenario, workload = made(tmp_path, EVENTS.replace("200ms", "0ns") + "", rows)
    scenario = scenario.model_copy(update={"detection": 0})
    up(scenario, NAME)
    run = run_live(workload, scenario, policy="ecmp", seed=1, name=NAME, options=RENO)
    assert run.unfinished_why is None
    assert max(row["fct_ns"] for row in run.flows.to_pylist()) < 1_000_000_000
    assert sum(each.packets for each in run.outages) <= 6  # what interfaces tell of themselves
    assert run.counts.links["leaf0-spine0"][0] > 1000
    assert status(NAME)["state"] == "up"


def test_killed_while_a_link_is_down_the_testbed_is_not_taken_for_whole(tmp_path: Path) -> None:
    events = EVENTS.replace("200ms", "0ns").replace("1s", "50s")
    scenario, workload = made(tmp_path, events, "flow,start_ns,src,dst,bytes\nlong,0,0,2,400000000\n")
    up(scenario, NAME)
    code = (
        "from pathlib import Path\nfrom segcast.analyzer.scenario.reading import read_scenario\n"
        "from segcast.analyzer.workload.reading import read_workload\nfrom segcast.replay.live.run import run_live\n"
        "from segcast.replay.live.sockets import Options\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"run_live(read_workload(folder / 'w.csv'), read_scenario(folder / 's.toml'), "
        f"policy='host-ecmp', seed=1, name={NAME!r}, options=Options('reno'))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and status(NAME)["state"] == "up":
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    assert f"{NAME}-spine1: drops what comes over e0" in status(NAME)["missing"]
    with pytest.raises(InputError, match=r"does not stand as it was built .*drops what comes over"):
        run_live(workload, scenario, policy="ecmp", seed=1, name=NAME)
    assert up(scenario, NAME)["state"] == "up"
