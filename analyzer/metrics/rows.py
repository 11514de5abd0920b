"""What families share of tables (sizes, distributions, links, hosts), as rows or columns without those of the cell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.metrics.families.delays import HOST_BITS, DelayFamily
from segcast.analyzer.metrics.families.slowdown import completion_quantiles
from segcast.analyzer.metrics.families.tally import TallyFamily
from segcast.analyzer.metrics.families.utilisation import link_shares
from segcast.analyzer.metrics.family import Ending, FlowColumns
from segcast.analyzer.metrics.histogram import bucket_ranks, histogram_ranks
from segcast.analyzer.metrics.quantiles import nearest_ranks

SIZE_BINS: Final = (0, 10_000, 100_000, 1_000_000, 10_000_000)
DISTRIBUTION_QUANTILES: Final = tuple(
    [round(q / 100, 2) for q in range(99)]
    + [round(0.99 + q / 1000, 3) for q in range(9)]
    + [round(0.999 + q / 10000, 4) for q in range(10)]
    + [0.99999, 1.0]
)


def size_rows(flows: FlowColumns) -> list[dict[str, Any]]:
    """Rows of SIZES: flows by the IP bytes they sent."""
    rows: list[dict[str, Any]] = []
    done = flows["fct_ns"] >= 0
    sizes, fct_ns, slowdown = (flows[name][done] for name in ("bytes", "fct_ns", "slowdown"))
    for low, high in zip(SIZE_BINS, (*SIZE_BINS[1:], None), strict=True):
        chosen = (sizes >= low) & (sizes < (np.iinfo(np.int64).max if high is None else high))
        rows.append(
            {
                "min_bytes": low,
                "below_bytes": high,
                "flows": int(chosen.sum()),
                **completion_quantiles(fct_ns[chosen], slowdown[chosen]),
            }
        )
    return rows


def distribution_columns(metrics: Accumulator, flows: FlowColumns) -> dict[str, NDArray[Any]]:
    """Columns of DISTRIBUTIONS over the fixed grid; none of what has no values."""
    grid = DISTRIBUTION_QUANTILES
    counts = metrics.family(DelayFamily).counts
    done = flows["fct_ns"] >= 0
    ranks = {
        "delay_ns": histogram_ranks(counts.delays, grid),
        "queue_ns": histogram_ranks(counts.queues, grid),
        "fct_ns": nearest_ranks(flows["fct_ns"][done], grid),
        "slowdown": nearest_ranks(flows["slowdown"][done], grid),
    }
    known = {metric: values for metric, values in ranks.items() if values[0] is not None}
    return {
        "metric": np.repeat(np.array(list(known), np.str_), len(grid)),
        "quantile": np.tile(grid, len(known)),
        "value": np.array([*known.values()], np.float64).ravel(),
    }


def link_rows(metrics: Accumulator, ending: Ending) -> list[dict[str, Any]]:
    """Rows of LINKS. Utilisation is over the rate that a link was built with, whatever happened to it."""
    network = metrics.measured.network
    dropped = metrics.family(TallyFamily).counts.link_drops
    shares = link_shares(network, ending)
    return [
        {
            "link": number,
            "name": link.name,
            "carried_bytes": int(ending.links["carried_bytes"][number]),
            "utilisation": shares[number],
            "dropped": int(dropped[number]),
            "marked": int(ending.links["marked"][number]),
        }
        for number, link in enumerate(network.links)
    ]


def host_rows(metrics: Accumulator, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of HOSTS: the hosts watched that sent anything, most bytes first; `names[host]`."""
    tallies, delays = metrics.family(TallyFamily).counts.hosts, metrics.family(DelayFamily).counts.hosts
    rows = []
    for place, host in enumerate(metrics.measured.hosts):
        tally = tallies[place]
        if not tally["packets"]:
            continue
        p50, p99 = bucket_ranks(delays[place], [0.5, 0.99], HOST_BITS)
        rows.append(
            {
                "host": names[host],
                "packets": int(tally["packets"]),
                "bytes": int(tally["bytes"]),
                "dropped": int(tally["dropped"]),
                "delay_p50_ns": p50,
                "delay_p99_ns": p99,
            }
        )
    return sorted(rows, key=lambda row: -row["bytes"])
