"""What answers say of how few busy periods are behind a percentile."""

from __future__ import annotations

import pytest

from segcast.analyzer.answers.evidence import FLOWS_FOR_P999, PACKETS_FOR_P999, PERIODS_BEYOND
from tests.support.deciding import US, cells, decided

QUEUEING = {"queue_p99_ns": 600 * US, "queue_p999_ns": 800 * US, "delay_p999_ns": 1200 * US}


def test_few_busy_periods_are_a_limit_with_what_it_would_take() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 700 * US}
    few = {"ecmp": 2.2, "inflight": 4.0}
    found = decided(cells(p99, busy_periods_p99=few, **QUEUEING))
    assert found.do.startswith("Use inflight, 100 us: ") and found.few == ()
    (said,) = found.but
    assert said == (
        "Too few busy periods to tell how large p99 delay is: under ecmp it rests on about 2.2 separate busy periods "
        "of the queues, 10 would be needed, traffic about 4.5 times as long."
    )
    one = decided(cells(p99, busy_periods_p99=1.0, **QUEUEING)).but
    assert "rests on about 1 separate busy period of the queues, 10 would be needed, traffic about 10 times" in one[0]
    assert decided(cells(p99, busy_periods_p99=float(PERIODS_BEYOND), **QUEUEING)).but == ()


def test_busy_periods_count_only_where_packets_wait_as_captured() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 700 * US}
    hardly = QUEUEING | {"queue_p99_ns": 30 * US, "queue_p999_ns": 30 * US}
    assert decided(cells(p99, busy_periods_p99=1.0, busy_periods_p999=1.0, **hardly)).but == ()
    assert decided(cells(p99, busy_periods_p99=None, queue_p99_ns=0)).but == ()
    rows = [one | {"fct_p99_ns": one["delay_p99_ns"]} for one in cells(p99, busy_periods_p99=1.0, **QUEUEING)]
    assert not any("busy" in said for said in decided(rows, reacts=True).but)


def test_the_load_with_fewest_busy_periods_is_named() -> None:
    p99 = {"ecmp": 1000 * US, "inflight": 700 * US}
    rows = cells(p99, busy_periods_p99=50.0, **QUEUEING) + cells(p99, 2.0, busy_periods_p99=3.0, **QUEUEING)
    assert any("under ecmp at load 2 it rests on about 3 separate" in said for said in decided(rows).but)


@pytest.mark.parametrize(("periods", "known"), [(PERIODS_BEYOND, True), (PERIODS_BEYOND - 0.1, False)])
def test_p999_is_known_from_busy_periods(periods: float, known: bool) -> None:
    usual = {"effective_flows": float(FLOWS_FOR_P999), "delivered": PACKETS_FOR_P999}
    rows = cells({"ecmp": 1000 * US, "inflight": 700 * US}, busy_periods_p999=periods, **usual, **QUEUEING)
    assert decided(rows).knows_p999 == known
    short = [one | {"queue_p999_ns": 10 * US} for one in rows]
    assert decided(short).knows_p999
