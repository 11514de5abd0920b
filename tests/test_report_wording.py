"""Reports: what they call things, and that they say it of the right thing."""

from __future__ import annotations

from pathlib import Path

from analyzer.compare import answer, answered, compare
from reports.content import Content
from reports.data import Forecast
from tests.test_forecast import row
from tests.test_reports import make_forecast


def compared(folder: Path, variants: list[tuple[str, int | None]], p99: dict[str, float]) -> Content:
    """The page of a forecast whose document holds what `forecast` writes of such p99 delays, with two seeds."""
    rows = [row(policy, t, seed, p99[policy] + seed) for policy, t in variants for seed in (1, 2)]
    found = compare(rows, "ecmp")
    document = {"comparisons": found, "answer": answer(found), "answered": answered(found)}
    return Content(Forecast(make_forecast(folder, variants, seeds=2, **document)))


def test_the_answer_is_found_whatever_its_timeout(tmp_path: Path) -> None:
    for timeout_ns in (1_500_000, 99_999, 100_001, 1_234_567):
        variants = [("ecmp", None), ("inflight", timeout_ns)]
        content = compared(tmp_path / str(timeout_ns), variants, {"ecmp": 1000.0, "inflight": 700.0})
        assert " would cut the p99 one-way delay by 30 % " in content.sentence
        assert len(content.tiles) == 4
