"""`segcast calibrate`: probes through links whose rate, delay, buffer, burst and overhead are known."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcast.analyzer import toml_keys
from segcast.analyzer.packets import LOST
from segcast.analyzer.scenario.reading import read_scenario, validated
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.calibrate import run as calibrating
from segcast.replay.calibrate.document import CalibrationDocument, Train
from segcast.replay.calibrate.estimate import Probe, estimate_path
from segcast.replay.measure.identity import list_key
from segcast.replay.measure.match import Planned
from segcast.replay.measure.run import path_keys
from segcast.replay.rewrite.of_forecast import encapsulation
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.testbed.bed import inventory_of
from segcast.replay.testbed.plan import plan_bed
from segcast.traces.errors import InputError
from tests.conftest import Run
from tests.support.beds import SCENARIOS
from tests.support.measuring import Net, run_folder
from tests.support.networks import both_ways
from tests.twins import matching as twin
from tests.twins.srv6 import check_packet, parse_frame, read_pcap

SMALL, LARGE = 314, 1314  # probes as frames, with 2 SIDs around them


def scenario_of(paths: str, **changes: Any) -> ValidScenario:
    """Parallel paths on virtual devices, with what links have in common."""
    made = short_scenario(paths=paths, policies=["inflight"], delay="0us", **{"buffer": "64KiB", **changes})
    document = made.model_dump(mode="json", exclude_none=True)
    for path in document["network"]["paths"]:
        path["links"][0]["overhead"] = "0B"
    return validated(document, toml_keys.written)


def probed(folder: Path, says: ValidScenario, truth: ValidScenario, net: Net) -> Path:
    """A run of the probes of the one scenario through the network of the other."""
    (folder / "says.toml").write_text(says.to_toml())
    calibrating.probes(folder / "says.toml", folder / "probes")
    summary = RewriteSummary.model_validate(json.loads((folder / "probes" / "rewrite.json").read_text()))
    lists = encapsulation(truth, both_ways(truth), 2, steered=True).segments6

    def path_of(frame: bytes) -> int:
        outer = parse_frame(frame, summary.mode).outer
        assert outer is not None
        return lists.index(tuple(sid.packed for sid in outer.segments))

    return run_folder(folder / "run", truth, summary, None, path_of, net)


@pytest.mark.parametrize(
    ("burst", "overhead", "jitter_ns", "wake_ns"),
    [(0, 0, 0, 0), (0, 24, 4_000, 0), (10_000, 0, 8_000, 0), (10_000, 0, 2_000, 30_000)],
    ids=["exact", "plain", "bucket", "asleep"],
)
def test_links_are_found_as_they_are(
    tmp_path: Path, run: Run, burst: int, overhead: int, jitter_ns: int, wake_ns: int
) -> None:
    says = scenario_of("1x100Mbps,1x50Mbps")
    document = says.model_dump(mode="json", exclude_none=True)
    wanted = ((93_700_000, 51_234), (57_100_000, 70_001))
    for path, (rate, buffer) in zip(document["network"]["paths"], wanted, strict=True):
        path["links"][0] |= {"rate": f"{rate}bps", "buffer": f"{buffer}B", "overhead": f"{overhead}B"}
    truth = validated(document, toml_keys.written)
    net = Net(base_ns=33_000, jitter_ns=jitter_ns, wake_ns=wake_ns, burst=burst)
    room = SMALL + (200 if burst else 0)  # an error of the burst is one of the backlog, too
    folder = probed(tmp_path, says, truth, net)
    out = tmp_path / "found.toml"
    ran = run("calibrate", folder, "--scenario", tmp_path / "says.toml", "--out", out, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert CalibrationDocument.model_validate(document).as_dict() == document
    paths = document["paths"]
    assert len(paths) == 4
    for path in paths:
        rate, buffer = wanted[path["path_id"] % 2]
        assert path["rate_bps"]["value"] == pytest.approx(rate, rel=0.003)
        assert path["base_delay_ns"]["value"] == pytest.approx(33_000 + jitter_ns / 2, abs=5_000)
        assert path["buffer_bytes"]["value"] == pytest.approx(buffer, abs=room)
        assert path["overhead_bytes"]["value"] == pytest.approx(overhead, abs=2)
        assert path["burst_bytes"]["value"] == pytest.approx(burst, abs=200)
        assert path["buffer_bytes"]["low"] - room <= buffer <= path["buffer_bytes"]["high"] + room
    written = read_scenario(out)
    for number, link in enumerate(both_ways(written).network.links[:2]):
        rate, buffer = wanted[number]
        assert link.rate_bps == pytest.approx(rate, rel=0.003)
        assert link.buffer_bytes == pytest.approx(buffer, abs=room)
        assert link.delay_ns == pytest.approx(33_000 + jitter_ns / 2, abs=5_000)
        assert link.overhead_bytes == pytest.approx(overhead, abs=2)
    assert out.read_text().startswith("# Calibrated")
    plain = run("calibrate", folder, "--scenario", tmp_path / "says.toml", "--out", out)
    assert plain.code == 0
    assert "scenario, with intervals" in plain.out


def test_probes_are_valid_packets_and_trains_do_not_meet(tmp_path: Path, run: Run) -> None:
    says = scenario_of("2x100Mbps")
    (tmp_path / "s.toml").write_text(says.to_toml())
    ran = run("calibrate", "probes", "--scenario", tmp_path / "s.toml", "--out", tmp_path / "p", "--json")
    assert ran.code == 0, ran.err
    document = json.loads((tmp_path / "p" / "probes.json").read_text())
    assert json.loads(ran.out)["packets"] == document["packets"]
    trains = document["trains"]
    assert all(a["last_ns"] < b["first_ns"] for a, b in itertools.pairwise(trains))
    assert {(train["path_id"], train["kind"]) for train in trains} == {
        (path, kind) for path in range(4) for kind in ("single", "rate", "overflow")
    }
    inner = set()
    count = 0
    for file in sorted((tmp_path / "p").glob("*.pcap")):
        for record in read_pcap(file):
            frame = parse_frame(record.frame, "encaps")
            check_packet(frame.inner)
            inner.add(frame.inner)
            count += 1
    assert count == len(inner) == document["packets"]
    assert run("calibrate", "probes", "--scenario", tmp_path / "s.toml", "--out", tmp_path / "p").code == 0


BEHIND = """
[[attachments]]
name = "leaf0"
node = "leaf0"
prefixes = ["10.0.0.0/8"]
[[attachments]]
name = "leaf1"
node = "leaf1"
prefixes = ["0.0.0.0/0", "::/0"]
"""


@pytest.mark.parametrize("behind", ["", BEHIND], ids=["no prefixes", "other prefixes"])
def test_probes_are_sent_where_they_belong(tmp_path: Path, behind: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SCENARIOS["leaf-spine"].replace("leaves = 3", "leaves = 2") + behind)
    calibrating.probes(file, tmp_path / "p")
    inventory = inventory_of(plan_bed(read_scenario(file), "sgtb"))
    document = json.loads((tmp_path / "p" / "rewrite.json").read_text())
    assert {row["host"]: inventory.sender_of(row["host"]) for row in document["files"]} == {
        "leaf0": "leaf0",
        "leaf1": "leaf1",
    }


@pytest.mark.parametrize("mode", ["insert", "encaps"])
def test_trains_of_both_directions_are_told_apart(tmp_path: Path, mode: str) -> None:
    (tmp_path / "s.toml").write_text(SCENARIOS["leaf-spine"] + f'[srv6]\nmode = "{mode}"\n')
    scenario = read_scenario(tmp_path / "s.toml")
    groups = [("leaf0", "leaf1"), ("leaf1", "leaf0")]
    built = scenario.between(groups)
    lists = encapsulation(scenario, built, 2, steered=True).segments6
    times = np.arange(len(lists)) * 1000
    none, zeros = np.zeros((0, len(lists)), np.bool_), np.zeros(len(lists), np.int64)
    listed = np.array([list_key(sids) for sids in lists], np.uint64)
    flow, words = zeros.astype(np.uint32), np.zeros((1, 5), np.uint64)
    packets = Planned(
        times,
        times,
        times + 10,
        zeros,
        zeros,
        listed,
        zeros + 100,
        zeros > 0,
        flow,
        words,
        none,
        zeros > 0,
        zeros.astype(np.uint8),
    )
    sent = [
        Train(path_id=path, kind="single", ip_bytes=86, packets=1, first_ns=at, last_ns=at)
        for path, at in enumerate(times.tolist())
    ]
    found = calibrating.trains_of(packets, sent, path_keys(scenario, built, insert=mode == "insert"))
    assert [(path, probe.send_ns.tolist()) for path, probe in found] == [(n, [at]) for n, at in enumerate(times)]


def test_what_is_no_run_of_probes_is_refused(tmp_path: Path, run: Run) -> None:
    says = scenario_of("1x100Mbps")
    folder = probed(tmp_path, says, says, Net())
    scenario = tmp_path / "says.toml"

    def refused(words: str, *arguments: object) -> None:
        ran = run("calibrate", *arguments, "--scenario", scenario, "--out", tmp_path / "o.toml")
        assert ran.code == 2
        assert words in ran.err
        assert ran.err.count("\n") == 1
        assert not (tmp_path / "o.toml").exists()

    refused("so this is no run", tmp_path)
    refused("give probes alone", "probes", folder)
    (tmp_path / "probes" / "probes.json").rename(tmp_path / "aside.json")
    refused("so this is no run of probes", folder)
    document = json.loads((tmp_path / "aside.json").read_text())
    (tmp_path / "probes" / "probes.json").write_text(json.dumps(document | {"trains": []}))
    refused("none of its packets are on a path", folder)
    (tmp_path / "probes" / "probes.json").write_text(json.dumps(document | {"trains": document["trains"][:1]}))
    refused("too few spaced probes arrived", folder)


def trains(rate: int, buffer: int | None, burst: int, overhead: int, noise_ns: int, seed: int) -> list[Probe]:
    """Probe trains through one link, with noise on arrivals."""
    rng = np.random.default_rng(seed)
    found = []
    for kind, count, gap, times in (("single", 40, 10**7, 1), ("rate", 120, 1500, 6), ("overflow", 900, 0, 3)):
        for size in (SMALL, LARGE):
            for _ in range(times):
                step = gap or size * 8e9 / rate / 1.6
                send = np.rint(np.arange(count) * step + np.cumsum(rng.integers(0, 500, count))).astype(np.int64)
                arrivals = list(zip(send.tolist(), [size] * count, strict=True))
                came = twin.link(arrivals, rate, 20_000, buffer, overhead, burst)
                receive = np.array([LOST if passed is None else passed[0] for passed in came])
                late = rng.integers(0, noise_ns + 1, count)
                receive = np.where(receive == LOST, LOST, np.maximum.accumulate(receive + late))
                found.append(Probe(kind, size, send, receive))
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("burst", "overhead"), [(0, 24), (10_000, 0), (0, 38)])
def test_estimators_over_many_links(seed: int, burst: int, overhead: int) -> None:
    rng = np.random.default_rng(seed + 100)
    rate, buffer = int(rng.integers(20_000_000, 200_000_000)), int(rng.integers(40_000, 160_000))
    found = estimate_path(trains(rate, buffer, burst, overhead, 12_000, seed), 0, "path 0")
    assert found.rate_bps.value == pytest.approx(rate, rel=0.01)
    assert found.base_delay_ns.value == pytest.approx(26_000, abs=10_000)
    assert found.buffer_bytes is not None
    assert found.buffer_bytes.value == pytest.approx(buffer, abs=LARGE)
    assert found.overhead_bytes.value == pytest.approx(overhead, abs=6)


def test_a_link_that_never_drops_has_no_buffer_estimate_and_one_that_never_queues_is_refused() -> None:
    found = estimate_path(trains(100_000_000, None, 0, 0, 0, 1), 0, "path 0")
    assert found.buffer_bytes is None
    assert found.rate_bps.value == pytest.approx(100_000_000, rel=1e-3)
    fast = [probe._replace(receive_ns=probe.send_ns + 20_000) for probe in trains(10**8, None, 0, 0, 0, 1)]
    with pytest.raises(InputError, match="path 0: probes of 0 size"):
        estimate_path(fast, 0, "path 0")
