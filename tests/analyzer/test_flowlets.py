"""Flowlets at many timeouts in one pass, against the slow twin."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.flowlets import split
from segcast.analyzer.flowlets.split import StreamedProfile, packet_gaps, profile, split_flowlets
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.traces.errors import InputError
from tests.twins import flowlets as twin

Rows = list[tuple[int, int, int]]
GAPS = (0, 1, 99, 100, 101, 500, 5000)


@st.composite
def traces(draw: st.DrawFn) -> Rows:
    """(time, flow, bytes) in time order, gaps often at the timeouts."""
    now = draw(st.sampled_from([0, 10**18]))
    rows: Rows = []
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.sampled_from(GAPS))
        rows.append((now, draw(st.integers(0, 4)), draw(st.integers(20, 1500))))
    return rows


def columns(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times, flows, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(flows, np.uint32), np.array(times, np.int64), np.array(sizes, np.uint32)


def assert_same(rows: Rows, timeouts: list[int], batch: int) -> None:
    flow, time_ns, size = columns(rows)
    closed = split_flowlets(flow, time_ns, size, 5, timeouts, batch_packets=batch)
    table = profile(closed, timeouts, len(set(flow.tolist()))).to_pylist()
    sightings = [twin.Sighting(*row) for row in rows]
    for level, (timeout, row) in enumerate(zip(sorted(set(timeouts)), table, strict=True)):
        ref = twin.profile(sightings, timeout)
        comp = [(int(f), int(t), int(p), int(b)) for k, f, t, p, b in zip(*closed, strict=True) if k == level]
        assert sorted(comp) == sorted((x.flow, x.start_ns, x.packets, x.bytes) for x in ref.flowlets)
        assert (row["timeout_ns"], row["flowlets"], row["never_split"]) == (timeout, len(ref.flowlets), ref.never_split)


@settings(max_examples=200, deadline=None)
@given(traces(), st.lists(st.sampled_from([0, 1, 100, 499, 500, 10**9]), min_size=1, max_size=6), st.integers(1, 70))
def test_same_flowlets_as_the_twin(rows: Rows, timeouts: list[int], batch: int) -> None:
    assert_same(rows, timeouts, batch)


@pytest.mark.parametrize("seed", range(5))
def test_same_flowlets_as_the_twin_on_longer_traces(seed: int) -> None:
    rng = random.Random(seed)
    now, rows = 0, []
    for _ in range(3000):
        now += rng.choice(GAPS)
        rows.append((now, rng.randrange(5), rng.randrange(20, 1500)))
    assert_same(rows, [0, 50, 100, 1000, 20_000], 777)


@pytest.mark.parametrize("at_once", [1, 50, 1 << 16])
@pytest.mark.parametrize("count", [0, 2000])
def test_a_profile_batch_by_batch_is_that_of_the_whole(
    at_once: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "_AT_ONCE", at_once)
    rng, timeouts = random.Random(count), [0, 100, 1000]
    rows = [(5 * step + rng.choice(GAPS), rng.randrange(5), rng.randrange(20, 1500)) for step in range(count)]
    flow, time_ns, size = columns(sorted(rows))
    streamed = StreamedProfile(5, timeouts)
    for start in range(0, count, 300):
        streamed.add(flow[start : start + 300], time_ns[start : start + 300], size[start : start + 300])
    whole = split_flowlets(flow, time_ns, size, 5, timeouts)
    assert streamed.finish().to_pylist() == profile(whole, timeouts, len(set(flow.tolist()))).to_pylist()


@settings(max_examples=100, deadline=None)
@given(traces())
def test_same_gaps_as_the_twin(rows: Rows) -> None:
    flow, time_ns, _ = columns(rows)
    ref = [-1 if gap is None else gap for gap in twin.gaps_ns([twin.Sighting(*row) for row in rows])]
    assert packet_gaps(flow, time_ns, 5).tolist() == ref


@pytest.mark.parametrize("timeouts", [[], [-1], list(range(1001))])
def test_impossible_timeouts_are_refused(timeouts: list[int]) -> None:
    with pytest.raises(InputError, match="flowlet timeout"):
        split_flowlets(*columns([(0, 0, 40)]), 1, timeouts)


def test_quantiles_are_members_of_the_data() -> None:
    values = np.arange(1, 1001)
    assert nearest_ranks(values, [0.5, 0.9, 0.99, 0.999, 1.0]) == [500, 900, 990, 999, 1000]
    assert nearest_ranks(np.array([7]), [0.0, 0.5, 1.0]) == [7, 7, 7]
    assert nearest_ranks(np.array([], np.int64), [0.5]) == [None]
