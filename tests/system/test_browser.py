"""The report as a browser shows it: every figure is drawn, nothing is fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.reports.forecast.page import write_report
from segcast.traces.trace import Trace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_every_figure_is_drawn_without_the_network(cluster: Trace, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    folder = tmp_path / "f"
    forecast(cluster, short_scenario(paths="4x300Mbps", seeds=[1, 2]), folder)
    page = write_report(folder)
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.count('class="main-svg"') >= 8
    assert not re.findall(r"CONSOLE.*(?:Error|Refused|error)", ran.stderr)
    assert "p99" in ran.stdout
