"""Pages in Chromium: how large they are, and when they are loaded and drawn, with 7 and with a thousand cells.

Each opening is in a browser of its own, as a reader's is whose page no cache has seen. Seconds are from navigation to
the load event and until all figures on the first screen (1280 x 900) are painted; `processor` is what the page's
process took until then, which a busy machine moves less; `all` is until every figure on the page is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.measuring import run
from segcast.traces.samples import CLUSTER
from tests.support.browser import Browser

FEW: Final = ("--policy", "ecmp,random,inflight", "--timeout", "50us,100us,500us", "--seeds", "1")
MANY: Final = (
    *("--policy", "ecmp,random,inflight,two-choices,round-robin,conga", "--load", "0.5,1,1.5,2", "--seeds", "5"),
    *("--timeout", "10us,20us,50us,75us,100us,150us,200us,300us,500us,1ms"),
)
_ALL: Final = (
    "Array.from(document.querySelectorAll('.plot')).filter(function (one) { return one.offsetWidth; })"
    ".every(function (one) { return one.querySelector('.main-svg'); })"
)


class Opened(NamedTuple):
    """One opening of a page, in seconds."""

    load: float
    drawn: float
    processor: float
    all: float


def opened(page: Path) -> Opened:
    """Open a page in a new browser."""
    with tempfile.TemporaryDirectory() as scratch, Browser(Path(scratch)) as browser:
        browser.look()
        before = browser.processor_s()
        browser.open(page)
        processor = browser.processor_s() - before
        browser.until(_ALL)
        now = float(browser.run("performance.now()"))
        return Opened(*browser.times(), processor, now / 1000)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("pages", nargs="*", type=Path, help="pages that there are, in place of the two")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        pages = [(page.parent.name or page.name, page) for page in given.pages]
        for name, flags in () if pages else (("7 cells", FEW), ("1,020 cells", MANY)):
            out = Path(scratch) / name.partition(" ")[0]
            forecast = ["segcast", "forecast", CLUSTER, "--paths", "4x300Mbps", "--buffer", "1MiB", *flags]
            run([sys.executable, "-m", *forecast, "--out", out])
            pages.append((name, out / "report.html"))
        print(f"{'':14}{'MB':>6}{'load, s':>9}{'drawn, s':>10}{'processor, s':>14}{'all, s':>8}")
        for name, page in pages:
            found = [opened(page.resolve()) for _ in range(given.runs)]
            load, drawn, processor, whole = (statistics.median(column) for column in zip(*found, strict=True))
            size = page.stat().st_size / 1e6
            print(f"{name:14}{size:6.2f}{load:9.2f}{drawn:10.2f}{processor:14.2f}{whole:8.2f}", flush=True)


if __name__ == "__main__":
    main()
