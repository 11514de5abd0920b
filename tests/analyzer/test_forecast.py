"""Forecasts: the folder, its tables, determinism, comparisons, and what a schedule can be read back as."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.forecast.cells import plan_cells
from segcast.analyzer.forecast.compare import compare, interval
from segcast.analyzer.forecast.reading import find_cell, read_document, read_schedule
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.tables import FORECAST_TABLES
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, prepare
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.support.forecasts import SMALL, row

REASONS = ("link_scope", "deselected", "too_large", "unassigned", "same_attachment")


@pytest.fixture(scope="module")
def folder(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forecast") / "f"
    forecast(cluster, short_scenario(**SMALL), out)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_table_has_its_schema(folder: Path) -> None:
    for table in FORECAST_TABLES:
        found = folder.glob("packets/*.parquet") if table.name == "packets" else [folder / f"{table.name}.parquet"]
        for file in found:
            assert pq.read_schema(file).remove_metadata().equals(table.arrow_schema()), file.name
    assert {p.stem for p in folder.glob("packets/*")} == {
        "ecmp-s1",
        "random-100us-s1",
        "random-500us-s1",
        "inflight-100us-s1",
        "inflight-500us-s1",
    }


def test_the_same_bytes_whatever_the_threads(cluster: Trace, folder: Path, tmp_path: Path) -> None:
    forecast(cluster, short_scenario(**SMALL), tmp_path / "one", threads=1)
    forecast(cluster, short_scenario(**SMALL), tmp_path / "seven", threads=7)
    assert files(tmp_path / "one") == files(folder)
    assert files(tmp_path / "seven") == files(folder)


def test_the_written_scenario_runs_again_to_the_same_bytes(cluster: Trace, folder: Path, tmp_path: Path) -> None:
    forecast(cluster, read_scenario(folder / "scenario.toml"), tmp_path / "again")
    assert files(tmp_path / "again") == files(folder)


def test_packets_and_summary_agree(cluster: Trace, folder: Path) -> None:
    summary = {row["cell"]: row for row in pq.read_table(folder / "summary.parquet").to_pylist()}
    flows = pl.read_parquet(folder / "flows.parquet")
    series = pl.read_parquet(folder / "series.parquet")
    sent = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), short_scenario(**SMALL))
    for file in folder.glob("packets/*.parquet"):
        row, packets = summary[file.stem], pl.read_parquet(file)
        assert row["packets"] == len(packets) == row["delivered"] + row["dropped"]
        assert packets["dropped"].sum() == row["dropped"] == packets["receive_ns"].null_count()
        delay = (packets["receive_ns"] - packets["send_ns"]).drop_nulls().sort()
        p99 = delay[math.ceil(0.99 * len(delay)) - 1]
        assert p99 * (1 - 2**-11) < row["delay_p99_ns"] <= p99
        assert delay.max() == row["delay_max_ns"]
        assert delay.min() > 0
        assert packets["flowlet_id"].n_unique() == row["flowlets"]
        assert packets["send_ns"].to_list() == sent.packets.send_ns.tolist()
        mine = flows.filter(pl.col("cell") == file.stem)
        assert mine["packets"].sum() == row["packets"]
        assert mine["path_changes"].sum() == row["path_changes"]
        load = series.filter(pl.col("cell") == file.stem)
        assert load["dropped"].sum() == row["dropped"]
        assert set(load["path_id"]) == set(range(8))


def test_forward_and_back_never_share_a_path(cluster: Trace, folder: Path) -> None:
    packets = pl.read_parquet(folder / "packets" / "inflight-100us-s1.parquet")
    by_flow = packets.group_by("flow_id").agg(((pl.col("path_id") >= 4).n_unique()).alias("sides"))
    assert set(by_flow["sides"]) == {1}
    side = dict(packets.select("flow_id", pl.col("path_id") >= 4).iter_rows())
    for flow, reverse in cluster.flows.select("flow_id", "reverse_flow_id").iter_rows():
        if flow in side and reverse in side:
            assert side[flow] != side[reverse]


def test_schedules_are_found_by_policy_timeout_and_seed(folder: Path) -> None:
    assert find_cell(folder, "inflight", None, None)["cell"] == "inflight-100us-s1"
    assert find_cell(folder, "inflight", "500us", 1)["cell"] == "inflight-500us-s1"
    assert read_schedule(folder, "ecmp-s1").num_rows == read_document(folder).trace.packets
    with pytest.raises(InputError, match="no schedule for inflight, timeout 100us, seed 2; kept: ecmp-s1"):
        find_cell(folder, "inflight", "100us", 2)


def test_schedules_are_found_by_load(cluster: Trace, tmp_path: Path) -> None:
    scenario = short_scenario(paths="2x1Gbps", policies=["inflight"], seeds=[1], load=[1, 2])
    forecast(cluster, scenario, tmp_path / "f")
    with pytest.raises(InputError, match=r"has inflight at the loads 1, 2; choose one by --load, such as --load 1"):
        find_cell(tmp_path / "f", "inflight", None, None)
    assert find_cell(tmp_path / "f", "inflight", None, None, 1.0)["cell"] == "inflight-100us-s1"
    assert find_cell(tmp_path / "f", "inflight", None, None, 2.0)["cell"] == "inflight-100us-x2-s1"
    with pytest.raises(InputError, match="no schedule for inflight, load 3; kept: "):
        find_cell(tmp_path / "f", "inflight", None, None, 3.0)


def test_prefixes_decide_who_sits_where(cluster: Trace) -> None:
    scenario = short_scenario(paths="2x1Gbps")
    network = scenario.network.model_copy(
        update={
            "left": scenario.network.left.model_copy(update={"prefixes": ("10.20.2.0/24",)}),
            "right": scenario.network.right.model_copy(update={"prefixes": ("10.20.1.0/24", "10.0.0.0/8")}),
        }
    )
    traffic = prepare(
        cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), scenario.model_copy(update={"network": network})
    )
    flows = cluster.flows
    sent = flows.filter(pl.col("flow_id").is_in(np.unique(traffic.packets.flow)))
    assert set(sent["ip_version"]) == {4}
    servers = sent["src"].str.starts_with("10.20.2.").to_numpy()
    assert (traffic.plan.group[sent["flow_id"].to_numpy()] == np.where(servers, 0, 1)).all()
    assert traffic.excluded["same_attachment"] == 0
    assert traffic.excluded["unassigned"] > 0
    assert len(traffic.packets.flow) + sum(traffic.excluded.values()) == cluster.packet_count


def test_hosts_can_be_grouped_by_prefix(cluster: Trace) -> None:
    scenario = short_scenario(paths="2x1Gbps", steering={"hosts": ["10.20.0.0/16"]})
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), scenario)
    assert "10.20.0.0/16" in traffic.hosts
    assert not any(host.startswith("10.20.1.") for host in traffic.hosts)


def test_the_client_sends_forward(cluster: Trace) -> None:
    traffic = prepare(cluster.packet_table(TRAFFIC_COLUMNS), cluster.flow_table(), short_scenario(paths="1Gbps"))
    syn = cluster.packets.filter((pl.col("tcp_flags") & 0x12) == 2).select("flow_id").unique().collect()
    assert len(syn) > 50
    assert (traffic.plan.group[syn["flow_id"].to_numpy()] == 0).all()


def test_ecmp_has_no_timeout_and_duplicates_fall_away() -> None:
    cells = plan_cells(short_scenario(paths="1Gbps", policies=["ecmp", "random", "ecmp"], seeds=[3, 3, 4]))
    assert [cell.name for cell in cells] == ["ecmp-s3", "ecmp-s4", "random-100us-s3", "random-100us-s4"]


def test_an_output_that_is_something_else_is_left_alone(cluster: Trace, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    with pytest.raises(InputError, match="exists and was not made by this command"):
        forecast(cluster, short_scenario(**SMALL), tmp_path / "precious")
    assert files(tmp_path) == {"precious/file": b"x"}


def test_an_interrupted_forecast_leaves_nothing(cluster: Trace, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forecast(cluster, short_scenario(**SMALL), tmp_path / "f", stop)
    assert list(tmp_path.iterdir()) == []


def test_changes_have_intervals_where_all_values_are_positive() -> None:
    rows = [row("ecmp", None, seed, 1000.0) for seed in (1, 2, 3)]
    rows += [row("random", 50_000, seed, 900.0) for seed in (1, 2, 3)]
    rows += [row("inflight", 100_000, seed, p99) for seed, p99 in ((1, 680.0), (2, 690.0), (3, 700.0))]
    found = compare(rows, "ecmp")
    delay = next(c for c in found if c["metric"] == "delay_p99_ns" and c["policy"] == "inflight")
    assert [round(delay[name], 2) for name in ("change", "low", "high")] == [-0.31, -0.34, -0.27]
    drops = next(c for c in found if c["metric"] == "drop_ratio")
    assert (drops["change"], drops["low"]) == (None, None)


def test_one_seed_has_no_interval() -> None:
    found = compare([row("ecmp", None, 1, 1000.0), row("random", 1, 1, 500.0)], "ecmp")
    delay = next(c for c in found if c["metric"] == "delay_p99_ns")
    assert (delay["change"], delay["low"]) == (-0.5, None)


def test_student_interval() -> None:
    """Mean 3, standard error 1 / sqrt(2), t(4) = 2.7764451052."""
    got = interval([1, 2, 3, 4, 5])
    half = 2.7764451052 / math.sqrt(2)
    assert (got.mean, got.low, got.high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-10)


def test_more_seeds_never_widen_the_same_spread() -> None:
    halves = []
    for count in range(2, 80):
        got = interval([0.0, 1.0] * count)
        assert got.low is not None
        halves.append(got.mean - got.low)
    assert halves == sorted(halves, reverse=True)


def test_the_best_of_equals_is_seldom_called_better() -> None:
    """The headline picks the best of many; with intervals that hold together that is wrong in at most 2.5 %."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        rows = [row("ecmp", None, seed, p99) for seed, p99 in enumerate(rng.lognormal(0, 0.1, 10))]
        for timeout in range(10):
            rows += [row("random", timeout, seed, p99) for seed, p99 in enumerate(rng.lognormal(0, 0.1, 10))]
        highs = [c["high"] for c in compare(rows, "ecmp") if c["metric"] == "delay_p99_ns"]
        wrong += min(highs) < 0
    assert wrong / 400 <= 0.04


