"""Made jobs: what each of their flows waits for, over which connection, and in how many steps they are done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.table import Workload
from segcast.analyzer.workload.writing import write_workload
from tests.support.workloads import FOUR, HOST_LINKS, made, scenario
from tests.twins import workloads as twin


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> ValidScenario:
    return scenario(tmp_path_factory.mktemp("four"), FOUR + HOST_LINKS)


def rows_of(workload: Workload, folder: Path) -> list[twin.Flow]:
    write_workload(workload, folder / "w.csv")
    return twin.read((folder / "w.csv").read_text())


def test_an_incast_asks_all_at_once(four: ValidScenario, tmp_path: Path) -> None:
    rows = rows_of(made(four, "incast", fan=5, flows=20, size_bytes=9000, jitter_ns=500)[0], tmp_path)
    assert len(rows) == 20
    for asked, answered in zip(rows[::2], rows[1::2], strict=True):
        assert (asked.bytes, answered.bytes, answered.after) == (400, 9000, (asked.flow,))
        assert (asked.src, asked.dst) == (answered.dst, answered.src)
        assert asked.connection == answered.connection != ""
        assert 0 <= answered.think_ns < 500
    for job in (rows[:10], rows[10:]):
        assert len({row.src for row in job[::2]}) == 1 and len({row.dst for row in job[::2]}) == 5
        starts = [row.start_ns for row in job[::2]]
        assert max(starts) - min(starts) < 500 and len(set(starts)) > 1


def test_a_ring_reduces_and_gathers(four: ValidScenario, tmp_path: Path) -> None:
    """Every part passes every host: followed through what each flow waits for, step by step."""
    fan = 5
    rows = rows_of(made(four, "ring-all-reduce", fan=fan, flows=1, size_bytes=5001, jitter_ns=0)[0], tmp_path)
    assert len(rows) == 2 * fan * (fan - 1) and {row.bytes for row in rows} == {1001}
    by_name = {row.flow: row for row in rows}
    for row in rows:
        for name in row.after:
            assert by_name[name].dst == row.src
    assert all(len(row.after) == (number >= fan) for number, row in enumerate(rows))
    following = {row.src: row.dst for row in rows}
    host, seen = rows[0].src, []
    while host not in seen:
        seen.append(host)
        host = following[host]
    assert len(seen) == fan
    ends = twin.finish(rows)
    assert max(ends) - rows[0].start_ns == 2 * (fan - 1) * 1000


def test_all_to_all_goes_in_turns(four: ValidScenario, tmp_path: Path) -> None:
    fan = 6
    rows = rows_of(made(four, "all-to-all", fan=fan, flows=1, size_bytes=600, jitter_ns=0)[0], tmp_path)
    assert len(rows) == len({(row.src, row.dst) for row in rows}) == fan * (fan - 1)
    by_name = {row.flow: row for row in rows}
    for number, row in enumerate(rows):
        before = [by_name[name] for name in row.after]
        assert len(before) == (2 if number >= fan else 0)
        assert {row.src} >= {other.src for other in before[:1]} | {other.dst for other in before[1:]}
    assert max(twin.finish(rows)) - rows[0].start_ns == (fan - 1) * 1000


def test_a_shuffle_fetches_five_at_a_time(four: ValidScenario, tmp_path: Path) -> None:
    rows = rows_of(made(four, "shuffle", fan=8, flows=1, size_bytes=50, jitter_ns=0)[0], tmp_path)
    assert len({(row.src, row.dst) for row in rows}) == 64
    ends = dict(zip((row.flow for row in rows), twin.finish(rows), strict=True))
    for reducer in {row.dst for row in rows}:
        done = Counter(ends[row.flow] - row.start_ns for row in rows if row.dst == reducer)
        assert done == {1000: 5, 2000: 3}


def test_a_page_comes_over_six_connections(four: ValidScenario, tmp_path: Path) -> None:
    rows = rows_of(made(four, "web-pages", objects=14, flows=1, jitter_ns=0)[0], tmp_path)
    assert len(rows) == 30 and len({row.connection for row in rows}) == 6
    assert len({frozenset((row.src, row.dst)) for row in rows}) == 1
    assert all(row.bytes == 400 for row in rows[::2])
    by_connection = Counter(row.connection for row in rows[1::2])
    assert sorted(by_connection.values()) == [2, 2, 2, 2, 3, 4]
    ends = twin.finish(rows)
    assert max(ends) - rows[0].start_ns == 8000  # the page, and three objects on the busiest connections
