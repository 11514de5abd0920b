"""Segcast from Python: what `import segcast` offers, and what it costs."""

from __future__ import annotations

import ast
import gc
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segcast
from segcast import cli
from segcast.analyzer.workload.writing import table_of
from segcast.traces.errors import InputError
from segcast.traces.quality.shown import as_html
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

ROOT = Path(__file__).parents[2]
HEAVY = {"numba", "numpy", "pyarrow", "polars", "plotly", "pydantic", "rich", "click"}


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env={}, capture_output=True, text=True)


def test_every_public_name_is_there() -> None:
    assert segcast.__all__ == sorted(segcast.__all__)
    for name in segcast.__all__:
        assert getattr(segcast, name) is not None
    assert set(segcast.__all__) <= set(dir(segcast))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        segcast.nonsense  # noqa: B018


def test_type_checkers_see_the_names_where_they_come_from() -> None:
    seen = {
        alias.name: node.module
        for block in ast.parse((ROOT / "segcast" / "__init__.py").read_text("utf-8")).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"segcast.{module}" for name, module in segcast._MODULES.items()}
    assert {*seen, "__version__"} == set(segcast.__all__)


def test_import_is_cheap() -> None:
    run = python("import segcast, sys; print(*sys.modules)", ROOT)
    assert not HEAVY & set(run.stdout.split())
    assert "segcast" in run.stdout.split()


def test_sources_without_their_links_say_so(tmp_path: Path) -> None:
    (tmp_path / "segcast").mkdir()
    shutil.copy(ROOT / "segcast" / "__init__.py", tmp_path / "segcast")
    (tmp_path / "segcast" / "traces").write_text("../traces")  # what a link becomes where none can be made
    # Without `site`, as an editable installation would find the folders all the same.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import segcast"
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].startswith("ImportError: segcast/traces, analyzer, replay and reports must be")
    assert "ModuleNotFoundError" not in run.stderr


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "segcast: runs on Linux only\n"


