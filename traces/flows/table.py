"""The flows table: what the hash table and the TCP results say, as Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segcast.traces.addresses import address_texts
from segcast.traces.flows.anonymize import AddressKey, Words
from segcast.traces.flows.assign import Flows
from segcast.traces.flows.keys import TENANT_AT
from segcast.traces.headers.tenants import Tenants
from segcast.traces.schema import FLOWS


def flow_table(flows: Flows, tenants: Tenants, key: AddressKey | None = None) -> pa.Table:
    """The flows as Arrow, in order of id; addresses mapped by `key` if given."""
    count = len(flows)
    table = flows.table
    keys, stats = table.keys[:count], table.stats[:count]
    rest = keys[:, 4]
    version = np.where(rest >> np.uint64(41) & np.uint64(1), 6, 4).astype(np.uint8)
    no_ports = (rest >> np.uint64(40)) & np.uint64(1) == 0
    reverse = table.reverse[:count]
    ids, least, median = flows.round_trips()
    without = np.ones(count, bool)
    without[ids] = False
    trips = np.zeros((2, count), np.int64)
    trips[0, ids], trips[1, ids] = least, median
    results = flows.pool.results[:count]
    handshake = results["handshake1_ns"]

    def nullable(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> pa.Array:
        return pa.array(values, mask=mask)

    columns = {
        "flow_id": np.arange(count, dtype=np.uint32),
        "ip_version": version,
        "protocol": (rest >> np.uint64(32)).astype(np.uint8),
        "src": _texts(version, keys[:, 0], keys[:, 1], key),
        "dst": _texts(version, keys[:, 2], keys[:, 3], key),
        "src_port": nullable((rest >> np.uint64(16)).astype(np.uint16), no_ports),
        "dst_port": nullable(rest.astype(np.uint16), no_ports),
        "tenant": pa.array(tenants.names(), pa.string()).take(pa.array(rest >> TENANT_AT)),
        "first_ns": stats["first_ns"],
        "last_ns": stats["last_ns"],
        "packets": stats["packets"].astype(np.uint64),
        "bytes": stats["bytes"].astype(np.uint64),
        "reverse_flow_id": nullable(reverse.astype(np.uint32), reverse < 0),
        "rtt_min_ns": nullable(trips[0], without),
        "rtt_median_ns": nullable(trips[1], without),
        "handshake_rtt_ns": nullable(handshake - 1, handshake == 0),
        "retransmissions": results["retransmissions"].astype(np.uint64),
        "out_of_order": results["out_of_order"].astype(np.uint64),
    }
    return pa.table([pa.array(columns[c.name], c.type) for c in FLOWS.columns], schema=FLOWS.arrow_schema())


def _texts(version: npt.NDArray[np.uint8], high: Words, low: Words, key: AddressKey | None) -> pa.Array:
    """Addresses as text, mapped if there is a key."""
    if key is not None:
        high, low = high.copy(), low.copy()
        (four,), (six,) = np.nonzero(version == 4), np.nonzero(version == 6)
        low[four] = key.map4(low[four])
        high[six], low[six] = key.map6(high[six], low[six])
    return address_texts(version, high, low)
