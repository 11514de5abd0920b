"""What needs captured packets refuses the forecast of a flow list, in one line, before anything else is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from segcast.analyzer.forecast.reading import trace_of
from segcast.cli import cli
from segcast.traces.errors import InputError
from tests.support.forecasts import cells, make_reacting

WORDS = (
    "is of a flow list (pages), whose packets its own senders made; "
    "what needs captured packets needs the forecast of a trace"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reacting(tmp_path_factory.mktemp("lists") / "f", cells(), seeds=1)


@pytest.mark.parametrize(
    "command",
    [
        ["rewrite", "F", "--policy", "inflight"],
        ["rewrite", "F", "--policy", "no such policy"],
        ["validate", "F", "no-measurement"],
        ["testbed", "run", "F", "--policy", "inflight"],
    ],
)
def test_it_is_refused_in_one_line(folder: Path, tmp_path: Path, command: list[str]) -> None:
    out = tmp_path / "out"
    ran = CliRunner().invoke(cli, [str(folder) if word == "F" else word for word in [*command, "--out", str(out)]])
    assert isinstance(ran.exception, InputError)
    assert str(ran.exception) == f"{folder}: {WORDS}"
    assert ran.exception.exit_code == 2
    assert not out.exists()


def test_it_has_no_trace_to_measure_by(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is of a flow list \(pages\)"):
        trace_of(folder)
    document = json.loads((folder / "forecast.json").read_text(encoding="utf-8"))
    assert document["trace"]["kind"] == "workload"