def test_the_documented_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CLUSTER, tmp_path)
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    said = capsys.readouterr().out
    assert re.search(r"^inflight, 100 us \d+", said, re.MULTILINE)
    assert "<Trace cluster: 39,036 packets of 667 flows> fit" in said
    assert len(names["summary"]) == 4  # type: ignore[arg-type]
    assert len(names["figure"].data) > 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [file.name for file in sorted((ROOT / "docs" / "notebooks").glob("*.py"))])
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    shutil.copy(CLUSTER, tmp_path)
    command = [sys.executable, "-W", "error", str(ROOT / "docs" / "notebooks" / name)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout
    assert [file.name for file in tmp_path.iterdir()] == [CLUSTER.name]


def test_a_trace_shows_its_verdict_and_its_protocols() -> None:
    trace = segcast.open(segcast.sample())
    assert isinstance(trace, segcast.Trace)
    facts, shown = trace.facts(), trace._repr_html_()
    assert f"verdict: {facts['verdict']}" in shown
    for entry in [*facts["ip_versions"], *facts["protocols"]]:
        counts = "".join(f"<td>{entry[name]:,}</td>" for name in ("flows", "packets", "wire_bytes"))
        assert f"<tr><th>{entry['name']}</th>{counts}</tr>" in shown
    hostile = as_html("<i>name", facts | {"reasons": ["<script>"]})
    assert "<i>" not in hostile and "<script>" not in hostile


def test_what_a_verb_makes_shows_itself_and_gives_its_tables(tmp_path: Path) -> None:
    network = segcast.leaf_spine(leaves=2, spines=2, links="1Gbps 1us 64KiB", hosts_per_leaf=2, host_links="1Gbps")
    assert repr(network) == "<Network leaf-spine: leaves=2, spines=2, hosts_per_leaf=2>"
    flows = segcast.synth("fixed", network, load=0.4, flows=60, size="50kB", out=tmp_path / "w.csv")
    assert repr(flows) == "<WorkloadFile w.csv: 60 flows>"
    found = segcast.forecast(flows, network, policies=["ecmp", "spray"], seeds=[5, 6], transport="dctcp")
    assert found.summary.select("policy", "seed").rows() == [("ecmp", 5), ("ecmp", 6), ("spray", 5), ("spray", 6)]
    assert found.messages.height == 240
    assert found.packets("ecmp-s5").height > 60 * 34
    assert found.answer in repr(found)
    shown = found._repr_html_()
    assert found.answer in html.unescape(shown)
    assert "<th>spray</th>" in shown
    assert found.plot.fct().data
    assert found.document["trace"]["kind"] == "workload"
    with pytest.raises(InputError, match="the packets of this cell were not kept; there are ecmp-s5"):
        found.packets("spray-s6")
    with pytest.raises(AttributeError, match="a forecast has no 'tables'"):
        found.tables  # noqa: B018
    folder = found.folder
    assert folder.is_dir()
    del found
    gc.collect()
    assert not folder.exists()


def test_a_plan_in_python_is_that_of_the_command_line(tmp_path: Path, run: Run) -> None:
    asked = ("--paths", "2x300Mbps", "--policy", "ecmp,spray", "--slo", "p99_delay < 3ms", "--seeds", 4, "--cells", 60)
    there = segcast.plan(
        CLUSTER,
        segcast.paths("2x300Mbps"),
        "p99_delay < 3ms",
        tmp_path / "there",
        policies=["ecmp", "spray"],
        seeds=4,
        cells=60,
    )
    ran = run("plan", CLUSTER, *asked, "--out", tmp_path / "here", "--json")
    document = json.loads(ran.out)
    assert there.answer == document["answer"]
    assert there.edges["value"].to_list() == [edge["value"] for edge in document["edges"]]
    assert segcast.Plan(tmp_path / "here").probes.height == there.probes.height
    assert there.plot().data
    assert there.edges.height == 2
    assert there.answer in repr(there)


def test_a_sweep_in_python_is_that_of_the_command_line(tmp_path: Path, run: Run) -> None:
    network = segcast.paths("2x300Mbps")
    there = segcast.sweep(
        CLUSTER, network, {"buffer": ["64KiB", "1MiB"]}, tmp_path / "there", policies=["ecmp", "spray"], seeds=2
    )
    asked = ("--paths", "2x300Mbps", "--policy", "ecmp,spray", "--seeds", 2, "--set", "buffer=64KiB,1MiB")
    ran = run("sweep", CLUSTER, *asked, "--out", tmp_path / "here", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document.pop("page") == str(tmp_path / "here" / "sweep.html")
    assert document == there.document
    assert (there.answer, there.but, there.holds) == (document["answer"], document["but"], None)
    again = segcast.Sweep(tmp_path / "here")
    for name in ("summary", "choices", "comparisons", "variants", "cases"):
        assert getattr(again, name).equals(getattr(there, name)), name
    assert there.cases["buffer"].to_list() == ["64KiB", "1MiB"]
    assert there.cases["value"].to_list() == [case["value"] for case in document["cases"]]
    assert there.summary.height == 8
    assert repr(there) == f"<Sweep: {there.answer}>"
    assert there.answer in html.unescape(there._repr_html_())
    assert there.panels == ["By buffer"]
    assert [trace.name for trace in there.plot().data] == ["ecmp", "spray"]
    with pytest.raises(InputError, match="has no figure 1; there are 0 to 0"):
        there.plot(1)


def test_a_sweep_without_a_folder_goes_with_its_result_and_says_what_is_wrong(tmp_path: Path) -> None:
    scenario = segcast.scenario(segcast.paths("2x1Gbps"), policies=["ecmp"], seeds=1)
    found = segcast.sweep(CLUSTER, scenario, ["buffer=64KiB..256KiB/2"], jobs=1)
    assert found.variants["value"].to_list() == ["64KiB", "256KiB"]
    folder = found.folder
    assert folder.is_dir()
    del found
    gc.collect()
    assert not folder.exists()
    with pytest.raises(InputError, match="buffer: an empty list; give at least one value"):
        segcast.sweep(CLUSTER, scenario, {"buffer": []})
    with pytest.raises(InputError, match=r"--set 'buffer=1\.\.': write it like"):
        segcast.sweep(CLUSTER, scenario, {"buffer": "1.."})
    with pytest.raises(InputError, match="not found, so this is no sweep"):
        segcast.Sweep(tmp_path)


def test_failures_in_python_are_those_of_the_command_line(tmp_path: Path, run: Run) -> None:
    network = segcast.leaf_spine(leaves=2, spines=2, links="1Gbps 1us 64KiB")
    asked = segcast.scenario(network, policies=["ecmp"], seeds=1)
    (tmp_path / "fabric.toml").write_text(asked.to_toml())
    found = segcast.failures(CLUSTER, tmp_path / "fabric.toml", "nodes")
    words = ("--scenario", tmp_path / "fabric.toml", "--failures", "nodes", "--out", tmp_path / "f", "--json")
    document = json.loads(run("plan", CLUSTER, *words).out)
    assert found.answer == document["answer"]
    assert found.holds is document["holds"]
    assert found.failures.height == segcast.Failures(tmp_path / "f").failures.height > 1
    assert found.stages.height >= found.failures.height
    assert found.links.height > 1
    assert repr(found) == f"<Failures: {found.answer}>"


def test_a_list_that_was_just_made_is_the_one_in_its_file(tmp_path: Path) -> None:
    """What a verb gives back is what reading the file again would."""
    network = segcast.leaf_spine(leaves=2, spines=2, links="1Gbps", hosts_per_leaf=2, host_links="1Gbps")
    for name in ("w.csv", "w.parquet"):
        made = segcast.synth("web-pages", network, load=0.3, flows=200, out=tmp_path / name)
        assert made.document is not None
        assert made.document["workload"] == str(tmp_path / name)
        kept = segcast.workload(CLUSTER, tmp_path / f"of-{name}")
        for one in (made, kept):
            again = segcast.open(one.path)
            assert isinstance(again, segcast.WorkloadFile)
            assert table_of(again.workload).equals(table_of(one.workload))


def test_a_scenario_that_is_changed_still_names_its_file(tmp_path: Path) -> None:
    file = tmp_path / "fabric.toml"
    file.write_text(segcast.short_scenario(paths="2x1Gbps").to_toml())
    changed = segcast.scenario(file, load="50%", policies=["ecmp"])
    assert changed.source == str(file)
    assert [choice.label for choice in changed.policies] == ["ecmp"]
    with pytest.raises(InputError, match=r"^load\[0\]: "):
        segcast.scenario(file, load=0)


def test_advice_in_python_is_the_document_of_the_command() -> None:
    found = segcast.advise(CLUSTER, segcast.paths("4x10Gbps"), seeds=10)
    assert found["kind"] == "nothing"
    assert found["answer"].startswith("Nothing to gain")


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ("", "write it like"),
        ("100Gbps 1us 1MiB 1MiB 1MiB", "write it like"),
        ("100", "link '100': its rate: "),
        ("100Gbps 1MiB", "link '100Gbps 1MiB': its delay: "),
    ],
)
def test_links_that_cannot_be_are_said_so(links: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        segcast.leaf_spine(leaves=2, spines=2, links=links)
    with pytest.raises(InputError, match=r"network\.leaf-spine\.leaves|network\.leaves"):
        segcast.leaf_spine(leaves=1, spines=2, links="1Gbps")


def test_scenario_files_may_be_named_by_text(tmp_path: Path) -> None:
    scenario = segcast.short_scenario(paths="2x1Gbps")
    (tmp_path / "scenario.toml").write_text(scenario.to_toml())
    assert segcast.read_scenario(str(tmp_path / "scenario.toml")) == scenario
