"""Summarises a trace as plain data: what `segcast inspect` prints, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segcast.traces.linktypes import linktype_name
from segcast.traces.protocols import TCP
from segcast.traces.quality.verdict import rates, verdict
from segcast.traces.reasons import FILTERED, REASONS
from segcast.traces.trace import Trace

PROTOCOL_NAMES: Final = {
    1: "icmp",
    2: "igmp",
    4: "ipv4 inside",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6 inside",
    43: "srv6 or routing",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmpv6",
    59: "no next header",
    88: "eigrp",
    89: "ospf",
    103: "pim",
    112: "vrrp",
    132: "sctp",
    136: "udp-lite",
    143: "ethernet",
}
_TALKERS: Final = 10


def describe(trace: Trace) -> dict[str, Any]:
    """What a trace holds, how good it is and whether it can be asked, ready for JSON.

    From `trace.json` and the flows table, but for the rates, which take the packets' times.

    Shares are fractions of 1; a value that cannot be known is None. Bytes are bytes on the wire.
    """
    sources = trace.info["sources"]
    flows = trace.flow_table()
    packets = trace.packet_count
    first = min(_known(s["first_ns"] for s in sources), default=None)
    last = max(_known(s["last_ns"] for s in sources), default=None)
    truncated, seen = sum(s["truncated_packets"] for s in sources), sum(s["packets"] for s in sources)
    one_sided = int(flows["reverse_flow_id"].null_count)
    facts = {
        "packets": packets,
        "flows": trace.flow_count,
        **{name: _of_rows(trace, name) for name in ("wire_bytes", "captured_bytes")},
        "first_ns": first,
        "last_ns": last,
        "duration_ns": None if first is None or last is None else last - first,
        "protocols": _by(flows, "protocol", PROTOCOL_NAMES),
        "ip_versions": _by(flows, "ip_version", {4: "ipv4", 6: "ipv6"}),
        "link_types": _link_types(sources),
        "layer": trace.layer,
        "tunnels": _ordered(trace.info["tunnels"]),
        "tunnels_unread": _ordered(trace.info["tunnels_unread"]),
        "tenants": _tenants(flows),
        "segment_lists": trace.info["segment_lists"],
        "segment_lists_unread": _ordered(trace.info["segment_lists_unread"]),
        "fragments_without_first": trace.info["fragments_without_first"],
        "packets_without_ip": sum(n for why, n in trace.info["skipped"].items() if why != REASONS[FILTERED]),
        "skipped": _ordered(trace.info["skipped"]),
        "truncated_packets": truncated,
        "truncated_share": truncated / seen if seen else None,
        "one_sided_flows": one_sided,
        "one_sided_tcp_flows": int((_numbers(flows, "protocol") == TCP)[_is_null(flows, "reverse_flow_id")].sum()),
        "one_sided_share": one_sided / len(flows) if len(flows) else None,
        "flows_with_rtt": len(flows) - int(flows["rtt_min_ns"].null_count),
        "rtt_min_ns": min(_numbers(flows, "rtt_min_ns").tolist(), default=None),
        "rtt_median_ns": _median(flows, "rtt_median_ns"),
        "time_steps_backwards": sum(s["time_steps_backwards"] for s in sources),
        "furthest_step_backwards_ns": max((s["furthest_step_backwards_ns"] for s in sources), default=0),
        "packets_without_time": sum(s["packets_without_time"] for s in sources),
        "retransmissions": int(_numbers(flows, "retransmissions").sum()),
        "out_of_order": int(_numbers(flows, "out_of_order").sum()),
        "handshake_rtt_median_ns": _median(flows, "handshake_rtt_ns"),
        "anonymized": trace.info["anonymized"],
        "offload_split": trace.info["offload_split"],
        "filter": trace.info["filter"],
        "left_out": trace.info["left_out"],
        "findings": trace.info["findings"],
        "top_talkers": _talkers(flows),
        "sources": [
            {
                "path": s["path"],
                "bytes": s["bytes"],
                "xxh128": s["xxh128"],
                "format": s["format"],
                "compression": s["compression"],
                "packets": s["packets"],
                "first_ns": s["first_ns"],
                "last_ns": s["last_ns"],
                "snaplen_bytes": max(s["snaplens"], default=0) or None,
                "longest_captured_bytes": s["longest_captured_bytes"],
                "clock_resolution_ns": max(s["clock_resolutions_ns"], default=None),
                "clock_unit_seen_ns": s["clock_unit_seen_ns"],
                "drops": s["drops"],
                "damages": s["damages"],
            }
            for s in sources
        ],
        **rates(trace, first, last),
    }
    return facts | verdict(facts)


def _of_rows(trace: Trace, name: str) -> int:
    """Bytes of the packets table; a trace of before knows only those of its captures."""
    known = trace.info[name]
    return sum(source[name] for source in trace.info["sources"]) if known is None else int(known)


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    """Counts by name, most first."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _is_null(flows: pa.Table, column: str) -> npt.NDArray[np.bool_]:
    """Which rows have no value."""
    return np.asarray(flows[column].is_null())


