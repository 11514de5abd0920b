"""The log of flowlets: read from the kernel while it steers, and made into a table."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.replay.steer.layout import NOWHERE, RECORD, Flag, Granularity
from segcast.replay.steer.program import Program
from segcast.replay.steer.tables import Rules
from segcast.traces.schema import Column, Table

_WITH_PORTS: Final = (6, 17, 33, 132, 136)

STEERED_FLOWLETS: Final = Table(
    "flowlets",
    "a flowlet that a host's program steered, in order of start; begins with the columns of `segcast flowlets --out`",
    (
        Column("timeout_ns", pa.int64(), "flowlet timeout; null where none is fixed: `rtt`, `drained`, `spray`", True),
        Column("flow_id", pa.uint32(), "flow, numbered from 0 in order of its first flowlet here: no trace's"),
        Column("first_ns", pa.int64(), "time of its first packet, UTC epoch"),
        Column("packets", pa.int64(), "packets; of a super-frame it counts one"),
        Column("bytes", pa.int64(), "IP bytes, without the outer header"),
        Column("last_ns", pa.int64(), "time of its last packet, UTC epoch"),
        Column("gap_ns", pa.int64(), "time since its flow's packet before it; null: the flow's first", True),
        Column("flowlet_id", pa.uint32(), "flowlet, numbered from 0 in order of start; those missing were lost"),
        Column("path_id", pa.uint16(), "path taken, an index into the network's paths"),
        Column("src", pa.string(), "source address"),
        Column("dst", pa.string(), "destination address"),
        Column("protocol", pa.uint8(), "transport protocol, after IPv6 extension headers"),
        Column("src_port", pa.uint16(), "null where the protocol has no ports; of fragments, which are without", True),
        Column("dst_port", pa.uint16(), "as `src_port`", True),
        Column("vlan", pa.uint16(), "VLAN whose tag stood beside the frame; null if none", True),
    ),
)
"""The log of a steering host. Columns that a forecast's tables have, too, have their names and types from there."""

FLOWLETS: Final = STEERED_FLOWLETS.arrow_schema()


class Log:
    """Flowlets that have ended, kept here as they are read."""

    def __init__(self, program: Program, rules: Rules) -> None:
        """Begin to read; the kernel's clock is compared with UTC now."""
        self._program = program
        self._timeouts: list[tuple[int, int | None]] = []
        self.turned(rules)
        self._kept: list[NDArray[Any]] = []
        before_ns, utc_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        self.utc_ahead_ns = utc_ns - (before_ns + after_ns) // 2

    def turned(self, rules: Rules) -> None:
        """Note by which rules flowlets start from now on."""
        self._timeouts.append((int(self._program.state["next_flowlet"]), fixed_timeout(rules)))

    def drain(self) -> int:
        """Read what has been written, and make room; returns how many flowlets that were."""
        state, records = self._program.state, self._program.tables["records"]
        first, beyond = int(state["log_read"]), int(state["log_written"])
        if beyond == first:
            return 0
        self._kept.append(records[np.arange(first, beyond) & (len(records) - 1)])
        state["log_read"] = beyond
        return beyond - first

    @property
    def lost(self) -> int:
        """How many flowlets were not written, since nobody read those before."""
        return int(self._program.state["tally"]["log_lost"])

    def going_on(self) -> NDArray[Any]:
        """The flowlets of all flows that are remembered, as they are now: RECORD."""
        flows, pairs = self._program.tables["flows"], self._program.tables["pairs"]
        live = flows[(flows["generation"] > 0) & (flows["slot"] != NOWHERE)]
        found = np.zeros(len(live), RECORD)
        for name, of in (
            ("words", "words"),
            ("flowlet", "flowlet"),
            ("start_ns", "flowlet_start_ns"),
            ("last_ns", "last_ns"),
            ("packets", "flowlet_packets"),
            ("bytes", "flowlet_bytes"),
            ("gap_ns", "flowlet_gap_ns"),
            ("vlan", "vlan"),
        ):
            found[name] = live[of]
        found["path"] = pairs["first_path"][live["pair"]] + live["slot"]
        return found

    def table(self) -> pa.Table:
        """All flowlets: STEERED_FLOWLETS."""
        self.drain()
        rows = np.concatenate([*self._kept, self.going_on()])
        return table_of(rows[np.argsort(rows["flowlet"], kind="stable")], self.utc_ahead_ns, self._timeouts)


