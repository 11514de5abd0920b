"""Work on all cores: order, bounds, and how it ends."""

from __future__ import annotations

import os
import threading
import time

import pytest

from segcast.analyzer.parallel import in_order, usable_cores


def test_results_come_in_order_whatever_finishes_first() -> None:
    def late(number: int) -> int:
        time.sleep(0.002 * (7 - number % 8))
        return number * number

    assert list(in_order(late, range(40), 5, int)) == [n * n for n in range(40)]
    assert list(in_order(late, [], 3, int)) == []


def test_only_a_few_are_begun_ahead() -> None:
    begun: list[int] = []
    results = in_order(begun.append, range(1000), 3, int)
    next(results)
    assert len(begun) <= 6
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 6


def test_a_tick_that_raises_ends_it_and_what_runs_finishes() -> None:
    done: list[int] = []
    started, ticked = threading.Event(), threading.Event()

    def slow(number: int) -> None:
        started.set()
        ticked.wait(60)
        time.sleep(0.1)
        done.append(number)

    def tick() -> None:
        if started.is_set():
            ticked.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_order(slow, range(100), 2, tick))
    assert 1 <= len(done) <= 4
    assert threading.active_count() == 1 or not any(t.name.startswith("ThreadPool") for t in threading.enumerate())


def test_an_error_passes_on() -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_order(fail, [1, 0, 1], 2, int))


def test_a_timeout_of_the_function_is_not_taken_for_waiting() -> None:
    def fail(number: int) -> int:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        list(in_order(fail, [1], 1, int))


def test_cores_are_those_allowed_or_where_no_system_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
