"""Segcast from Python: what `import segcast` offers, and what it costs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segcast
from segcast import cli
from segcast.traces.samples import CLUSTER

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
    assert len(names["summary"]) == 4  # type: ignore[arg-type]


def test_scenario_files_may_be_named_by_text(tmp_path: Path) -> None:
    scenario = segcast.short_scenario(paths="2x1Gbps")
    (tmp_path / "scenario.toml").write_text(scenario.to_toml())
    assert segcast.read_scenario(str(tmp_path / "scenario.toml")) == scenario