def _numbers(flows: pa.Table, column: str) -> npt.NDArray[Any]:
    """The values of a column that are there."""
    return np.asarray(flows[column].drop_null())


def _median(flows: pa.Table, column: str) -> int | None:
    """Of two in the middle the floor of their mean; None if there is no value."""
    values = _numbers(flows, column)
    return int(np.median(values)) if len(values) else None


class _Sums(NamedTuple):
    """What flows of each value of a column hold together; `key` are the values."""

    key: pa.Array
    flows: npt.NDArray[np.int64]
    packets: npt.NDArray[np.int64]
    wire_bytes: npt.NDArray[np.int64]

    def ordered(self, by: npt.NDArray[np.int64], most: int | None = None) -> list[tuple[Any, int, int, int]]:
        """The rows with the largest `by`, all or `most` of them, those first; of equal ones the least key."""
        rows = np.arange(len(by))
        if most is not None and len(by) > most:
            rows = np.flatnonzero(by >= np.partition(by, -most)[-most])
        found = zip(self.key.take(pa.array(rows)).to_pylist(), rows.tolist(), strict=True)
        ranked = sorted(found, key=lambda each: (-int(by[each[1]]), each[0]))[:most]
        return [(key, int(self.flows[n]), int(self.packets[n]), int(self.wire_bytes[n])) for key, n in ranked]


def _sums(flows: pa.Table, column: str) -> _Sums:
    """Flows, packets and bytes per value of `column`; flows without a value are left out."""
    if flows[column].null_count:
        flows = flows.filter(flows[column].is_valid())
    coded = flows[column].combine_chunks().dictionary_encode()
    codes, sums = np.asarray(coded.indices), np.zeros((2, len(coded.dictionary)), np.int64)
    for place, name in enumerate(("packets", "bytes")):
        np.add.at(sums[place], codes, np.asarray(flows[name]).astype(np.int64))
    return _Sums(coded.dictionary, np.bincount(codes, minlength=len(coded.dictionary)), sums[0], sums[1])


def _by(flows: pa.Table, column: str, names: dict[int, str]) -> list[dict[str, Any]]:
    """Flows, packets and bytes per value of `column`, most bytes first."""
    sums = _sums(flows, column)
    return [
        {column: key, "name": names.get(key, str(key)), "flows": n, "packets": p, "wire_bytes": b}
        for key, n, p, b in sums.ordered(sums.wire_bytes)
    ]


def _link_types(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts: dict[int, int] = {}
    for source in sources:
        for link, count in source["linktypes"].items():
            counts[int(link)] = counts.get(int(link), 0) + count
    return [
        {"link_type": link, "name": linktype_name(link), "packets": count}
        for link, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _tenants(flows: pa.Table) -> list[dict[str, Any]]:
    """The VLANs and overlays by name, those with the most packets first."""
    sums = _sums(flows, "tenant")
    return [{"tenant": key, "flows": n, "packets": p} for key, n, p, _ in sums.ordered(sums.packets)]


def _talkers(flows: pa.Table) -> list[dict[str, Any]]:
    """The sources that sent the most bytes."""
    sums = _sums(flows, "src")
    rows = sums.ordered(sums.wire_bytes, _TALKERS)
    return [{"src": src, "flows": n, "packets": p, "wire_bytes": b} for src, n, p, b in rows]
