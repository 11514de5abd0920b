"""A slow flow list: rows as Python reads them from CSV, checked one by one, and what a network makes of them."""

from __future__ import annotations

import csv
import io
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.twins.hashing import flow_key

NEEDED = ("flow", "start_ns", "src", "dst", "bytes")
OPTIONAL = ("path", "after", "think_ns", "connection")
RANGES = {"start_ns": (0, 2**62), "bytes": (1, 2**50), "path": (-1, 65534), "think_ns": (0, 2**62)}


class WrongError(Exception):
    """What is wrong with a list: at this line of the file, in this column."""

    def __init__(self, line: int, column: str) -> None:
        super().__init__(f"line {line}, column {column}")
        self.line, self.column = line, column


@dataclass
class Flow:
    """A row of a list."""

    line: int
    flow: str
    start_ns: int
    src: str
    dst: str
    bytes: int
    path: int = -1
    after: tuple[str, ...] = ()
    think_ns: int = 0
    connection: str = ""


def read(text: str) -> list[Flow]:
    """The flows of a CSV text. Raises WrongError for the first that cannot be."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header = ["path" if name == "spine" else name for name in next(reader)]
    line = reader.line_num + 1
    flows: list[Flow] = []
    for fields in reader:
        if fields:
            flows.append(_flow(line, dict(zip(header, fields, strict=True))))
        line = reader.line_num + 1
    by_name: dict[str, Flow] = {}
    for flow in flows:
        if flow.flow in by_name:
            raise WrongError(flow.line, "flow")
        by_name[flow.flow] = flow
    for flow in flows:
        if any(name not in by_name for name in flow.after) or len(set(flow.after)) < len(flow.after):
            raise WrongError(flow.line, "after")
    for flow in flows:
        if _waits_for_itself(flow, flows, by_name):
            raise WrongError(flow.line, "after")
    return flows


def _flow(line: int, row: dict[str, str]) -> Flow:
    name = row["flow"]
    if not name or len(name) > 200 or any(sign.isspace() or not sign.isprintable() for sign in name):
        raise WrongError(line, "flow")
    numbers = {}
    after = tuple(row.get("after", "").split())
    for column, (low, high) in RANGES.items():
        said = row.get(column, "")
        if said == "" and (column in ("path", "think_ns") or (column == "start_ns" and after)):
            numbers[column] = -1 if column == "path" else 0
            continue
        if not re.fullmatch(r"-?[0-9]+", said, re.ASCII) or not low <= int(said) <= high:
            raise WrongError(line, column)
        numbers[column] = int(said)
    ends = []
    for column in ("src", "dst"):
        said = row[column]
        try:
            if re.fullmatch("[0-9]+", said):
                ends.append(str(int(said)))
                continue
            address = ipaddress.ip_address(said)
            if address.is_multicast or address.is_loopback or address.is_unspecified:
                raise WrongError(line, column)
            ends.append(str(address))
        except ValueError:
            raise WrongError(line, column) from None
    if ends[0] == ends[1]:
        raise WrongError(line, "dst")
    return Flow(line, name, src=ends[0], dst=ends[1], after=after, connection=row.get("connection", ""), **numbers)


def _waits_for_itself(flow: Flow, flows: Sequence[Flow], by_name: dict[str, Flow]) -> bool:
    """Whether the flow cannot be done before it is done: by `after`, and by those before it in its stream."""
    seen: set[str] = set()
    pending = [flow]
    while pending:
        one = pending.pop()
        before = [
            other
            for other in flows
            if one.connection and other.line < one.line and other.connection == one.connection and other.src == one.src
        ]
        for other in [*(by_name[name] for name in one.after), *before]:
            if other is flow:
                return True
            if other.flow not in seen:
                seen.add(other.flow)
                pending.append(other)
    return False


def attached(flows: Iterable[Flow], per_attachment: int) -> list[dict[str, Any]]:
    """Of each row its flow, key and pin, where hosts are numbers and attachments have their default addresses."""
    connections: dict[object, int] = {}
    client: dict[int, str] = {}
    ports: dict[int, tuple[int, int]] = {}
    running: dict[tuple[str, str], int] = {}
    found = []
    for number, row in enumerate(flows):
        connection = connections.setdefault(row.connection or number, len(connections))
        if connection not in client:
            client[connection] = row.src
            nth = running.get((row.src, row.dst), 0)
            running[row.src, row.dst] = nth + 1
            ports[connection] = (10000 + nth % 55536, 5001 + nth // 55536)
        forward = client[connection] == row.src
        mine, theirs = ports[connection] if forward else ports[connection][::-1]
        places = [divmod(int(host), per_attachment) for host in (row.src, row.dst)]
        source, target = (f"10.{place // 256}.{place % 256}.{index + 1}" for place, index in places)
        found.append(
            {
                "flow": 2 * connection + (not forward),
                "key": flow_key(source, target, 6, mine, theirs),
                "back": flow_key(target, source, 6, theirs, mine),
                "ends": (places[0][0], places[1][0]),
                "hosts": (source, target),
                "pin": row.path,
            }
        )
    return found


def offered_load(
    rows: Iterable[tuple[int, int, int]], per_attachment: int, rate_bps: int, seconds: float, mss: int = 1460
) -> float:
    """Bits of flows (from, to, bytes) that leave their attachment, by what so much rate carries in that time.

    Each segment has 40 bytes of IP and TCP, 14 of Ethernet, and 24 of preamble, FCS and gap.
    """
    bits = 0
    for source, target, size in rows:
        if source // per_attachment != target // per_attachment:
            while size > 0:
                segment = min(size, mss)
                bits += 8 * (segment + 40 + 14 + 24)
                size -= segment
    return bits / (rate_bps * seconds)


def finish(flows: Sequence[Flow]) -> list[int]:
    """When each flow is done, if each takes 1 us: after those that it waits for, and those before it in its stream."""
    done: dict[str, int] = {}
    last: dict[tuple[str, str], int] = {}
    for flow in flows:
        start = max([flow.start_ns, *(done[name] + flow.think_ns for name in flow.after)])
        stream = (flow.connection, flow.src)
        done[flow.flow] = max(start, last.get(stream, 0)) + 1000
        if flow.connection:
            last[stream] = done[flow.flow]
    return [done[flow.flow] for flow in flows]
