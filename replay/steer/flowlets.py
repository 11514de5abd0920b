"""The log of flowlets: read from the kernel while it steers, and made into a table."""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.replay.steer.layout import NOWHERE, RECORD
from segcast.replay.steer.program import Program

FLOWLETS: Final = pa.schema(
    [
        pa.field("flowlet_id", pa.uint64(), nullable=False),
        pa.field("src", pa.string(), nullable=False),
        pa.field("dst", pa.string(), nullable=False),
        pa.field("protocol", pa.uint8(), nullable=False),
        pa.field("src_port", pa.uint16(), nullable=False),
        pa.field("dst_port", pa.uint16(), nullable=False),
        pa.field("vlan", pa.uint16()),
        pa.field("path_id", pa.uint32(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("end_ns", pa.int64(), nullable=False),
        pa.field("gap_ns", pa.int64()),
        pa.field("packets", pa.uint64(), nullable=False),
        pa.field("ip_bytes", pa.uint64(), nullable=False),
    ]
)
"""A row is a flowlet, in order of start. `end_ns` is when its last packet was sent, `gap_ns` how long its flow was
quiet before (null: its first flowlet)."""


class Log:
    """Flowlets that have ended, kept here as they are read."""

    def __init__(self, program: Program) -> None:
        """Begin to read; the kernel's clock is compared with UTC now."""
        self._program = program
        self._kept: list[NDArray[Any]] = []
        before_ns, utc_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        self.utc_ahead_ns = utc_ns - (before_ns + after_ns) // 2

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
        """All flowlets: FLOWLETS."""
        self.drain()
        rows = np.concatenate([*self._kept, self.going_on()])
        return table_of(rows[np.argsort(rows["flowlet"], kind="stable")], self.utc_ahead_ns)


def table_of(rows: NDArray[Any], ahead_ns: int) -> pa.Table:
    """Records as a table; `ahead_ns` is added to their times."""
    words = rows["words"]
    ends = {
        name: [_address(int(high), int(low)) for high, low in zip(words[:, at], words[:, at + 1], strict=True)]
        for name, at in (("src", 0), ("dst", 2))
    }
    last = words[:, 4]
    gap_ns, vlan = rows["gap_ns"].astype(np.int64), rows["vlan"]
    return pa.table(
        {
            "flowlet_id": rows["flowlet"],
            **ends,
            "protocol": (last >> np.uint64(32)).astype(np.uint8),
            "src_port": (last >> np.uint64(16)).astype(np.uint16),
            "dst_port": last.astype(np.uint16),
            "vlan": pa.array((vlan & 0xFFF).astype(np.uint16), mask=vlan == 0),
            "path_id": rows["path"],
            "start_ns": rows["start_ns"].astype(np.int64) + ahead_ns,
            "end_ns": rows["last_ns"].astype(np.int64) + ahead_ns,
            "gap_ns": pa.array(gap_ns, mask=gap_ns == 0),
            "packets": rows["packets"],
            "ip_bytes": rows["bytes"],
        },
        schema=FLOWLETS,
    )


def _address(high: int, low: int) -> str:
    if high == 0 and low >> 32 == 0:
        return str(ipaddress.IPv4Address(low))
    return str(ipaddress.IPv6Address(high << 64 | low))
