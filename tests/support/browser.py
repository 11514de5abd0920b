"""A headless Chromium over its debugging pipe: pages as a reader has them, with what they said, fetched and drew."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_S: Final = 60.0

_QUIET: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# Chromium reads commands from 3 and answers on 4.
_LAUNCHER: Final = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

# When all figures that are in sight have been drawn and painted, by the page's own clock.
_WATCH: Final = """
(function () {
  function inSight(plot) {
    var box = plot.getBoundingClientRect();
    return box.width > 0 && box.top < window.innerHeight && box.bottom > 0;
  }
  function look() {
    var plots = Array.from(document.querySelectorAll(".plot")).filter(inSight);
    if (document.readyState === "complete" && plots.every(function (one) { return one.querySelector(".main-svg"); })) {
      window.requestAnimationFrame(function () { window.drawnAt = performance.now(); });
      return;
    }
    window.setTimeout(look, 5);
  }
  window.addEventListener("load", look);
})();
"""


class PageError(Exception):
    """A page's script that threw, or a browser that did not answer."""


class Browser:
    """A Chromium with one tab; ends with the `with` block."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the browser's profile."""
        self._folder = folder
        self.events: list[dict[str, Any]] = []
        self._number = 0
        self._rest = b""

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        command = [CHROMIUM, *_QUIET, "--remote-debugging-pipe", f"--user-data-dir={self._folder / 'profile'}"]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCHER, str(theirs), str(answers), *command, "about:blank"],
            pass_fds=[theirs, answers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(answers)
        self._session: str | None = None
        tab = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def ask(self, method: str, *, of_tab: bool = True, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, to the tab or to the browser, and its result. Raises PageError."""
        self._number += 1
        number = self._number
        sent = {"id": number, "method": method, "params": parameters}
        if of_tab and self._session is not None:
            sent["sessionId"] = self._session
        os.write(self._out, json.dumps(sent).encode() + b"\0")
        return self._until(lambda one: one.get("id") == number, method)

    def wait_for(self, event: str) -> None:
        """Until an event has come since the last `open`. Raises PageError."""
        if not any(one.get("method") == event for one in self.events):
            self._until(lambda one: one.get("method") == event, event)

    def _until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while True:
            while b"\0" in self._rest:
                message, _, self._rest = self._rest.partition(b"\0")
                found: dict[str, Any] = json.loads(message)
                if "method" in found:
                    self.events.append(found)
                if wanted(found):
                    if "error" in found:
                        raise PageError(f"{what}: {found['error']['message']}")
                    return dict(found.get("result", {}))
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise PageError(f"{what}: no answer within {WAIT_S:g} s")
            read = os.read(self._in, 1 << 20)
            if not read:
                raise PageError(f"{what}: the browser has ended")
            self._rest += read

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """The size of the screen and its mode, for pages to come and the one that is open."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="", features=[scheme])

    def open(self, page: Path) -> None:
        """Open a page and wait until it is loaded, and drawn as far as it is in sight. Raises PageError."""
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        self.wait_for("Page.loadEventFired")
        self.until("window.drawnAt")

    def until(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value. Raises PageError."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if found := self.run(condition):
                return found
            time.sleep(0.01)
        raise PageError(f"{condition}: not within {WAIT_S:g} s")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise. Raises PageError."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def times(self) -> tuple[float, float]:
        """Seconds from navigation to the load event, and until all figures in sight were drawn."""
        load, drawn = self.run('[performance.getEntriesByType("navigation")[0].loadEventEnd, window.drawnAt]')
        return load / 1000, drawn / 1000

    def processor_s(self) -> float:
        """Seconds of a processor that the processes of pages have taken so far."""
        found = self.ask("SystemInfo.getProcessInfo", of_tab=False)["processInfo"]
        return float(sum(one["cpuTime"] for one in found if one["type"] == "renderer"))

    @property
    def said(self) -> list[str]:
        """What the page told the console, what it threw, and what the browser held against it."""
        found = []
        for one in self.events:
            of = one.get("params", {})
            if one["method"] == "Runtime.consoleAPICalled":
                found.append(" ".join(str(part.get("value", part.get("description"))) for part in of["args"]))
            elif one["method"] == "Runtime.exceptionThrown":
                details = of["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif one["method"] == "Log.entryAdded":
                found.append(of["entry"]["text"])
        return found

    @property
    def fetched(self) -> list[str]:
        """What was asked for beside the page itself; what the page holds in itself is not asked for."""
        urls = [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in urls[1:] if not url.startswith(("data:", "blob:"))]

    def picture(self, target: Path, *, whole: bool = False) -> Path:
        """The page as a picture: what is in sight, or all of it."""
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(found["data"]))
        return target

    def printed(self, target: Path) -> Path:
        """The page printed, as PDF."""
        found = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        target.write_bytes(base64.b64decode(found["data"]))
        return target
