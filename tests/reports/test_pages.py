"""What all pages share: of plotly.js what is drawn, and of many cases of a sweep those first that ask for something."""

from __future__ import annotations

from pathlib import Path

from segcast.analyzer.sweep.document import StatedCase, SweepDocument
from segcast.reports.pages import with_kinds_drawn
from segcast.reports.sweep.content import MOST_SEEN, SweepContent
from segcast.traces.disk.documents import json_text
from tests.support.forecasts import cells, make_forecast, make_reacting
from tests.support.reports import page_of

_KINDS = ("pie", "bar", "box", "heatmap", "table")


def library(kinds: tuple[str, ...]) -> str:
    """Text as packed as plotly.js is: each kind is a module that hands another on."""
    modules = "".join(
        f'var m{n}=W((a,b)=>{{"use strict";b.exports={{moduleType:"trace",name:"{kind}",plot:1}}}});'
        f'var h{n}=W((a,b)=>{{"use strict";b.exports=m{n}()}});'
        for n, kind in enumerate(kinds)
    )
    asked = ",".join(f"h{n}()" for n in range(len(kinds)))
    return f"{modules}var core=W((a,b)=>{{c.register([s()])}});var all=W((a,b)=>{{c.register([{asked}])}});"


def test_the_library_sets_up_only_what_pages_draw() -> None:
    whole = library(_KINDS)
    assert with_kinds_drawn(whole) == whole.replace("h0(),h1(),h2(),h3(),h4()", "h1(),h3()")


def test_a_library_that_is_packed_otherwise_is_left_whole() -> None:
    for text in ("", "var Plotly=1", library(("pie", "bar", "box")), library(_KINDS).replace("exports", "gives")):
        assert with_kinds_drawn(text) == text


def test_figures_are_of_kinds_that_are_set_up(tmp_path: Path) -> None:
    made = (
        make_forecast(tmp_path / "f", cells(), seeds=2, loads=(1.0, 2.0)),
        make_reacting(tmp_path / "r", cells(), seeds=2),
    )
    for folder in made:
        kinds = {trace["type"] for figure in page_of(folder).figures.values() for trace in figure["data"]}
        assert kinds <= {"scatter", "bar", "heatmap"} and len(kinds) > 1


def case(number: int, verdict: str, change: float | None) -> StatedCase:
    return StatedCase.model_validate(
        {"variant": f"buffer {number}KiB", "values": {"buffer": f"{number}KiB"}, "load": 1.0, "offered": "load 1"}
        | {"verdict": verdict, "do": verdict, "metric": "delay_p99_ns", "change": change, "breaks": []}
    )


def test_of_many_cases_those_that_ask_for_something_come_first(tmp_path: Path) -> None:
    cases = [case(n, "use" if n % 10 == 9 else "stay", -0.01 * n if n % 10 == 9 else 0.1) for n in range(60)]
    (tmp_path / "sweep.json").write_text(json_text(SweepDocument(cases=cases)), "utf-8")
    content = SweepContent(tmp_path)
    assert [row["do"] for row in content.seen[:7]] == ["use"] * 6 + ["stay"]
    assert [row["change"] for row in content.seen[:2]] == ["-59 %", "-49 %"]
    assert len(content.seen) == MOST_SEEN and len(content.rows) == 60
    (tmp_path / "sweep.json").write_text(json_text(SweepDocument(cases=cases[:12])), "utf-8")
    few = SweepContent(tmp_path)
    assert few.seen == few.rows
