"""The report as a browser shows it: every figure is drawn, nothing is fetched, tables can be searched."""

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
from tests.support.forecasts import cells, make_forecast, make_reacting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_every_figure_is_drawn_without_the_network(cluster: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    forecast(cluster, short_scenario(paths="4x300Mbps", seeds=[1, 2]), folder)
    shown, said = opened(write_report(folder), tmp_path)
    assert shown.count('class="main-svg"') >= 8
    assert not re.findall(r"CONSOLE.*(?:Error|Refused|error)", said)
    assert "p99" in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_every_figure_is_drawn_where_senders_react(tmp_path: Path) -> None:
    folder = make_reacting(tmp_path / "f", cells(), seeds=2, unfinished=(400, 0, 200))
    shown, said = opened(write_report(folder), tmp_path)
    assert shown.count('class="main-svg"') >= 14
    assert not re.findall(r"CONSOLE.*(?:Error|Refused|error)", said)
    assert "Flows did not finish" in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_table_of_sids_shows_the_rows_that_hold_what_is_typed(tmp_path: Path) -> None:
    row = {"behavior": "End", "link": None, "neighbor": None, "attachment": None}
    sids = [{**row, "node": f"leaf{number}", "sid": f"fd00::{number}"} for number in range(30)]
    page = write_report(make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1, sids={"sids": sids, "lists": []}))
    typed = """<script>
    document.querySelector("details.sids").open = true;
    var field = document.querySelector(".narrow");
    field.value = " LEAF2 ";
    field.dispatchEvent(new Event("input"));
    </script></body>"""
    page.write_text(page.read_text("utf-8").replace("</body>", typed), "utf-8")
    shown, said = opened(page, tmp_path)
    rows = re.findall(r"<tr([^>]*)><th scope=\"row\">(leaf\d+)</th>", shown)
    assert len(rows) == 30
    assert {name for words, name in rows if "hidden" not in words} == {"leaf2", *(f"leaf2{n}" for n in range(10))}
    assert not re.findall(r"CONSOLE.*(?:Error|Refused|error)", said)


def opened(page: Path, folder: Path) -> tuple[str, str]:
    """The page's elements as the browser has them, and what it said."""
    assert CHROMIUM is not None
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, ran.stderr
