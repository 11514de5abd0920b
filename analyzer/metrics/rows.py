"""Rows of a forecast's tables from the metrics of one cell, without the cell's own columns."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.accumulator import DELIVERED, HOST_BITS, LOST, MARKS, PACKETS, Accumulator, FlowFates
from segcast.analyzer.metrics.histogram import LARGEST, bucket_ranks, histogram_ranks, mean
from segcast.analyzer.metrics.path_load import balance
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.metrics.reordering import DISPLACED
from segcast.analyzer.schema import QUANTILES
from segcast.traces.units import NANOSECOND_BITS

SIZE_BINS: Final = (0, 10_000, 100_000, 1_000_000, 10_000_000)
DISTRIBUTION_QUANTILES: Final = tuple(
    [round(q / 100, 2) for q in range(99)]
    + [round(0.99 + q / 1000, 3) for q in range(9)]
    + [round(0.999 + q / 10000, 4) for q in range(10)]
    + [0.99999, 1.0]
)


def _named(prefix: str, ranks: list[Any], unit: str) -> dict[str, Any]:
    suffix = f"_{unit}" if unit else ""
    return {f"{prefix}_{name}{suffix}": rank for name, rank in zip(QUANTILES, ranks, strict=True)}


def _of_values(prefix: str, values: NDArray[Any], unit: str) -> dict[str, Any]:
    return _named(prefix, nearest_ranks(values, QUANTILES.values()), unit)


def slowdowns(flows: FlowFates) -> NDArray[np.float64]:
    """Slowdown of every flow of which something was received, in their order."""
    done = flows.fct_ns >= 0
    return flows.fct_ns[done] / np.maximum(flows.empty_ns[done], 1)  # a burst may take no time at all


def packet_summary(metrics: Accumulator) -> dict[str, Any]:
    """The columns of SUMMARY that come from packets alone."""
    scalars = metrics.counts.tally.scalars
    count, dropped = int(scalars[PACKETS]), int(scalars[LOST])
    imbalance, jain = balance(metrics.counts.load)
    return {
        "packets": count,
        "delivered": int(scalars[DELIVERED]),
        "dropped": dropped,
        "drop_ratio": dropped / count if count else 0.0,
        "ecn_marked": int(scalars[MARKS]),
        "retransmissions": None,
        **_named("delay", histogram_ranks(metrics.delays, QUANTILES.values()), "ns"),
        "delay_mean_ns": mean(metrics.delays),
        **_named("queue", histogram_ranks(metrics.queues, QUANTILES.values()), "ns"),
        "queue_mean_ns": mean(metrics.queues),
        "imbalance": imbalance,
        "jain": jain,
    }


def flow_summary(metrics: Accumulator, flows: FlowFates) -> dict[str, Any]:
    """The columns of SUMMARY that come from flows."""
    delivered = int(flows.delivered.sum())
    reordered = int(flows.reordered.sum())
    flowlets = int(flows.flowlets.sum())
    sent = int(flows.packets.sum())
    extents = metrics.extents
    return {
        **_of_values("fct", flows.fct_ns[flows.fct_ns >= 0], "ns"),
        **_of_values("slowdown", slowdowns(flows), ""),
        "reordered": reordered,
        "reordered_ratio": reordered / delivered if delivered else None,
        "reorder_extent_p99": histogram_ranks(extents, [0.99])[0],
        "reorder_extent_max": int(extents.sums[LARGEST]) if reordered else None,
        "displaced_3": int(metrics.counts.reordering.scalars[DISPLACED]),
        "flowlets": flowlets,
        "flowlet_packets_mean": sent / flowlets if flowlets else None,
        "flowlet_bytes_mean": int(flows.bytes.sum()) / flowlets if flowlets else None,
        "path_changes": int(flows.path_changes.sum()),
    }


def size_rows(flows: FlowFates) -> list[dict[str, Any]]:
    """Rows of SIZES: flows by the IP bytes they sent."""
    rows: list[dict[str, Any]] = []
    done = flows.fct_ns >= 0
    sizes, fct_ns, slowdown = flows.bytes[done], flows.fct_ns[done], slowdowns(flows)
    for low, high in zip(SIZE_BINS, (*SIZE_BINS[1:], None), strict=True):
        chosen = (sizes >= low) & (sizes < (np.iinfo(np.int64).max if high is None else high))
        rows.append(
            {
                "min_bytes": low,
                "below_bytes": high,
                "flows": int(chosen.sum()),
                **_of_values("fct", fct_ns[chosen], "ns"),
                **_of_values("slowdown", slowdown[chosen], ""),
            }
        )
    return rows


def distribution_rows(metrics: Accumulator, flows: FlowFates) -> list[dict[str, Any]]:
    """Rows of DISTRIBUTIONS over the fixed grid; none of what has no values."""
    grid = DISTRIBUTION_QUANTILES
    columns = {
        "delay_ns": histogram_ranks(metrics.delays, grid),
        "queue_ns": histogram_ranks(metrics.queues, grid),
        "fct_ns": nearest_ranks(flows.fct_ns[flows.fct_ns >= 0], grid),
        "slowdown": nearest_ranks(slowdowns(flows), grid),
    }
    return [
        {"metric": metric, "quantile": quantile, "value": float(value)}
        for metric, values in columns.items()
        for quantile, value in zip(grid, values, strict=True)
        if value is not None
    ]


def link_rows(metrics: Accumulator, links: NDArray[np.void]) -> list[dict[str, Any]]:
    """Rows of LINKS; `links` are those of the cell's state (state.LINK) at the end.

    Utilisation is over the rate that a link was built with, whatever happened to it.
    """
    first_ns, last_ns = metrics.window_ns
    carried = links["carried_bytes"].tolist()
    nanobits = [link.rate_bps * (last_ns - first_ns) for link in metrics.network.links]
    return [
        {
            "link": number,
            "name": link.name,
            "carried_bytes": carried[number],
            "utilisation": carried[number] * NANOSECOND_BITS / nanobits[number] if nanobits[number] else None,
            "dropped": int(metrics.counts.tally.link_drops[number]),
            "marked": int(links["marked"][number]),
        }
        for number, link in enumerate(metrics.network.links)
    ]


def utilisation(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The columns of SUMMARY that come from rows of LINKS: mean and maximum over those that could carry anything."""
    shares = [row["utilisation"] for row in rows if row["utilisation"] is not None]
    return {
        "utilisation_mean": sum(shares) / len(shares) if shares else None,
        "utilisation_max": max(shares, default=None),
    }


def host_rows(metrics: Accumulator, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of HOSTS: the hosts watched that sent anything, most bytes first; `names[host]`."""
    tally = metrics.counts.tally
    rows = []
    for place, host in enumerate(metrics.hosts):
        mine = tally.hosts[place]
        if not mine["packets"]:
            continue
        p50, p99 = bucket_ranks(tally.host_delays[place], [0.5, 0.99], HOST_BITS)
        rows.append(
            {
                "host": names[host],
                "packets": int(mine["packets"]),
                "bytes": int(mine["bytes"]),
                "dropped": int(mine["dropped"]),
                "delay_p50_ns": p50,
                "delay_p99_ns": p99,
            }
        )
    return sorted(rows, key=lambda row: -row["bytes"])
