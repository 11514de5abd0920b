"""The report as a browser shows it: every figure is drawn, nothing is fetched, tables can be searched."""

from __future__ import annotations

import os
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


def found_axe() -> Path | None:
    """Where axe-core is, if it is anywhere: what AXE_CORE names, or npm's global folder."""
    named = os.environ.get("AXE_CORE")
    globally = [Path(root) / "node_modules/axe-core/axe.min.js" for root in ("/usr/lib", "/usr/local/lib")]
    return next((path for path in [*([Path(named)] if named else []), *globally] if path.is_file()), None)


AXE = found_axe()
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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.skipif(AXE is None, reason="no axe-core: AXE_CORE names its axe.min.js, or it lies in npm's global folder")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 500])
def test_axe_finds_nothing(tmp_path: Path, width: int, dark: bool) -> None:
    many = cells(("random", "inflight", "a third"), (20_000, 50_000, 100_000, 500_000))
    page = write_report(make_forecast(tmp_path / "f", many, seeds=3, loads=(0.5, 1.0, 2.0), lost=False))
    assert AXE is not None
    script = AXE.read_text("utf-8").replace("</script", "<\\/script")
    asked = """<script>
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
    window.addEventListener("load", function () {
      axe.run({ resultTypes: ["violations"] }).then(function (found) {
        document.body.dataset.night = String(matchMedia("(prefers-color-scheme: dark)").matches);
        document.body.dataset.found = JSON.stringify(found.violations.map(function (one) {
          return one.id + ": " + one.nodes[0].html.slice(0, 200);
        }));
      });
    });
    </script></body>"""
    page.write_text(page.read_text("utf-8").replace("</body>", f"<script>{script}</script>{asked}"), "utf-8")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    shown, _ = opened(page, tmp_path, f"--window-size={width},2000", *scheme)
    (body,) = re.findall(r"<body[^>]*>", shown)
    assert f'data-night="{str(dark).lower()}"' in body
    assert 'data-found="[]"' in body, body[:2000]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_names_that_are_markup_do_nothing(tmp_path: Path) -> None:
    evil = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
    links = [{"name": f"{evil}{n}", "rate_bps": 10**9, "delay_ns": 1, "buffer_bytes": None} for n in range(4)]
    paths = [
        {"path_id": n, "group": 0, "slot": n, "links": [links[n]["name"]], "rate_bps": 10**9, "delay_ns": 1}
        for n in range(4)
    ]
    sids = [
        {"node": evil, "behavior": "End.X", "sid": evil, "link": one["name"], "neighbor": evil, "attachment": None}
        for one in links
    ]
    page = write_report(
        make_forecast(
            tmp_path / "f",
            [("ecmp", None), (evil, 100_000), (f"{evil}2", 100_000)],
            seeds=2,
            loads=(1.0, 2.0),
            trace={"name": evil, "packets": 9, "flows": 2, "sources": [{"path": f"/{evil}.pcap"}]},
            network={"links": links, "paths": paths, "changes": [{"at_ns": 10**6, "link": evil, "rate_bps": 0}]},
            sids={"sids": sids, "lists": []},
        )
    )
    shown, said = opened(page, tmp_path)
    assert shown.count('class="main-svg"') >= 8
    title = re.findall(r"<title>(.*?)</title>", shown)[0]
    assert title.startswith("&lt;img src=x") and not title.startswith("run")
    assert "<img" not in shown and not re.findall(r"CONSOLE.*(?:Error|Refused|error)", said)


def opened(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """The page's elements as the browser has them, and what it said."""
    assert CHROMIUM is not None
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", *flags]
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, ran.stderr