def test_scenarios_say_what_is_wrong_and_where(tmp_path: Path) -> None:
    good = short_scenario(paths="2x10Gbps,25Gbps", ecn="64KiB").to_toml()
    file = tmp_path / "s.toml"
    for old, new, message in (
        (
            'rate = "25Gbps"',
            'rate = "25"',
            r":\d+: network\.paths\[2\]\.links\[0\]\.rate: rate '25' is not a",
        ),
        ('rate = "25Gbps"', "rate = 25", r"rate: 25 needs quotes and a unit"),
        ('delay = "5us"', 'delay = "0.1ns"', "finer than Segcast computes"),
        ("hop_limit = 64", "hop_limit = 0", "srv6.hop_limit: must be 1 or more"),
        ("hop_limit = 64", "hop_count = 64", "hop_count: unknown key 'hop_count'"),
        ('"fd00:0:1000::1"', '"10.0.0.1"', "segments"),
        ("[network]", "[network", "not TOML"),
    ):
        file.write_text(good.replace(old, new))
        with pytest.raises(InputError, match=message) as caught:
            read_scenario(file)
        assert str(caught.value).startswith(str(file))
    file.write_text(good)
    assert read_scenario(file) == short_scenario(paths="2x10Gbps,25Gbps", ecn="64KiB")
    assert isinstance(read_scenario(file), ValidScenario)


def test_the_document_is_plain_json(folder: Path) -> None:
    document = json.loads((folder / "forecast.json").read_text())
    assert document == read_document(folder).as_dict()
    assert document["excluded"] == dict.fromkeys(REASONS, 0) | {"no_ip": 40, "link_scope": 20}
    assert {path["srv6_bytes"] for path in document["network"]["paths"]} == {80}
