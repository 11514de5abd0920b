"""From a trace's tables to what the engine sends: packets in order; each flow's host, direction and hash key."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyzer.engine import MAX_IP_BYTES, FlowPlan
from analyzer.events import Packets
from analyzer.hashing import flow_keys
from analyzer.scenario import Scenario
from traces.errors import InputError

TRAFFIC_COLUMNS: Final = ["time_ns", "flow_id", "ip_bytes", "tcp_flags", "file", "frame_number"]

_SYN_ACK = 0x12
_SYN = 0x02
_EXCLUDED = -1

FORWARD = 0
BACK = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """What enters the network, and what does not.

    `packets` are in send order; `file` uint16[n] and `frame_number` uint64[n] say where each was captured. `hosts`
    names the steering hosts that `plan.host` numbers. `excluded` counts packets left out, by reason.
    """

    packets: Packets
    file: NDArray[np.uint16]
    frame_number: NDArray[np.uint64]
    plan: FlowPlan
    hosts: tuple[str, ...]
    excluded: dict[str, int]


def prepare(packets: pa.Table, flows: pa.Table, scenario: Scenario) -> Traffic:
    """Traffic of a trace (tables PACKETS and FLOWS) under a scenario. Raises InputError if nothing is left to send."""
    rows = pl.from_arrow(packets.select(TRAFFIC_COLUMNS))
    table = pl.from_arrow(flows)
    assert isinstance(rows, pl.DataFrame)
    assert isinstance(table, pl.DataFrame)
    with_ip = rows.filter(pl.col("flow_id").is_not_null() & pl.col("ip_bytes").is_not_null())
    fitting = with_ip.filter(pl.col("ip_bytes") <= MAX_IP_BYTES)
    direction = _directions(with_ip, table, scenario)
    crosses = direction[fitting["flow_id"].to_numpy()] != _EXCLUDED
    chosen = fitting.filter(pl.Series(crosses))
    excluded = {
        "no_ip": len(rows) - len(with_ip),
        "too_large": len(with_ip) - len(fitting),
        "same_attachment": len(fitting) - len(chosen),
    }
    if len(chosen) == 0:
        raise InputError(
            f"no packet of the trace enters the network: {excluded['no_ip']} without IP, {excluded['too_large']} "
            f"too large, {excluded['same_attachment']} that do not cross between the attachments"
        )
    if not chosen["time_ns"].is_sorted():
        chosen = chosen.sort("time_ns", maintain_order=True)
    hosts, host = steering_hosts(flows, scenario.steering.hosts)
    return Traffic(
        Packets(
            np.ascontiguousarray(chosen["time_ns"].to_numpy()),
            np.ascontiguousarray(chosen["flow_id"].to_numpy()),
            np.ascontiguousarray(chosen["ip_bytes"].to_numpy()),
        ),
        chosen["file"].to_numpy(),
        chosen["frame_number"].to_numpy(),
        FlowPlan(flow_keys(_words(table)), host, np.maximum(direction, 0)),
        hosts,
        excluded,
    )


def _directions(packets: pl.DataFrame, flows: pl.DataFrame, scenario: Scenario) -> NDArray[np.int64]:
    """FORWARD, BACK or excluded for each flow (docs/model.md, Attachments and paths)."""
    left, right = scenario.network.left.prefixes, scenario.network.right.prefixes
    if left or right:
        addresses = _places(flows, (left, right))
        source = np.array([addresses[address] for address in flows["src"]], np.int64)
        target = np.array([addresses[address] for address in flows["dst"]], np.int64)
        crosses = (source != target) & (source != _EXCLUDED) & (target != _EXCLUDED)
        return np.where(crosses, source, _EXCLUDED)
    return np.where(_initiates(packets, flows), FORWARD, BACK).astype(np.int64)


def _initiates(packets: pl.DataFrame, flows: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether a flow's sender began its conversation: by SYN, else by the higher port, else by being seen first."""
    number = np.arange(len(flows), dtype=np.int64)
    reverse = flows["reverse_flow_id"].cast(pl.Int64).fill_null(-1).to_numpy()
    syn = np.zeros(len(flows) + 1, np.bool_)  # the last place stands for "no reverse flow"
    openers = packets.filter((pl.col("tcp_flags").fill_null(0) & _SYN_ACK) == _SYN)["flow_id"]
    syn[openers.unique().to_numpy()] = True
    mine, theirs = syn[:-1], syn[reverse]
    source = flows["src_port"].cast(pl.Int64).fill_null(0).to_numpy()
    target = flows["dst_port"].cast(pl.Int64).fill_null(0).to_numpy()
    seen_first = (reverse < 0) | (number < reverse)
    by_port = np.where(source != target, source > target, seen_first)
    return np.where(mine != theirs, mine, by_port)


def _places(flows: pl.DataFrame, sides: Sequence[Sequence[str]]) -> dict[str, int]:
    """Which side each address is on, by its longest matching prefix; excluded if none matches."""
    prefixes = [(ipaddress.ip_network(prefix), side) for side, group in enumerate(sides) for prefix in group]
    prefixes.sort(key=lambda entry: -entry[0].prefixlen)
    places: dict[str, int] = {}
    for text in pl.concat([flows["src"], flows["dst"]]).unique():
        address = ipaddress.ip_address(text)
        places[text] = next((side for prefix, side in prefixes if address in prefix), _EXCLUDED)
    return places


def steering_hosts(flows: pa.Table, prefixes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the steering hosts in order of their first flow, and the host of each flow."""
    networks = sorted((ipaddress.ip_network(p) for p in prefixes), key=lambda network: -network.prefixlen)
    sources = flows.column("src").to_pylist()
    names: dict[str, str] = {}
    for text in dict.fromkeys(sources):
        address = ipaddress.ip_address(text)
        names[text] = next((str(network) for network in networks if address in network), text)
    numbers: dict[str, int] = {}
    host = [numbers.setdefault(names[address], len(numbers)) for address in sources]
    return tuple(numbers), np.array(host, np.int64)


def _words(flows: pl.DataFrame) -> NDArray[np.uint64]:
    """Five-tuples as uint64[n, 5]: the words that `flow_keys` folds."""
    packed: dict[str, tuple[int, int]] = {}
    for text in pl.concat([flows["src"], flows["dst"]]).unique():
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        value = int.from_bytes(socket.inet_pton(family, text), "big")
        packed[text] = (value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)
    words = np.zeros((len(flows), 5), np.uint64)
    for column, name in ((0, "src"), (2, "dst")):
        values = [packed[address] for address in flows[name]]
        words[:, column : column + 2] = np.array(values, np.uint64).reshape(-1, 2)
    ports = (flows["src_port"].fill_null(0).cast(pl.UInt64) * 65536) + flows["dst_port"].fill_null(0)
    words[:, 4] = ((flows["protocol"].cast(pl.UInt64) * 2**32) + ports).to_numpy()
    return words
