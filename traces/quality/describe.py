"""Summarises a trace as plain data: what `segcast inspect` prints, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from segcast.traces.linktypes import linktype_name
from segcast.traces.protocols import TCP
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
    """What a trace holds and how good it is, from `trace.json` and the flows table alone; ready for JSON.

    Shares are fractions of 1; a value that cannot be known is None. Bytes are bytes on the wire.
    """
    sources = trace.info["sources"]
    flows = trace.flows
    packets = trace.packet_count
    first = min(_known(s["first_ns"] for s in sources), default=None)
    last = max(_known(s["last_ns"] for s in sources), default=None)
    truncated, seen = sum(s["truncated_packets"] for s in sources), sum(s["packets"] for s in sources)
    one_sided = int(flows["reverse_flow_id"].null_count())
    return {
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
        "one_sided_tcp_flows": int(flows.filter(pl.col("protocol") == TCP)["reverse_flow_id"].null_count()),
        "one_sided_share": one_sided / len(flows) if len(flows) else None,
        "flows_with_rtt": len(flows) - int(flows["rtt_min_ns"].null_count()),
        "rtt_min_ns": _whole(flows["rtt_min_ns"].min()),
        "rtt_median_ns": _whole(flows["rtt_median_ns"].median()),
        "time_steps_backwards": sum(s["time_steps_backwards"] for s in sources),
        "furthest_step_backwards_ns": max((s["furthest_step_backwards_ns"] for s in sources), default=0),
        "packets_without_time": sum(s["packets_without_time"] for s in sources),
        "retransmissions": int(flows["retransmissions"].sum()),
        "out_of_order": int(flows["out_of_order"].sum()),
        "handshake_rtt_median_ns": _whole(flows["handshake_rtt_ns"].median()),
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
    }


def _of_rows(trace: Trace, name: str) -> int:
    """Bytes of the packets table; a trace of before knows only those of its captures."""
    known = trace.info[name]
    return sum(source[name] for source in trace.info["sources"]) if known is None else int(known)


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    """Counts by name, most first."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _by(flows: pl.DataFrame, column: str, names: dict[int, str]) -> list[dict[str, Any]]:
    """Flows, packets and bytes per value of `column`, most bytes first."""
    sums = flows.group_by(column).agg(pl.len().alias("flows"), pl.col("packets", "bytes").sum())
    rows = sums.sort(["bytes", column], descending=[True, False]).rows()
    return [
        {column: int(key), "name": names.get(key, str(key)), "flows": n, "packets": p, "wire_bytes": b}
        for key, n, p, b in rows
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


def _tenants(flows: pl.DataFrame) -> list[dict[str, Any]]:
    """The VLANs and overlays by name, those with the most packets first."""
    sums = flows.drop_nulls("tenant").group_by("tenant").agg(pl.len().alias("flows"), pl.col("packets").sum())
    return sums.sort(["packets", "tenant"], descending=[True, False]).to_dicts()


def _talkers(flows: pl.DataFrame) -> list[dict[str, Any]]:
    """The sources that sent the most bytes."""
    sums = flows.group_by("src").agg(pl.len().alias("flows"), pl.col("packets", "bytes").sum())
    rows = sums.sort(["bytes", "src"], descending=[True, False]).head(_TALKERS).rows()
    return [{"src": src, "flows": n, "packets": p, "wire_bytes": b} for src, n, p, b in rows]
