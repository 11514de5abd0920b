"""Numbers as reports write them, and the ticks of their axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from segcast.reports import text
from segcast.reports.forecast.data import Estimate
from segcast.reports.style import linear_ticks, log_ticks


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0, "0 ns"),
        (850, "850 ns"),
        (12_345, "12.3 us"),
        (999_999, "1 ms"),
        (1_200_000, "1.2 ms"),
        (-1_200_000, "-1.2 ms"),
        (4_050_000_000, "4.05 s"),
        (599 * 10**9, "599 s"),
        (754 * 10**9, "12 min 34 s"),
        (-4_321 * 10**9, "-1 h 12 min"),
        (10**18, "277777 h 46 min"),
    ],
)
def test_duration(value: float | None, expected: str) -> None:
    assert text.duration(value) == expected


@pytest.mark.parametrize(
    ("words", "value", "expected"),
    [
        (text.size, 0, "0 B"),
        (text.size, 1_500, "1.5 kB"),
        (text.size, 999_999, "1 MB"),
        (text.size, 5 * 10**18, "5000 PB"),
        (text.rate, 10_000_000_000, "10 Gbit/s"),
        (text.rate, None, "-"),
        (text.count, 9_999_999, "9 999 999"),
        (text.count, 12_345_678, "12.3 M"),
        (text.count, 0, "0"),
        (text.count, None, "-"),
        (text.plain, 1.4189, "1.42"),
        (text.plain, -0.0004, "-0.0004"),
        (text.plain, 123_456.0, "123000"),
        (text.plain, math.nan, "-"),
        (text.percent, 0, "0 %"),
        (text.percent, 0.31, "31 %"),
        (text.percent, 0.0996, "10 %"),
        (text.percent, 0.00012, "0.012 %"),
        (text.percent, 1e-12, "<0.000001 %"),
        (text.percent, None, "-"),
        (text.change, -0.314, "-31 %"),
        (text.change, 0.042, "+4.2 %"),
        (text.change, -0.0002, "0 %"),
        (text.change, 0, "0 %"),
        (text.change, 11.0, "x12"),
        (text.change, None, "-"),
    ],
)
def test_quantities(words: Callable[[float | None], str], value: float | None, expected: str) -> None:
    assert words(value) == expected


def test_intervals_and_spans() -> None:
    assert text.change_interval(-0.35, 0.027) == "-35 to +2.7"
    assert text.change_interval(None, 0.1) == ""
    assert text.span("812 us", "840 us") == "812 to 840 us"
    assert text.span("812 us", "1.1 ms", "–") == "812 us–1.1 ms"
    assert text.span("3", "4") == "3 to 4"
    assert text.span("9 000", "12 000") == "9 000 to 12 000"


def test_typeset_touches_only_numbers() -> None:
    assert text.typeset("inflight, 100 us: -31 % (-35 to +2)") == "inflight, 100\u00a0µs: −31\u00a0% (−35 to +2)"
    assert text.typeset("use policy-2 at 2026-01-02") == "use policy-2 at 2026-01-02"


def test_ticks_are_few_round_and_inside() -> None:
    assert log_ticks(900, 1.1e6) == [1e3, 1e4, 1e5, 1e6]
    assert linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10] or len(linear_ticks(0, 10)) <= 6
    for low, high in [(52_000, 53_000), (1, 1e9), (1.0, 1.001), (5, 5), (3e-4, 2e-3), (2e5, 9e6)]:
        ticks = log_ticks(low, high)
        assert 1 <= len(ticks) <= 7
        assert all(low * 0.999999 <= tick <= high * 1.000001 for tick in ticks)
        assert ticks == sorted(set(ticks))


def test_estimate() -> None:
    assert Estimate.of([None, math.nan]) == Estimate(None)
    assert Estimate.of([3]) == Estimate(3.0, seeds=1)
    two = Estimate.of([1.0, 3.0])
    assert (two.mean, two.low, two.seeds) == (2.0, 0.0, 2)
    assert two.high == pytest.approx(2 + 12.7062, abs=1e-4)
    many = Estimate.of([float(n) for n in range(100)])
    assert many.high is not None and many.mean is not None
    assert many.high - many.mean == pytest.approx(1.984 * 29.0115 / 10, rel=1e-3)


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [(2**20, "1 MiB"), (512 * 1024, "512 KiB"), (250_000, "250 kB"), (3_000_000, "3 MB"), (1501, "1501 B"), (0, "0 B")],
)
def test_sizes_that_were_given_come_back_as_they_were(size_bytes: int, said: str) -> None:
    assert text.given(size_bytes) == said
    assert text.typeset(said) == said.replace(" ", "\u00a0")
