"""What a replay finds out before anything is sent: the plan, from a rewrite and what machines say. Nothing is sent."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.inject.document import Document
from segcast.replay.inject.machines import exposed
from segcast.replay.inject.plan import Replay, plan_replay, processes
from segcast.replay.inject.run import refuse_short
from segcast.replay.inventory import Inventory, Sender
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.beds import rewritten

SCHEDULE = [(10**18, bytes(64)), (10**18 + 1000, bytes(64))]
ALL = Inventory(senders={"a": Sender(interface="lo", prefixes=("0.0.0.0/0", "::/0"))})


def test_a_run_names_the_forecast_that_was_rewritten(cluster: Trace, run: Run, tmp_path: Path) -> None:
    scenario = short_scenario(paths="2x300Mbps", policies=["inflight"], seeds=[1])
    forecast(cluster, scenario, tmp_path / "f")
    rewrite_forecast(tmp_path / "f", tmp_path / "r", policy="inflight")
    assert json.loads((tmp_path / "r" / "rewrite.json").read_text())["forecast"] == str(tmp_path / "f")

    def noted(folder: Path, named: str | None = None) -> object:
        return Document(plan_replay(folder, ALL, forecast=named), tmp_path / "run").content().forecast

    assert noted(tmp_path / "r") == str(tmp_path / "f")
    rewritten(tmp_path / "other", {"10.0.0.1": SCHEDULE})
    assert noted(tmp_path / "other") is None
    assert noted(tmp_path / "other", str(tmp_path / "f")) == str(tmp_path / "f")
    (tmp_path / "lab.toml").write_text(ALL.to_toml())
    flags = ("--inventory", tmp_path / "lab.toml", "--out", tmp_path / "run", "--send", "--forecast", tmp_path / "no")
    ran = run("replay", tmp_path / "other", *flags)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "no/forecast.json: not found, so this is not a forecast" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_loopback_is_no_way_into_a_network(tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"10.0.0.1": SCHEDULE})
    for allowed in (False, True):
        refusals = plan_replay(tmp_path / "r", ALL, allow_default_route=allowed).refusals
        assert (
            "sender a: interface lo is a loopback, which leads to no network; name the one that leads there" in refusals
        )


@pytest.mark.parametrize(
    ("times", "said", "words"),
    [
        ((0, 5, 5, 9), {"packets": 4, "first_ns": 0, "last_ns": 9}, None),
        ((0, 5, 9), {}, None),
        ((0, 5, 9), {"packets": 9}, "is damaged: packets is 3, but 9 in rewrite.json; run segcast rewrite again"),
        ((0, 5, 9), {"first_ns": 3}, "is damaged: first_ns is 0, but 3 in"),
        ((3, 5, 9), {"first_ns": 3, "last_ns": 10}, "is damaged: last_ns is 9, but 10 in"),
        ((), {"packets": 2, "first_ns": 3}, "is damaged: packets is 0, but 2 in"),
        ((0, 9, 5), {}, "its packets are not in order of time; run segcast rewrite again"),
    ],
)
def test_a_rewrite_that_changed_is_refused(
    tmp_path: Path, times: tuple[int, ...], said: dict[str, int], words: str | None
) -> None:
    folder = rewritten(tmp_path / "r", {"10.0.0.1": [(time_ns, bytes(64)) for time_ns in times], "10.0.0.2": SCHEDULE})
    document = json.loads((folder / "rewrite.json").read_text())
    document["files"][0] |= said
    (folder / "rewrite.json").write_text(json.dumps(document))
    if words is None:
        assert plan_replay(folder, ALL).packets == len(times) + 2
        return
    with pytest.raises(InputError, match=rf"10\.0\.0\.1\.pcap: {words}"):
        plan_replay(folder, ALL)


def test_more_packets_than_a_sender_sends_are_noted_or_refused(tmp_path: Path) -> None:
    """At 4 us a packet `absolute` may fall behind; at 2 us it certainly does. A short burst is noted alone."""

    def planned(gap_ns: int, count: int, sender: str = "absolute") -> Replay:
        times = [(10**18 + n * gap_ns, bytes(64)) for n in range(count)]
        folder = tmp_path / f"r{gap_ns}-{count}-{sender}"
        return plan_replay(rewritten(folder, {"10.0.0.1": times}), ALL, sender=sender)

    slow = planned(20_000, 6_000)
    assert slow.as_dict()["senders"][0]["busiest_pps"] == {"1ms": 50_000, "10ms": 50_000, "100ms": 50_000}
    assert slow.notes() == []
    fast = planned(8_000, 20_000)
    assert [note.split("busiest ")[1].split(";")[0] for note in fast.notes()] == ["1 ms", "10 ms", "100 ms"]
    assert (
        "absolute at here is asked for 0.12 M packets/s in the busiest 1 ms; it keeps time up to 0.10 M"
        in fast.notes()[0]
    )
    assert not any("M packets/s" in why for why in fast.refusals)
    short = planned(2_000, 500)
    assert [note.split("busiest ")[1].split(";")[0] for note in short.notes()] == ["1 ms"]
    assert not any("M packets/s" in why for why in short.refusals)
    (refused,) = (why for why in planned(2_000, 60_000).refusals if "M packets/s" in why)
    assert "0.50 M packets/s are to be sent throughout, but it sends up to 0.22 M" in refused
    assert not any("M packets/s" in why for why in planned(2_000, 60_000, "tcpreplay").refusals)


@pytest.mark.parametrize(
    ("routes", "above", "session", "words"),
    [
        ([], [], [], None),
        (["default via 192.0.2.1 dev eth0 proto dhcp"], [], [], "has the default route"),
        (["default via fe80::1 dev eth0 table 100 metric 5"], [], [], "has the default route of table 100"),
        (["unicast default via 192.0.2.1 dev eth0 table vpn"], [], [], "has the default route of table vpn"),
        (
            ["default proto static metric 9 \\\tnexthop dev wan weight 1 \\\tnexthop dev eth0 weight 1"],
            [],
            [],
            "has the default route",
        ),
        (["0.0.0.0/1 via 10.8.0.1 dev eth0"], [], [], "has the route 0.0.0.0/1, as good as a default route"),
        (["2000::/3 dev eth0 metric 1024"], [], [], "has the route 2000::/3, as good as a default route"),
        (["224.0.0.0/4 dev eth0 scope link"], [], [], None),
        (["default via 192.0.2.1 dev eth00", "default dev eth0.5"], [], [], None),
        (["default via 192.0.2.1 dev wan proto 115", "0.0.0.0/1 dev eth0 proto 115 scope link"], [], [], None),
        (
            ["default dev br0"],
            ["/sys/class/net/eth0/upper_br0"],
            [],
            "shares a link with br0, which has the default route",
        ),
        (["default dev br0"], ["/sys/class/net/eth1/upper_br0"], [], None),
        (
            ["default dev bond0.7"],
            [
                f"/sys/class/net/{low}/upper_{high}"
                for low, high in (("eth0", "bond0"), ("eth1", "bond0"), ("bond0", "bond0.7"))
            ],
            [],
            "shares a link with bond0.7, which has the default route",
        ),
        (
            ["default dev wire"],
            ["/sys/class/net/wire/upper_eth0"],
            [],
            "shares a link with wire, which has the default route",
        ),
        ([], [], ["eth0"], "carries this ssh session"),
        ([], ["/sys/class/net/eth0/upper_br0"], ["br0"], "shares a link with br0, which carries this ssh session"),
    ],
)
def test_what_could_cut_a_machine_off(
    routes: list[str], above: list[str], session: list[str], words: str | None
) -> None:
    assert exposed("eth0", routes, above, session) == words


def test_several_processes_send_what_one_cannot(tmp_path: Path) -> None:
    """As many as the fullest 10 ms need, one processor left for captures; tcpreplay is not more than one."""
    times = [(10**18 + n * 4_000, bytes(64)) for n in range(5_000)]
    plan = plan_replay(rewritten(tmp_path / "r", {"10.0.0.1": times}), ALL, sender="absolute")
    for cpus, wanted in ((1, 1), (2, 1), (3, 2), (4, 3), (64, 3)):
        streams = [replace(stream, facts=stream.facts._replace(cpus=cpus)) for stream in plan.streams]
        assert processes(streams, "absolute") == {"here": wanted}
        assert processes(streams, "tcpreplay") == {"a": 1}
        notes = replace(plan, streams=tuple(streams)).notes()
        assert len(notes) == {1: 2, 2: 2, 3: 0}[wanted], notes


def test_only_tcpreplay_is_said_to_fall_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "tcpreplay").write_text("#!/bin/sh\necho tcpreplay version: 4.4.3 '(build git:v4.4.3)'\n")
    (tools / "tcpreplay").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    folder = rewritten(tmp_path / "r", {"10.0.0.1": SCHEDULE})
    assert plan_replay(folder, ALL, sender="absolute").notes() == []
    (note,) = plan_replay(folder, ALL, sender="tcpreplay").notes()
    assert note.startswith("tcpreplay 4.4.3 at a adds the cost of sending to every gap")


def test_a_snaplen_that_measure_could_not_use_is_refused(tmp_path: Path) -> None:
    plan = plan_replay(rewritten(tmp_path / "r", {"10.0.0.1": [*SCHEDULE, (10**18 + 2000, bytes(200))]}), ALL)
    for enough in (0, 74, 300):
        refuse_short(plan, enough)
    for short in (20, 73):
        with pytest.raises(InputError, match=f"--snaplen {short}B: holds too little .* give 74B or more"):
            refuse_short(plan, short)
