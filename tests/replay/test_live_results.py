"""What a run of real TCP measured, row by row: who sent what again, and whose flowlets are whose."""

from __future__ import annotations

import numpy as np

from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.workload.table import workload_of
from segcast.replay.live.counters import Processors
from segcast.replay.live.generator import Result
from segcast.replay.live.plan import Connection, End, LivePlan
from segcast.replay.live.results import flowlets_of, table_of
from segcast.replay.live.steering import Steered, SteeredFlowlet
from segcast.replay.live.tcp_info import Sent, fields_of

A, B = ("10.0.0.1", 10000), ("10.0.1.1", 5001)
C, D = ("10.0.0.2", 10000), ("10.0.1.1", 5001)
ANY_NETWORK = short_scenario(paths="1x1Gbps").assembled([(0, 1)])
ROWS = 4
"""Rows 0, 1 and 3 share a connection, 3 in its other direction; row 2 has one of its own."""


def plan() -> LivePlan:
    columns = [np.array(column, np.int64) for column in ([0, 100, 0, 200], [0, 0, 1, 4], [4, 4, 4, 0], [9, 9, 9, 9])]
    workload = workload_of(
        [str(row) for row in range(ROWS)],
        *columns,
        think_ns=np.zeros(ROWS, np.int64),
        after=(np.zeros(0, np.int64), np.zeros(0, np.int64)),
        connection=["x", "x", "", "x"],
    )
    connections = [Connection((A, B), (0, 1), (-1, -1)), Connection((C, D), (0, 1), (2, 6))]
    return LivePlan(workload, connections, np.array([0, 0, 2, 1], np.int64), {}, False, ANY_NETWORK)


def result(**changes: object) -> Result:
    def info(again: int) -> dict[str, int]:
        return fields_of(b"") | {"total_retrans": again}

    times = [np.array(column, np.int64) for column in ([0, 100, 0, 200], [1, 101, 2, 203], [50, 180, -1, 260])]
    sent: list[Sent | None] = [Sent(3, 0, 1), Sent(3, 2, 1), None, Sent(7, 1, 0)]
    found = Result(*times, sent, [(info(3), info(7)), (None, None)], [(info(1), info(2)), (None, None)], "why", 5000)
    return found._replace(**changes)


def test_what_is_sent_again_counts_for_the_flow_under_way() -> None:
    found = table_of(plan(), result()).to_pydict()
    assert found["retransmissions"] == [2, 0, None, 5]  # SYNs and SYN/ACKs of the handshake are none of data
    assert found["rto"] == [1, 0, None, 0]
    assert found["needless"] == [0, 2, None, 1]
    assert found["syn_retransmissions"] == [3, 0, None, 0]
    assert found["fct_ns"] == [49, 79, None, 57]
    assert found["late_ns"] == [1, 1, 2, 3]
    assert found["path_id"] == [None, None, 2, None]
    assert found["flowlets"] == [None] * ROWS


def test_flowlets_are_of_the_flow_that_was_asked_last() -> None:
    def flowlet(ends: tuple[End, End], path: int, start: int, size: int = 61) -> SteeredFlowlet:
        return SteeredFlowlet(ends, path, 5000 + start, 1, size, 7)

    log = [
        flowlet((A, B), 1, 100),  # row 1 is asked at 101
        flowlet((A, B), 2, -3, 60),  # a SYN, a clock's reading before
        flowlet((A, B), 0, 40),
        flowlet((A, B), 3, 150),
        flowlet((B, A), 4, 120),  # acknowledgements, before row 3 is asked
        flowlet((A, B), 3, 170),
        flowlet((D, C), 5, 30),  # the other direction has no data
        flowlet((C, D), 2, 30),
        flowlet((("10.9.9.9", 1), B), 2, 30),
    ]
    found = flowlets_of(plan(), result(), Steered(log, 0, 0, {}))
    assert found.select(["row", "start_ns", "path_id"]).to_pylist() == [
        {"row": 0, "start_ns": -3, "path_id": 2},
        {"row": 0, "start_ns": 40, "path_id": 0},
        {"row": 0, "start_ns": 100, "path_id": 1},
        {"row": 1, "start_ns": 150, "path_id": 3},
        {"row": 1, "start_ns": 170, "path_id": 3},
        {"row": 2, "start_ns": 30, "path_id": 2},
        {"row": 3, "start_ns": 120, "path_id": 4},
    ]
    assert found["data"].to_pylist() == [False, True, True, True, True, True, True]
    rows = table_of(plan(), result(), found).to_pydict()
    assert rows["flowlets"] == [2, 2, 1, 1]
    assert rows["path_changes"] == [1, 0, 0, 0]
    none = table_of(plan(), result(), flowlets_of(plan(), result(), Steered([], 0, 0, {})))
    assert none["flowlets"].to_pylist() == none["path_changes"].to_pylist() == [0] * ROWS


def test_processors_are_busy_with_what_is_not_idle() -> None:
    assert Processors(300, 50).busy_since(Processors(100, 0)) == 0.75
