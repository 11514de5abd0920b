"""Probes and a schedule through a real network in namespaces: calibration, measurement, validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv6Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli_w

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.calibrate import run as calibrating
from segcast.replay.measure.run import measure
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.replay.validate.run import validate
from segcast.reports.validation.page import write_validation
from segcast.traces.trace import Trace
from tests.support.measure_lab import Lab, lab
from tests.support.measuring import write_pcap
from tests.twins.srv6 import parse_frame, read_pcap

SHAPERS = ((60_000_000, 10_000, 65_536), (40_000_000, 10_000, 50_000))
RIGHT = IPv6Network("fd00:0:20::/48")
SIDES = {"s": "left", "d": "right"}


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab(SHAPERS) as built:
        yield built


def scenario() -> ValidScenario:
    """What an engineer believes of the network."""
    made = short_scenario(
        paths="50Mbps,50Mbps", policies=["random", "inflight"], seeds=[1], delay="0us", buffer="64KiB", load=[0.25]
    )
    document = made.model_dump(mode="json", exclude_none=True)
    for path in document["network"]["paths"]:
        path["links"][0]["overhead"] = "0B"
    document["network"]["minimum_frame"] = "0B"
    return made_of(document)


def made_of(document: dict[str, Any]) -> ValidScenario:
    """The scenario that a file of this content is."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "s.toml").write_text(tomli_w.dumps(document))
        return read_scenario(Path(folder) / "s.toml")


def merged(out: Path, rewrite: Path) -> dict[str, Path]:
    """The captures of a rewrite as one per side that its packets leave from, in order of time."""
    records: dict[str, list[tuple[int, bytes]]] = {host: [] for host in SIDES}
    for file in json.loads((rewrite / "rewrite.json").read_text())["files"]:
        for record in read_pcap(Path(file["path"])):
            outer = parse_frame(record.frame, "encaps").outer
            assert outer is not None
            host = "s" if outer.segments[-1] in RIGHT else "d"
            records[host].append((record.time_ns, record.frame))
    for host, own in records.items():
        write_pcap(out / "planned" / f"{host}.pcap", sorted(own, key=lambda record: record[0]))
    return {host: out / "planned" / f"{host}.pcap" for host in SIDES if records[host]}


def write_run(out: Path, rewrite: Path, forecast_folder: Path | None, hosts: dict[str, Path], cell: str) -> None:
    ends = [{"host": host, "interface": "e0", "clock": "testbed", "dropped_by_capture": 0} for host in SIDES]
    senders = [
        {**end, "planned": f"planned/{end['host']}.pcap", "capture": f"sent/{end['host']}.pcap", "sent": 0, "failed": 0}
        for end in ends
        if end["host"] in hosts
    ]
    receivers = [
        {**end, "attachment": SIDES[str(end["host"])], "capture": f"received/{end['host']}.pcap"} for end in ends
    ]
    document: dict[str, Any] = {"schema_version": 1, "complete": True, "reason": None, "cell": cell, "transit": []}
    document |= {"forecast": None if forecast_folder is None else str(forecast_folder), "rewrite": str(rewrite)}
    (out / "run.json").write_text(json.dumps(document | {"senders": senders, "receivers": receivers}))


def test_probes_find_the_shapers(network: Lab, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(scenario().to_toml())
    calibrating.probes(tmp_path / "s.toml", tmp_path / "probes")
    pcaps = merged(tmp_path / "run", tmp_path / "probes")
    network.send(pcaps, tmp_path / "run")
    write_run(tmp_path / "run", tmp_path / "probes", None, pcaps, "probes")
    document = calibrating.calibrate([tmp_path / "run"], tmp_path / "s.toml", tmp_path / "found.toml")
    assert len(document["paths"]) == 4
    for path in document["paths"]:
        rate, burst, limit = SHAPERS[path["path_id"] % 2]
        assert path["rate_bps"]["value"] == pytest.approx(rate, rel=0.01)
        assert path["buffer_bytes"]["value"] == pytest.approx(limit, abs=1314)
        assert 0 < path["base_delay_ns"]["value"] < 500_000
        assert path["burst_bytes"]["value"] == pytest.approx(burst, abs=1314)


def test_a_forecast_holds_on_the_network_it_was_calibrated_for(network: Lab, cluster: Trace, tmp_path: Path) -> None:
    forecast(cluster, scenario(), tmp_path / "f")
    true = scenario().model_dump(mode="json", exclude_none=True)
    for path, (rate, _, limit) in zip(true["network"]["paths"], SHAPERS, strict=True):
        path["links"][0] |= {"rate": f"{rate}bps", "buffer": f"{limit}B"}
    (tmp_path / "true.toml").write_text(made_of(true).to_toml())
    measurements = []
    for policy in ("random", "inflight"):
        rewrite, out = tmp_path / f"{policy}-srv6", tmp_path / f"{policy}-run"
        summary = rewrite_forecast(tmp_path / "f", rewrite, policy=policy)
        pcaps = merged(out, rewrite)
        network.send(pcaps, out)
        write_run(out, rewrite, tmp_path / "f", pcaps, summary.cell)
        found = measure(out, tmp_path / f"{policy}-m")
        assert (
            found["packets"]["sent"] + found["packets"]["received_unseen_sent"] == len(cluster.packets.collect()) - 60
        )
        assert found["paths"]["by_segments"] == found["packets"]["planned"]
        measurements.append(tmp_path / f"{policy}-m")
    document = validate(
        tmp_path / "f",
        measurements,
        tmp_path / "v",
        scenario=tmp_path / "true.toml",
        burst_bytes=SHAPERS[0][1],
        finish=write_validation,
    )
    rows = [row for row in document["comparisons"] if row["comparison"] == "as-sent" and row["path_id"] is not None]
    assert len(document["policies"]) == 2
    # A busy machine holds packets up, so no more is asked of it here than what the model is about.
    assert all(abs(row["error"]) < 0.02 for row in rows if row["metric"] == "loss_ratio")
