"""Pages as a browser shows them: drawn, narrow, dark, printed, searched; nothing is fetched, nothing hostile runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from segcast.reports.forecast.page import write_report
from segcast.traces.trace import Trace
from tests.support.browser import CHROMIUM, Browser
from tests.support.forecasts import cells, make_forecast, make_reacting
from tests.support.pages import every_page


def found_axe() -> Path | None:
    """Where axe-core is, if it is anywhere: what AXE_CORE names, or npm's global folder."""
    named = os.environ.get("AXE_CORE")
    globally = [Path(root) / "node_modules/axe-core/axe.min.js" for root in ("/usr/lib", "/usr/local/lib")]
    return next((path for path in [*([Path(named)] if named else []), *globally] if path.is_file()), None)


AXE = found_axe()
PAGES: Final = ("report", "plan", "failures", "advice", "sweep", "compare", "validation", "live")
IN_SIGHT: Final = "Array.from(document.querySelectorAll('.plot')).filter(function (one) { return one.offsetWidth; })"
ALL_DRAWN: Final = f"{IN_SIGHT}.every(function (one) {{ return one.querySelector('.main-svg'); }})"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def pages(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return every_page(cluster, tmp_path_factory.mktemp("pages"))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as found:
        found.look()
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_drawn_and_keeps_to_itself_narrow_and_dark(
    pages: dict[str, Path], browser: Browser, name: str
) -> None:
    assert pages[name].stat().st_size < 6_000_000
    for width in (1280, 390):
        for dark in (False, True):
            browser.look(width, dark=dark)
            browser.open(pages[name])
            browser.until(ALL_DRAWN)
            assert (browser.said, browser.fetched) == ([], [])
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
            shade = browser.run("getComputedStyle(document.body).backgroundColor")
            assert shade == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("name", PAGES)
def test_the_title_of_a_page_says_its_answer_or_its_folders(pages: dict[str, Path], name: str) -> None:
    found = re.search(r"<title>(.*?)</title>", pages[name].read_text("utf-8"))
    title = found[1] if found else ""
    assert len(title) > 12 and ("against" in title if name == "compare" else ":" in title)


@pytest.mark.parametrize("name", PAGES)
def test_titles_of_axes_are_not_cut(pages: dict[str, Path], browser: Browser, name: str) -> None:
    browser.look(390)
    browser.open(pages[name])
    browser.until(ALL_DRAWN)
    cut = f"""{IN_SIGHT}.flatMap(function (plot) {{
      var frame = plot.getBoundingClientRect();
      return Array.from(plot.querySelectorAll(".xtitle")).map(function (one) {{
        var box = one.getBoundingClientRect();
        var held = box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1;
        return held ? "" : one.textContent;
      }});
    }}).filter(Boolean)"""
    assert browser.run(cut) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_prints_bright_with_its_figures(
    pages: dict[str, Path], browser: Browser, tmp_path: Path, name: str
) -> None:
    browser.look(dark=True)
    browser.open(pages[name])
    printed = browser.printed(tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and len(printed) > 10_000
    assert browser.run(ALL_DRAWN) and browser.said == []
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.documentElement).getPropertyValue('--page').trim()") == "#fff"


@pytest.mark.skipif(AXE is None, reason="no axe-core: AXE_CORE names its axe.min.js, or it lies in npm's global folder")
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(pages: dict[str, Path], browser: Browser, name: str) -> None:
    for width in (1280, 390):
        for dark in (False, True):
            assert faults(browser, pages[name], width, dark=dark) == [], (width, dark)


def faults(browser: Browser, page: Path, width: int, *, dark: bool) -> Any:
    """What axe finds on a page with all of it unfolded."""
    assert AXE is not None
    browser.look(width, 2000, dark=dark)
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach(function (part) { part.open = true; })")
    browser.run(f"{AXE.read_text('utf-8')}; undefined")
    return browser.run(
        """axe.run({ resultTypes: ["violations"] }).then(function (found) {
          return found.violations.map(function (one) { return one.id + ": " + one.nodes[0].html.slice(0, 200); });
        })"""
    )


@pytest.mark.skipif(AXE is None, reason="no axe-core: AXE_CORE names its axe.min.js, or it lies in npm's global folder")
def test_axe_finds_nothing_on_a_page_of_many_cells(tmp_path: Path, browser: Browser) -> None:
    many = cells(("random", "inflight", "a third"), (20_000, 50_000, 100_000, 500_000))
    page = write_report(make_forecast(tmp_path / "f", many, seeds=3, loads=(0.5, 1.0, 2.0), lost=False))
    for width in (1280, 390):
        for dark in (False, True):
            assert faults(browser, page, width, dark=dark) == []


def test_every_figure_is_drawn_where_senders_react(tmp_path: Path, browser: Browser) -> None:
    folder = make_reacting(tmp_path / "f", cells(), seeds=2, unfinished=(400, 0, 200))
    browser.open(write_report(folder))
    browser.until(ALL_DRAWN)
    assert browser.run("document.querySelectorAll('.main-svg').length") >= 14
    assert (browser.said, browser.fetched) == ([], [])
    assert "Flows did not finish" in browser.run("document.body.textContent")


def test_the_answer_in_full_is_on_demand_and_on_paper(tmp_path: Path, browser: Browser) -> None:
    folder = make_forecast(tmp_path / "f", cells(), seeds=5, loads=(0.5, 1.0))
    document = json.loads((folder / "forecast.json").read_text("utf-8"))
    whole = f"Up to load 0.5 stay on ecmp: {'nothing beats it; ' * 12}at load 1 use inflight: p99 delay -30 %."
    said = {"do": whole, "brief": "Up to load 0.5 stay on ecmp; at load 1 use inflight: p99 delay -30 %."}
    (folder / "forecast.json").write_text(json.dumps(document | {"decision": said}), "utf-8")
    browser.open(write_report(folder))
    assert browser.run("document.querySelector('h1').textContent").replace("\u00a0", " ").endswith("delay \u221230 %.")
    assert browser.run("document.querySelector('details.whole').open") is False
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelector('details.whole').open") is True


def test_the_table_of_sids_shows_the_rows_that_hold_what_is_typed(tmp_path: Path, browser: Browser) -> None:
    row = {"behavior": "End", "link": None, "neighbor": None, "attachment": None}
    sids = [{**row, "node": f"leaf{number}", "sid": f"fd00::{number}"} for number in range(30)]
    page = write_report(make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1, sids={"sids": sids, "lists": []}))
    browser.open(page)
    typed = """(function () {
      document.querySelector("details.sids").open = true;
      var field = document.querySelector(".narrow");
      field.value = " LEAF2 ";
      field.dispatchEvent(new Event("input"));
      return Array.from(document.querySelectorAll(".sids tbody tr")).map(function (one) {
        return [one.querySelector("th").textContent, one.hidden];
      });
    })()"""
    rows = [row for row in browser.run(typed) if row[0].startswith("leaf")]
    assert len(rows) == 30
    assert {name for name, hidden in rows if not hidden} == {"leaf2", *(f"leaf2{n}" for n in range(10))}
    assert browser.said == []


def test_names_that_are_markup_do_nothing(tmp_path: Path, browser: Browser) -> None:
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
    browser.open(page)
    browser.until(ALL_DRAWN)
    assert browser.run("document.querySelectorAll('.main-svg').length") >= 8
    assert browser.run("document.title").startswith("<img src=x")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert (browser.said, browser.fetched) == ([], [])
