"""The generator of real TCP, over the loopback: what is asked when, what waits for what, and how it ends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from segcast.analyzer.workload.table import Workload, streams, workload_of
from segcast.replay.live.generator import Result, send_list
from segcast.replay.live.plan import Connection
from segcast.replay.live.sockets import Options, make_sockets
from segcast.replay.live.tcp_info import fields_of, tcp_counters
from segcast.traces.errors import InputError

MS = 1_000_000
HOSTS = ("127.0.77.1", "127.0.77.2", "127.0.77.3")
CONTROL = Options("reno")  # which everybody may use


def here(_place: int, work: Callable[[], list[socket.socket]]) -> list[socket.socket]:
    return work()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    found = [socket.socket() for _ in range(count)]
    for each in found:
        each.bind(("127.0.77.9", 0))
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


def listed(rows: Sequence[dict[str, Any]]) -> Workload:
    """A list of rows with `start`, `src`, `dst`, `bytes`, and perhaps `after`, `think`, `connection`."""
    pairs = sorted((row, other) for row, each in enumerate(rows) for other in each.get("after", ()))
    waiting = np.array([[a, b] for a, b in pairs], np.int64).reshape(-1, 2)
    columns = [
        np.array([row.get(name, 0) for row in rows], np.int64) for name in ("start", "src", "dst", "bytes", "think")
    ]
    return workload_of(
        [str(row) for row in range(len(rows))],
        *columns[:4],
        think_ns=columns[4],
        after=(waiting[:, 0], waiting[:, 1]),
        connection=[row.get("connection", "") for row in rows],
    )


def connections_of(workload: Workload) -> list[Connection]:
    """A connection for each of the list's, the ends at addresses of the loopback."""
    first = np.unique(workload.connection, return_index=True)[1].tolist()
    *ports, served = free_ports(len(first) + 1)
    ends = [(HOSTS[workload.source[row]], HOSTS[workload.target[row]]) for row in first]
    return [Connection(((a, port), (b, served)), (0, 0), (-1, -1)) for (a, b), port in zip(ends, ports, strict=True)]


def sent(workload: Workload, patience_s: float = 20.0) -> Result:
    connections = connections_of(workload)
    sockets = make_sockets(connections, CONTROL, here)
    return send_list(workload, connections, streams(workload), sockets, patience_s)


def test_flows_start_when_they_are_due_and_arrive() -> None:
    rows = [{"start": 40 * MS * n, "src": n % 2, "dst": 2, "bytes": 1 + 300_000 * n} for n in range(5)]
    result = sent(listed(rows))
    assert result.unfinished_why is None
    assert result.due_ns.tolist() == [row["start"] for row in rows]
    assert (result.asked_ns >= result.due_ns).all()
    assert (result.complete_ns > result.asked_ns).all()
    for client, server in result.info:
        assert client is not None
        assert server is not None
    assert [client["bytes_acked"] for client, _ in result.info if client] == [
        row["bytes"] + 1 for row in rows
    ]  # and SYN
    assert [server["bytes_received"] for _, server in result.info if server] == [row["bytes"] for row in rows]


def test_flows_wait_for_others_and_think() -> None:
    rows = [
        {"src": 0, "dst": 1, "bytes": 400, "connection": "page"},
        {"src": 1, "dst": 0, "bytes": 2_000_000, "connection": "page", "after": [0], "think": 30 * MS},
        {"src": 1, "dst": 2, "bytes": 5_000, "after": [0, 1]},
        {"start": 90 * MS, "src": 2, "dst": 1, "bytes": 7, "after": [0]},
    ]
    result = sent(listed(rows))
    done = result.complete_ns.tolist()
    assert result.due_ns.tolist() == [0, done[0] + 30 * MS, max(done[:2]), max(done[0], 90 * MS)]
    assert (result.asked_ns >= result.due_ns).all()
    assert len(result.info) == 3
    page = result.info[0]
    assert page[0] is not None
    assert page[0]["bytes_received"] == 2_000_000