def fixed_timeout(rules: Rules) -> int | None:
    """The flowlet timeout where one number says when flowlets start, else None."""
    fixed = rules.granularity == Granularity.FLOWLET and not rules.flags & (Flag.BY_RTT | Flag.DRAINED)
    return rules.timeout_ns if fixed else None


def table_of(rows: NDArray[Any], ahead_ns: int, timeouts: Sequence[tuple[int, int | None]]) -> pa.Table:
    """Records in order of start as STEERED_FLOWLETS; `ahead_ns` is added to their times.

    `timeouts`: each flowlet timeout, and the number of the first flowlet that started by it.
    """
    words, vlan = rows["words"], rows["vlan"]
    flow_ids, of_row = _flows(rows)
    ends = {
        name: _spread([_address(int(high), int(low)) for high, low in words[of_row, at : at + 2]], flow_ids)
        for name, at in (("src", 0), ("dst", 2))
    }
    last = words[:, 4]
    protocol = (last >> np.uint64(32)).astype(np.uint8)
    no_ports = (last.astype(np.uint32) == 0) | ~np.isin(protocol, _WITH_PORTS)
    gap_ns = rows["gap_ns"].astype(np.int64)
    in_force = np.searchsorted([first for first, _ in timeouts], rows["flowlet"], side="right") - 1
    return pa.table(
        {
            "timeout_ns": pa.array([ns for _, ns in timeouts], pa.int64()).take(pa.array(in_force)),
            "flow_id": flow_ids.astype(np.uint32),
            "first_ns": rows["start_ns"].astype(np.int64) + ahead_ns,
            "packets": rows["packets"].astype(np.int64),
            "bytes": rows["bytes"].astype(np.int64),
            "last_ns": rows["last_ns"].astype(np.int64) + ahead_ns,
            "gap_ns": pa.array(gap_ns, mask=gap_ns == 0),
            "flowlet_id": rows["flowlet"].astype(np.uint32),
            "path_id": rows["path"].astype(np.uint16),
            **ends,
            "protocol": protocol,
            "src_port": pa.array((last >> np.uint64(16)).astype(np.uint16), mask=no_ports),
            "dst_port": pa.array(last.astype(np.uint16), mask=no_ports),
            "vlan": pa.array((vlan & 0xFFF).astype(np.uint16), mask=vlan == 0),
        },
        schema=FLOWLETS,
    )


def _flows(rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each record's flow, and of each flow the first record.

    A five-tuple that begins anew, without a gap, is another flow, as in a trace.
    """
    found: dict[bytes, int] = {}
    first: list[int] = []
    flow_ids = np.zeros(len(rows), np.int64)
    keys = np.column_stack([rows["words"], rows["vlan"].astype(np.uint64)])
    for number, (key, gap_ns) in enumerate(zip(keys, rows["gap_ns"].tolist(), strict=True)):
        name = key.tobytes()
        if gap_ns == 0 or name not in found:
            found[name] = len(first)
            first.append(number)
        flow_ids[number] = found[name]
    return flow_ids, np.array(first, np.int64)


def _spread(texts: list[str], flow_ids: NDArray[np.int64]) -> pa.Array:
    """The text of each flow, for each of its records."""
    return pa.array(texts, pa.string()).take(pa.array(flow_ids))


def _address(high: int, low: int) -> str:
    if high == 0 and low >> 32 == 0:
        return str(ipaddress.IPv4Address(low))
    return str(ipaddress.IPv6Address(high << 64 | low))
