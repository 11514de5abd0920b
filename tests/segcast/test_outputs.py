"""What the commands write: never over what they did not write themselves, and nothing that outlives a pipe."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.flowlets.report import flowlet_report
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.schema import FLOWLETS
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.page import write_report
from segcast.traces.disk.folders import owner_of
from segcast.traces.errors import DamagedCapture, InputError
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.folders import contents
from tests.support.ingesting import conversations, mixture


@pytest.fixture(scope="module")
def folder(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forecast") / "f"
    scenario = short_scenario(paths="2x400Mbps", seeds=[1], policies=["ecmp", "inflight"], timeouts=["50us", "1ms"])
    forecast(cluster, scenario, out, finish=write_report)
    return out


def test_a_report_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "f")
    (tmp_path / "f" / "report.html").unlink()
    (tmp_path / "f" / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html: is a folder"):
        write_report(tmp_path / "f")


def test_a_table_of_flowlets_replaces_only_its_like(cluster: Trace, folder: Path, tmp_path: Path) -> None:
    other = pa.table({name: pa.array([], pa.int32()) for name in FLOWLETS.names()})
    (tmp_path / "thesis.tex").write_text("words")
    pq.write_table(other, tmp_path / "other.parquet")
    shutil.copy(folder / "summary.parquet", tmp_path)
    before = contents(tmp_path)
    for name in before:
        with pytest.raises(InputError, match=f"{name}: exists and is no table of flowlets; remove it or choose"):
            flowlet_report(cluster, [1000], tmp_path / name)
    assert contents(tmp_path) == before
    for timeouts in ([1000], [10**9, 1000]):
        flowlet_report(cluster, timeouts, tmp_path / "own.parquet")
        table = pq.read_table(tmp_path / "own.parquet")
        assert table.schema.equals(FLOWLETS.arrow_schema())
        assert set(table["timeout_ns"].to_pylist()) == set(timeouts)
        keys = table.select(["timeout_ns", "first_ns", "flow_id"]).to_pylist()
        assert keys == sorted(keys, key=lambda row: tuple(row.values()))


@pytest.mark.parametrize("name", ["trace.json", "flows.parquet", "new.parquet", "packets/new.parquet"])
def test_a_table_of_flowlets_is_never_put_into_our_folders(cluster: Trace, folder: Path, name: str) -> None:
    for home, kind in ((cluster.folder, "trace"), (folder, "forecast")):
        before = contents(home)
        with pytest.raises(InputError, match=rf"lies in the {kind} .*, which holds nothing else; choose another place"):
            flowlet_report(cluster, [1000], home / name)
        assert contents(home) == before
    assert owner_of(folder.parent) is None


# --- rewrites ----------------------------------------------------------------------------------------------------


def test_captures_are_never_written_into_our_folders(cluster: Trace, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for home, kind in ((cluster.folder, "trace"), (folder, "forecast"), (tmp_path / "link", "forecast")):
        before = contents(home)
        for out in (home, home / "packets"):
            with pytest.raises(InputError, match=f"is, or belongs to, a {kind}; give captures a folder of their own"):
                rewrite_forecast(folder, out, policy="ecmp")
        assert contents(home) == before


def test_a_forecast_does_not_replace_captures_put_into_it(cluster: Trace, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "f")
    with pytest.raises(InputError, match=r"srv6: lies in the forecast .*f, which holds nothing else"):
        rewrite_forecast(tmp_path / "f", tmp_path / "f" / "srv6", policy="ecmp")
    rewrite_forecast(tmp_path / "f", tmp_path / "srv6", policy="ecmp")
    (tmp_path / "srv6").rename(tmp_path / "f" / "srv6")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="f: is a forecast that also holds srv6"):
        forecast(cluster, short_scenario(paths="1Gbps", seeds=[1]), tmp_path / "f")
    assert contents(tmp_path) == before


def test_a_rewrite_never_replaces_the_capture_it_reads(folder: Path, tmp_path: Path) -> None:
    first = rewrite_forecast(folder, tmp_path / "srv6", policy="ecmp")
    capture = Path(first.files[0].path)
    scenario = short_scenario(paths="1Gbps", seeds=[1], policies=["ecmp"])
    forecast(ingest([capture], tmp_path / "t.trace"), scenario, tmp_path / "f")
    before = capture.read_bytes()
    with pytest.raises(InputError, match=r"srv6: holds .*\.pcap, which is read; choose another --out"):
        rewrite_forecast(tmp_path / "f", tmp_path / "srv6", policy="ecmp")
    assert capture.read_bytes() == before


def test_a_rewrite_names_its_cell(folder: Path, tmp_path: Path) -> None:
    for timeout, cell in ((None, "inflight-50us-s1"), ("1ms", "inflight-1ms-s1")):
        done = rewrite_forecast(folder, tmp_path / cell, policy="inflight", timeout=timeout)
        assert done.cell == cell
        assert json.loads((tmp_path / cell / "rewrite.json").read_text())["cell"] == cell


# --- pipes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command with the bundled capture, or part of it, on its stdin; temporary files go to tmp_path/tmp."""
    (tmp_path / "tmp").mkdir()

    def call(*arguments: object, packets: bytes | None = None) -> subprocess.CompletedProcess[str]:
        data = gzip.decompress(CLUSTER.read_bytes()) if packets is None else packets
        command = [sys.executable, "-m", "segcast", *map(str, arguments)]
        environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
        ran = subprocess.run(command, input=data, env=environment, capture_output=True, check=False)
        return subprocess.CompletedProcess(command, ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    yield call
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_pipe_leaves_nothing_and_is_not_rewritten(
    piped: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ran = piped("forecast", "-", "--paths", "1Gbps", "--policy", "ecmp", "--seeds", "1", "--out", tmp_path / "f")
    assert ran.returncode == 0, ran.stderr
    ran = piped("rewrite", tmp_path / "f", "--policy", "ecmp", "--out", tmp_path / "srv6")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "its trace was read from a pipe (-), so its packets cannot be read again; save the capture" in ran.stderr
    assert not (tmp_path / "srv6").exists()


def test_a_damaged_pipe_says_how_to_keep_what_precedes(
    piped: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    ran = piped("inspect", "-", packets=mixture(3)[:-1])
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "segcast ingest keeps the 299 packets before it" in ran.stderr


def test_a_damaged_pipe_in_a_library_is_an_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, conversations(4, 20)[:-1])
    os.close(writer)
    with pytest.raises(DamagedCapture, match="segcast ingest keeps the 19 packets before it"):
        open_trace(f"/dev/fd/{reader}")
    os.close(reader)


@pytest.mark.parametrize("name", ["new", "packets", "packets/deep/new"])
def test_no_folder_is_put_into_our_folders(cluster: Trace, folder: Path, name: str, run: Run) -> None:
    """Neither could be replaced by its own command any more: it would hold what that did not write."""
    for home, kind in ((cluster.folder, "trace"), (folder, "forecast")):
        before = contents(home)
        out = home / name
        sweeps = ("sweep", cluster.folder, "--paths", "2x1Gbps", "--policy", "ecmp", "--seeds", "1", "--out", out)
        for command in (sweeps, ("compare", folder, folder, "--out", out)):
            done = run(*command)
            assert done.code == 2
            assert f"{out}: lies in the {kind} {home}, which holds nothing else; choose another --out" in done.err
        assert contents(home) == before
