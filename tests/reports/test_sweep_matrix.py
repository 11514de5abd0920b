"""The matrix of a sweep: squares are the choices, cases in order of gain, nothing left out without a word."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.sweep.document import StatedCase, StatedField, SweepDocument
from segcast.analyzer.sweep.tables import CHOICES, rows_table
from segcast.reports.sweep import content as content_module
from segcast.reports.sweep.content import SweepContent, brief_values
from segcast.reports.sweep.page import write_sweep
from segcast.traces.disk.documents import json_text

CHOSEN = (("inflight", 50_000), ("inflight", 100_000), ("random", 50_000))


class Squares(HTMLParser):
    """Rows of each matrix of a page: what the row is called, its squares' classes, and their titles."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[tuple[str, list[tuple[str, str]]]]] = []
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "table":
            self._within = found.get("class") == "squares"
            if self._within:
                self.tables.append([])
        elif self._within and tag == "span" and "title" in found:
            self.tables[-1].append((found["title"], []))
        elif self._within and tag == "td":
            self.tables[-1][-1][1].append((found.get("class", ""), found.get("title", "")))


def make_sweep(folder: Path, count: int, name: str = "buffer") -> Path:
    """So many cases, each gains a little more than the one before under inflight at 100 us, the last none at all."""
    cases, rows = [], []
    for number in range(count):
        variant, value = f"{name} {number + 1}KiB", f"{number + 1}KiB"
        gain = -0.9 * number / count
        last = number == count - 1
        rows.append(choice(variant, "ecmp", None, None))
        for policy, timeout in CHOSEN:
            change = gain if (policy, timeout) == CHOSEN[1] else 0.2
            unclear = policy == "random"
            own = {"low": -0.1 if unclear else change - 0.01, "high": change + 0.01, "breaks": "drops" if last else ""}
            rows.append(choice(variant, policy, timeout, change) | own)
        cases.append(
            StatedCase.model_validate(
                {"variant": variant, "values": {name: value}, "load": 1.0, "offered": "load 1", "do": "it"}
                | {"verdict": "stay" if last else "use", "metric": "delay_p99_ns", "change": gain, "breaks": []}
            )
        )
    field = StatedField.model_validate({"field": name, "values": [case.values[name] for case in cases]})
    document = SweepDocument(
        answer="Use it.", source="t", fields=[field], variants=count, seeds=[1, 2], loads=[1.0], baseline="ecmp"
    ).model_copy(update={"cases": cases})
    folder.mkdir()
    (folder / "sweep.json").write_text(json_text(document), "utf-8")
    pq.write_table(rows_table(CHOICES, rows), folder / "choices.parquet")
    return folder


def choice(variant: str, policy: str, timeout: int | None, change: float | None) -> dict[str, Any]:
    label = None if timeout is None else f"{timeout // 1000} us"
    own = {"variant": variant, "load": 1.0, "policy": policy, "timeout": label, "timeout_ns": timeout, "seeds": 2}
    return own | {"chosen": False, "breaks": "", "change": change, "delay_p99_ns": 1e6 * (1 + (change or 0.0))}


def squares_of(folder: Path) -> tuple[Squares, str]:
    page = write_sweep(folder).read_text("utf-8")
    found = Squares()
    found.feed(page)
    return found, page


def plain(text: str) -> str:
    """A page's text as tables have it."""
    return text.replace("\u2212", "-").replace("\u00a0", " ").replace("\u202f", " ").replace("\u00b5s", "us")


def test_squares_of_the_page_are_the_choices(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", 30)
    found, _ = squares_of(folder)
    seen, whole = found.tables
    assert len(seen) == 20 and len(whole) == 30
    assert seen == whole[:20]
    by_case = {plain(name): squares for name, squares in whole}
    there = [row for row in pq.read_table(folder / "choices.parquet").to_pylist() if row["change"] is not None]
    assert len(there) == sum(len(squares) for squares in by_case.values()) == 90
    for row in there:
        start = f"{row['policy']}, {row['timeout']}, {row['variant']}: "
        ((classes, title),) = [one for one in by_case[row["variant"]] if plain(one[1]).startswith(start)]
        said = re.match(r"([+-]?[\d.]+) %", plain(title)[len(start) :])
        assert said is not None
        assert float(said[1]) / 100 == pytest.approx(row["change"], abs=0.0051)
        assert ("unclear" in classes.split()) == (row["low"] <= 0 <= row["high"])
        assert ("over" in classes.split()) == bool(row["breaks"])


def test_cases_that_gain_most_come_first_and_those_to_leave_come_last(tmp_path: Path) -> None:
    found, _ = squares_of(make_sweep(tmp_path / "s", 30))
    order = [int(re.sub(r"\D", "", name)) for name, _ in found.tables[1]]
    assert order == [*range(29, 0, -1), 30]


def test_few_changes_have_no_matrix(tmp_path: Path) -> None:
    found, page = squares_of(make_sweep(tmp_path / "s", 3))
    assert found.tables == [] and 'id="matrix"' not in page


def test_cases_that_are_not_on_the_page_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sweep(tmp_path / "s", 30)
    _, page = squares_of(folder)
    assert "not on this page" not in page and "not in this matrix" not in page
    monkeypatch.setattr(content_module, "MOST_ROWS", 25)
    monkeypatch.setattr("segcast.reports.sweep.matrix.MOST_SQUARES", 63)
    found, page = squares_of(folder)
    text = plain(html.unescape(page))
    assert "5 more cases are not on this page; sweep.json and choices.parquet beside it have all of them." in text
    assert "9 more cases are not in this matrix; choices.parquet has all of them." in text
    assert len(found.tables[1]) == 21
    # What gains most is beyond the first 25 cases, and is seen nonetheless.
    assert SweepContent(folder).seen[0]["values"] == ["29KiB"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = '"><script>alert(1)</script>'
    found, page = squares_of(make_sweep(tmp_path / "s", 30, name))
    assert "<script>alert" not in page
    assert found.tables[0][0][0].startswith(name)


def test_rates_and_sizes_of_many_digits_are_read_in_three_if_they_stay_apart() -> None:
    brief = brief_values(["100Mbps", "316227766bps", "64KiB", "900bps", "456419B"])
    assert list(brief.values()) == ["100Mbps", "316Mbps", "64KiB", "900bps", "456kB"]
    near = ["316227766bps", "316227767bps"]
    assert list(brief_values(near).values()) == near