def test_bytes_of_a_direction_leave_in_the_order_of_the_list() -> None:
    """The second flow of a direction is due first, and yet waits to be asked for."""
    rows = [
        {"start": 60 * MS, "src": 0, "dst": 1, "bytes": 1_000, "connection": "one"},
        {"start": 0, "src": 0, "dst": 1, "bytes": 2_000, "connection": "one"},
        {"start": 0, "src": 1, "dst": 0, "bytes": 3_000, "connection": "one"},
    ]
    result = sent(listed(rows))
    assert result.due_ns.tolist() == [60 * MS, 0, 0]
    assert result.asked_ns[1] >= 60 * MS
    assert result.complete_ns[0] <= result.complete_ns[1]
    assert result.complete_ns[2] < 60 * MS  # what the other end has to send opens the connection


def test_what_nobody_listens_to_fails_and_takes_along_what_waits_for_it() -> None:
    rows = [
        {"src": 0, "dst": 1, "bytes": 10, "connection": "dead"},
        {"src": 0, "dst": 2, "bytes": 10, "after": [0], "connection": "waits"},
        {"src": 0, "dst": 2, "bytes": 10, "connection": "waits"},
        {"start": 50 * MS, "src": 2, "dst": 0, "bytes": 10},
    ]
    workload = listed(rows)
    connections = connections_of(workload)
    (nobody,) = free_ports(1)
    dead = connections[0]._replace(ends=(connections[0].ends[0], (HOSTS[1], nobody)))
    sockets = make_sockets(connections, CONTROL, here)
    result = send_list(workload, [dead, *connections[1:]], streams(workload), sockets, 20.0)
    assert (result.complete_ns >= 0).tolist() == [False, False, False, True]
    assert result.unfinished_why == "the connection of row 0 failed: Connection refused"
    assert result.info[0] == result.opened[0] == (None, None)


def test_a_list_ends_when_patience_does() -> None:
    rows = [{"src": 0, "dst": 1, "bytes": 10}, {"start": 10**12, "src": 0, "dst": 2, "bytes": 10}]
    result = sent(listed(rows), patience_s=0.3)
    assert (result.complete_ns >= 0).tolist() == [True, False]
    assert result.asked_ns[1] == -1
    assert result.unfinished_why == "it was not done after 0.3 s"


def test_sockets_are_gone_afterwards() -> None:
    workload = listed([{"src": 0, "dst": 1, "bytes": 10}])
    connections = connections_of(workload)
    for _ in range(2):  # the same ports again, at once
        sockets = make_sockets(connections, CONTROL, here)
        assert sent_by(workload, connections, sockets).unfinished_why is None
        assert all(each.fileno() == -1 for each in (*sockets.clients, *sockets.listeners))


def sent_by(workload: Workload, connections: list[Connection], sockets: Any) -> Result:
    return send_list(workload, connections, streams(workload), sockets, 20.0)


def test_a_control_that_the_kernel_lacks_is_named() -> None:
    connections = connections_of(listed([{"src": 0, "dst": 1, "bytes": 10}]))
    with pytest.raises(InputError, match=r"congestion control quick: the kernel refuses it .*it has .*reno"):
        make_sockets(connections, Options("quick"), here)


def test_fields_of_tcp_info_are_where_the_kernel_has_them() -> None:
    layout = "=8B24I4Q6I4Q2I2Q6I2HI"  # linux/tcp.h: bytes, 24 words, and so on
    values = list(range(1, 1 + 8 + 24 + 4 + 6 + 4 + 2 + 2 + 6 + 3))
    found = fields_of(struct.pack(layout, *values))
    assert {name: found[name] for name in ("rto", "snd_mss", "lost", "rtt", "snd_cwnd", "total_retrans")} == {
        "rto": 9,
        "snd_mss": 11,
        "lost": 15,
        "rtt": 24,
        "snd_cwnd": 27,
        "total_retrans": 32,
    }
    assert {name: found[name] for name in ("bytes_received", "min_rtt", "rwnd_limited", "bytes_retrans")} == {
        "bytes_received": 36,
        "min_rtt": 40,
        "rwnd_limited": 45,
        "bytes_retrans": 50,
    }
    assert (found["dsack_dups"], found["rcv_wnd"], found["total_rto"], found["total_rto_recoveries"]) == (
        51,
        55,
        57,
        58,
    )
    assert fields_of(b"\1" * 104)["bytes_acked"] == 0  # an older kernel


def test_counters_of_tcp_have_names() -> None:
    assert tcp_counters()["TCPTimeouts"] >= 0
