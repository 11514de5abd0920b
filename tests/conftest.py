"""What several test files share: the bundled capture as a trace, and a run of the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from segcast import signs
from segcast.cli import main
from segcast.interruption import INTERRUPTION
from segcast.traces.ingest.run import ingest
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.support.collecting import collect_seldom, leave_alone

# Commands that the tests start in processes of their own run this checkout, wherever they run.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)

collect_seldom()

# Under nohup it is ignored, and would be by all that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what mostly waits, for networks, signals and programs: it then runs beside what computes.

    Each process begins with a part of the list, so the first one has these.
    """
    waiting = Path(__file__).parent / "system"
    items.sort(key=lambda item: waiting not in item.path.parents)


def pytest_collection_finish() -> None:
    """Leave tests and modules, which stay to the end, out of every search for garbage."""
    leave_alone()


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """The bundled capture, ingested once."""
    return ingest([CLUSTER], tmp_path_factory.mktemp("cluster") / "cluster.trace")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `segcast` with these arguments in this process."""

    # The signals stay pytest's, and stderr is what a command says of its own accord, however slow the machine is.
    monkeypatch.setattr(INTERRUPTION, "install", int)
    monkeypatch.setitem(signs.EVERY_SECONDS, "usual", float("inf"))

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["segcast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 1, captured.out, captured.err)

    return call
