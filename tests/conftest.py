"""What several test files share: the bundled capture as a trace, and a run of the command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

import segcast
from traces.samples import CLUSTER
from traces.store import ingest
from traces.trace import Trace

# Under nohup it is ignored, and would be by all that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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

    # The signals stay pytest's.
    monkeypatch.setattr(segcast, "_interruption", SimpleNamespace(install=int, check=int, deferred=nullcontext))

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["segcast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            segcast.main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 1, captured.out, captured.err)

    return call
