"""`segcast measure`: runs made from a rewrite, whose every packet's fate is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import PACKET_FATES
from segcast.replay.measure.identity import list_key
from segcast.replay.measure.match import Planned
from segcast.replay.measure.run import measure, measured_table
from segcast.replay.measure.run_folder import Run as SentRun
from segcast.replay.rewrite.of_forecast import Wanted, encapsulation, rewrite_forecast
from segcast.replay.rewrite.run import RewriteSummary
from segcast.replay.srv6.templates import Encapsulation
from segcast.traces.errors import InputError
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.beds import SCENARIOS, udp
from tests.support.measuring import Net, run_folder, write_pcap
from tests.support.networks import both_ways
from tests.twins.srv6 import parse_frame


@dataclass(frozen=True)
class Written:
    """A forecast of the bundled capture and the rewrite of its inflight schedule."""

    forecast: Path
    scenario: ValidScenario
    summary: RewriteSummary
    lists: Encapsulation

    def path_of(self, frame: bytes) -> int:
        inner = parse_frame(frame, self.summary.mode)
        assert inner.outer is not None
        family = self.lists.segments4 if inner.inner[0] >> 4 == 4 else self.lists.segments6
        return family.index(tuple(sid.packed for sid in inner.outer.segments))


@pytest.fixture(scope="module", params=["encaps", "reduced"])
def written(request: pytest.FixtureRequest, cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("written")
    scenario = short_scenario(
        paths="2x300Mbps,1x100Mbps", buffer="64KiB", policies=["inflight"], seeds=[1], srv6={"mode": request.param}
    )
    forecast(cluster, scenario, folder / "f")
    summary = rewrite_forecast(folder / "f", folder / "out", policy="inflight")
    return Written(folder / "f", scenario, summary, encapsulation(scenario, both_ways(scenario), 40, steered=True))


@pytest.fixture(scope="module")
def plain(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing is wrong with; what changes it copies it."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    return run_folder(folder, written.scenario, written.summary, written.forecast, written.path_of, Net())


def table_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "packets.parquet")


def test_every_packet_is_found_with_its_fate(written: Written, tmp_path: Path) -> None:
    net = Net(jitter_ns=3_000, late_ns=lambda number: 2_000 * number, fails=lambda number: number % 97 == 5)
    run = run_folder(tmp_path / "run", written.scenario, written.summary, written.forecast, written.path_of, net)
    document = measure(run, tmp_path / "m")
    table = table_of(tmp_path / "m")
    plan = pl.read_parquet(written.forecast / "packets" / f"{written.summary.cell}.parquet")
    assert len(table) == len(plan) == written.summary.packets
    assert document["packets"]["not_in_forecast"] == 0
    lost = sum(time_ns is None for _, time_ns in net.fates.values())
    assert lost > 100
    assert document["packets"]["dropped"] == lost == int(table["dropped"].sum())
    assert document["packets"]["sent"] == len(net.fates)
    assert document["packets"]["duplicates"] == 0
    both = table.join(plan, on=["file", "frame_number"], suffix="_plan")
    assert len(both) == len(plan)
    for name in ("flow_id", "flowlet_id", "path_id"):
        assert (both[name] == both[f"{name}_plan"]).all(), name
    assert (both["planned_ns"] == both["send_ns_plan"]).all()
    names = document["senders"]
    place: dict[int, int] = {}
    wrong = 0
    for row in table.sort("sender", "planned_ns", maintain_order=True).iter_rows(named=True):
        number = place[row["sender"]] = place.get(row["sender"], -1) + 1
        fate = net.fates.get((names[row["sender"]], number), (None, None))
        wrong += (row["send_ns"], row["receive_ns"]) != fate
    assert wrong < len(table) / 500  # of equal packets nobody can tell which one was lost
    assert document["findings"] == []
    assert document["paths"]["by_segments"] == document["packets"]["sent"] < len(table)


@pytest.mark.parametrize("mode", ["insert", "insert-reduced", "encaps"])
def test_both_directions_of_a_leaf_spine_are_told_apart(tmp_path: Path, mode: str) -> None:
    (tmp_path / "s.toml").write_text(SCENARIOS["leaf-spine"] + f'[srv6]\nmode = "{mode}"\n')
    scenario = read_scenario(tmp_path / "s.toml")
    groups = [("leaf0", "leaf1"), ("leaf1", "leaf0")]
    built = scenario.between(groups)
    lists = encapsulation(scenario, built, 2, steered=True).segments6
    count = len(lists)
    assert count == 4
    assert mode == "encaps" or lists[:2] == lists[2:]
    times = np.arange(count) * 1000
    packets = Planned(
        times,
        times,
        times + 10,
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.array([list_key(sids) for sids in lists], np.uint64),
        np.full(count, 100),
        np.zeros(count, np.bool_),
        np.zeros(count, np.uint32),
        np.zeros((1, 5), np.uint64),
        np.zeros((0, count), np.bool_),
        np.zeros(count, np.bool_),
        np.zeros(count, np.uint8),
    )
    schema = PACKET_FATES.arrow_schema()
    columns = {field.name: pa.array(np.zeros(count, np.int64)).cast(field.type) for field in schema}
    columns["path_id"] = pa.array([0, 0, 2, 2], columns["path_id"].type)  # planned; 1 and 3 are what was sent
    ends: dict[str, Any] = {"host": "a", "clock": "lab", "capture": "a.pcap"}
    sent = {"senders": [{**ends, "planned": "a.pcap"}], "receivers": [ends]}
    run = SentRun.model_validate({"schema_version": 1, "complete": True, **sent})
    table, paths = measured_table(packets, np.arange(count), pa.table(columns, schema), scenario, run, built)
    assert table["path_id"].to_pylist() == [0, 1, 2, 3]
    assert (paths.by_segments, paths.segments_unknown, paths.changed) == (4, 0, 2)


def test_packets_that_arrive_twice_count_once(written: Written, tmp_path: Path) -> None:
    net = Net(twice=lambda number: number % 50 == 7)
    run = run_folder(tmp_path / "run", written.scenario, written.summary, written.forecast, written.path_of, net)
    document = measure(run, tmp_path / "m")["packets"]
    lost = sum(time_ns is None for _, time_ns in net.fates.values())
    copies = sum(time_ns is not None and number % 50 == 7 for (_, number), (_, time_ns) in net.fates.items())
    assert document["received"] + document["dropped"] == document["sent"]
    # A copy may stand for an equal packet that was lost: nobody can tell.
    assert lost - 20 < document["dropped"] <= lost
    assert copies - document["duplicates"] == lost - document["dropped"]


def test_short_captures_and_other_clocks_change_little(written: Written, tmp_path: Path) -> None:
    net = Net(snaplen=14 + 96 + 80, receiver_clock="far", shows=lambda time_ns: time_ns + 7_000_000_000)
    run = run_folder(tmp_path / "run", written.scenario, written.summary, written.forecast, written.path_of, net)
    document = measure(run, tmp_path / "m")
    assert document["identity_bytes"] < 256
    (fit,) = document["clocks"]["fits"]
    assert (fit["clock"], fit["reference"], fit["symmetric"]) == ("far", "lab", False)
    assert "one direction only" in document["findings"][0]
    delays = table_of(tmp_path / "m").filter(~pl.col("dropped"))
    assert abs(document["packets"]["dropped"] - sum(t is None for _, t in net.fates.values())) < 20
    assert int((delays["receive_ns"] - delays["send_ns"]).min()) >= 0  # type: ignore[arg-type]


def test_stamps_ahead_of_utc_are_set_back(written: Written, plain: Path, tmp_path: Path) -> None:
    """A network card that PTP keeps shows TAI, 37 s ahead: delays are those of receivers that show UTC."""
    utc = measure(plain, tmp_path / "m-utc")
    net = Net(shows=lambda time_ns: time_ns + 37_000_000_000)
    run = run_folder(tmp_path / "tai", written.scenario, written.summary, written.forecast, written.path_of, net)
    document = json.loads((run / "run.json").read_text())
    for receiver in document["receivers"]:
        receiver["clock_ahead_of_utc_ns"] = 37_000_000_000
    (run / "run.json").write_text(json.dumps(document))
    found = measure(run, tmp_path / "m-tai")
    assert found["delay_ns"] == utc["delay_ns"]
    assert found["findings"] == utc["findings"]
    assert table_of(tmp_path / "m-tai").equals(table_of(tmp_path / "m-utc"))


def test_what_a_run_lacks_is_said(written: Written, plain: Path, tmp_path: Path, run: Run) -> None:
    folder = shutil.copytree(plain, tmp_path / "run")
    good = (folder / "run.json").read_text()

    def refused(change: Callable[[dict[str, Any]], object], words: str) -> None:
        document = json.loads(good)
        change(document)
        (folder / "run.json").write_text(json.dumps(document))
        ran = run("measure", folder, "--out", tmp_path / "m")
        assert ran.code == 2
        assert words in ran.err
        assert ran.err.count("\n") == 1
        assert not (tmp_path / "m").exists()

    refused(lambda d: d.update(schema_version=2), "schema version 2 is not 1")
    refused(lambda d: d.update(senders=[]), "senders")
    for unknown in (None, ""):
        refused(lambda d, unknown=unknown: d.update(forecast=unknown), "names no forecast; add --forecast F")
    refused(lambda d: d.update(forecast="/nowhere"), "names /nowhere, where no forecast is now; add --forecast F")
    refused(lambda d: d.update(forecast=None, cell="probes"), "is a run of probes, which segcast calibrate")
    refused(lambda d: d.update(rewrite="nowhere"), "nowhere/rewrite.json: not found")
    refused(lambda d: d["senders"][0].update(capture="sent/none.pcap"), "none.pcap: not found")
    refused(lambda d: d["senders"][0].update(sent="many"), "senders.0.sent")
    (folder / "run.json").unlink()
    assert "so this is no run" in run("measure", folder, "--out", tmp_path / "m").err
    (folder / "run.json").write_text(json.dumps(json.loads(good) | {"forecast": None}))
    ran = run("measure", folder, "--out", tmp_path / "m", "--json", "--forecast", written.forecast)
    assert ran.code == 0
    assert json.loads(ran.out)["packets"]["planned"] == written.summary.packets
    (folder / "run.json").write_text(good)
    whole = run("measure", folder, "--out", tmp_path / "m")
    assert whole.out.startswith(f"{written.summary.packets:,} packets planned")
    with pytest.raises(InputError, match="was not made by this command"):
        shutil.rmtree(tmp_path / "m")
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "notes").write_text("mine")
        measure(folder, tmp_path / "m")


def test_captures_of_another_run_are_noticed(written: Written, tmp_path: Path) -> None:
    net = Net(shows=lambda time_ns: time_ns + 480_000_000_000)
    run = run_folder(tmp_path / "run", written.scenario, written.summary, written.forecast, written.path_of, net)
    document = json.loads((run / "run.json").read_text())
    sent = [sent_ns for sent_ns, _ in net.fates.values()]

    def findings(started_ns: int, ended_ns: int) -> list[str]:
        (run / "run.json").write_text(json.dumps(document | {"started_ns": started_ns, "ended_ns": ended_ns}))
        found: list[str] = measure(run, tmp_path / "m")["findings"]
        return found

    right, left = findings(min(sent), max(sent) + 2_000_000_000)
    assert right.startswith("received/right.pcap: has packets of 47")
    assert "s after it ended: it is of another run, or the clock lab is not" in right
    assert left.startswith("received/left.pcap: ")
    assert findings(min(sent), max(sent) + 480_000_000_000) == []
    (early, *_) = findings(max(sent) + 6_000_000_000, max(sent) + 480_000_000_000)
    assert early.startswith("sent/")
    assert "s before the run began" in early


def test_a_receiver_that_saw_nothing_is_said(written: Written, plain: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain, tmp_path / "run")
    write_pcap(run / "received" / "left.pcap", [])
    document = measure(run, tmp_path / "m")
    table = table_of(tmp_path / "m")
    wanted = table.filter(pl.col("path_id") >= 3).height
    assert 0 < wanted < len(table)
    (finding,) = document["findings"]
    assert finding.startswith(f"receiver left saw none of the {wanted} packets for it: is received/left.pcap of its")
    foreign = bytes(12) + b"\x86\xdd" + udp("2001:db8::1", "2001:db8::2", bytes(100))
    write_pcap(run / "received" / "left.pcap", [(10**18, foreign)] * 3)
    document = measure(run, tmp_path / "m")
    assert document["packets"]["received_unplanned"] == 3
    assert document["packets"]["unplanned_kinds"] == {"others": 3}
    assert document["findings"][0] == "3 packets arrived that were not planned: 3 others"
    assert document["findings"][1].startswith("receiver left saw none")


def test_an_interrupted_run_is_measured_as_far_as_it_goes(written: Written, plain: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(plain, tmp_path / "run")
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"complete": False, "reason": "killed"}))
    capture = folder / "received" / "right.pcap"
    whole = capture.read_bytes()
    capture.write_bytes(whole[: len(whole) // 2])
    measured = measure(folder, tmp_path / "m")
    assert measured["complete"] is False
    assert any("did not end as planned: killed" in finding for finding in measured["findings"])
    assert any("right.pcap: damaged at byte" in finding for finding in measured["findings"])
    assert 0 < measured["packets"]["received"] < written.summary.packets


def test_paths_are_counted_of_what_was_sent(written: Written, tmp_path: Path, run: Run) -> None:
    net = Net(fails=lambda number: number >= 10)
    folder = run_folder(tmp_path / "run", written.scenario, written.summary, written.forecast, written.path_of, net)
    measured = json.loads(run("measure", folder, "--out", tmp_path / "m", "--json").out)
    assert measured["packets"]["sent"] == len(net.fates) < written.summary.packets / 10
    assert sum(
        measured["paths"][name] for name in ("by_segments", "segments_unknown", "by_links", "as_planned")
    ) == len(net.fates)
    assert f"paths: by segments {len(net.fates):,}\n" in run("measure", folder, "--out", tmp_path / "m").out


def test_another_trace_than_the_forecasts_is_refused(tmp_path: Path, run: Run) -> None:
    """Flow numbers of the forecast would mean other flows there."""
    for name, port in (("a", 9000), ("b", 9001)):
        packet = udp("10.20.1.1", "10.20.2.1", bytes(100), port)
        frame = bytes(12) + b"\x08\x00" + packet
        write_pcap(tmp_path / f"{name}.pcap", [(10**18 + 1000 * number, frame) for number in range(40)])
    captures = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    trace = ingest(captures, tmp_path / "t.trace")
    scenario = short_scenario(paths="2x300Mbps", policies=["inflight"], seeds=[1])
    forecast(trace, scenario, tmp_path / "f")
    summary = rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="inflight")
    folder = run_folder(tmp_path / "run", scenario, summary, tmp_path / "f", lambda frame: 0, Net())
    assert measure(folder, tmp_path / "m")["packets"]["planned"] == 80

    def refusals() -> tuple[str, ...]:
        commands = ("measure", folder, "--out"), ("rewrite", tmp_path / "f", "--policy", "inflight", "--out")
        done = [run(*command, tmp_path / "again") for command in commands]
        assert [(ran.code, ran.err.count("\n")) for ran in done] == [(2, 1), (2, 1)]
        assert not (tmp_path / "again").exists()
        return tuple(ran.err for ran in done)

    (tmp_path / "t.trace").rename(tmp_path / "moved.trace")
    measured, rewritten = refusals()
    assert measured == rewritten
    assert f"{tmp_path / 't.trace'}" in measured
    ingest(captures[:1], tmp_path / "t.trace")
    measured, rewritten = refusals()
    assert measured == rewritten
    assert f"is not the trace of {tmp_path / 'f'} any more; run segcast forecast again" in measured


def test_packets_sent_faster_are_still_those_of_the_forecast(tmp_path: Path) -> None:
    """Where some were left out, the others are told by their times, which a faster rewrite compresses."""
    frames = [
        bytes(12) + b"\x08\x00" + udp("10.20.1.1", "10.20.2.1", bytes(1300 if number % 3 == 1 else 100))
        for number in range(60)
    ]
    write_pcap(tmp_path / "c.pcap", [(10**18 + 1_000_000 * number, frame) for number, frame in enumerate(frames)])
    scenario = short_scenario(paths="2x300Mbps", policies=["inflight"], seeds=[1])
    forecast(ingest([tmp_path / "c.pcap"], tmp_path / "t.trace"), scenario, tmp_path / "f")
    wanted = Wanted(mtu=1300, oversize="drop", speed="2")
    summary = rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="inflight", wanted=wanted)
    assert (summary.packets, json.loads((tmp_path / "out" / "rewrite.json").read_text())["speed"]) == (40, 2.0)
    folder = run_folder(tmp_path / "run", scenario, summary, tmp_path / "f", lambda frame: 0, Net())
    packets = measure(folder, tmp_path / "m")["packets"]
    assert (packets["planned"], packets["not_in_forecast"]) == (40, 0)
    numbers = table_of(tmp_path / "m").sort("planned_ns")["frame_number"].to_list()
    assert numbers == [number + 1 for number in range(60) if number % 3 != 1]
