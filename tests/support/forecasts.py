"""Forecast folders made up for the reports, with tables that follow the schemas."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.metrics.tables import FLOW_FATES, SUMMARY
from segcast.analyzer.schema import DISTRIBUTIONS, PROFILE, QUANTILES, SERIES, SIZES
from segcast.traces.schema import Table
from segcast.traces.units import write_duration

Cells = Sequence[tuple[str, int | None]]
Row = dict[str, Any]
GRID = sorted({*np.linspace(0, 1, 101).round(6), *(1 - np.logspace(0, -5, 60)).round(6)})
BINS = ((1, 1_000), (1_000, 10_000), (10_000, 100_000), (100_000, 1_000_000), (1_000_000, None))
TIMEOUTS = (20_000, 50_000, 100_000, 500_000, 1_000_000)


def cells(policies: Sequence[str] = ("random", "inflight"), timeouts: Sequence[int] = (100_000,)) -> Cells:
    """ECMP and every steered policy at every timeout."""
    return [("ecmp", None), *((policy, timeout) for policy in policies for timeout in timeouts)]


def make_forecast(
    folder: Path,
    variants: Cells,
    seeds: int = 5,
    *,
    lost: bool = False,
    paths: int = 4,
    random_seed: int = 7,
    loads: Sequence[float] = (1.0,),
    **meta: Any,
) -> Path:
    """A forecast folder whose tables follow the schemas; `lost`: nothing is delivered. `meta` overrides the JSON.

    Delays are in proportion to the load.
    """
    rng = np.random.default_rng(random_seed)
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Row]] = {t.name: [] for t in (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, PROFILE)}
    means: dict[float, dict[tuple[str, int | None], float]] = {load: {} for load in loads}
    for load, (place, (policy, timeout)) in itertools.product(loads, enumerate(variants)):
        quality = (
            1.0 if place == 0 else 0.62 + 0.28 * (policy == "random") + 0.05 * abs(math.log10((timeout or 1e5) / 1e5))
        )
        p99 = []
        for seed in range(1, seeds + 1):
            cell = {
                "cell": f"{place}-l{load:g}-s{seed}",
                "policy": policy,
                "timeout_ns": timeout,
                "load": load,
                "seed": seed,
            }
            factor = quality * load * float(rng.normal(1, 0.04))
            value = quantile_function(factor)
            p99.append(value(0.99))
            tables["summary"].append(summary_row(cell, value, factor, lost, rng))
            tables["distributions"] += [] if lost else distribution_rows(cell, value)
            tables["sizes"] += size_rows(cell, factor, lost)
            if seed == 1:
                tables["series"] += series_rows(cell, factor / load, paths, rng)
        means[load][policy, timeout] = sum(p99) / len(p99)
    tables["profile"] = [profile_row(t) for t in TIMEOUTS]
    for definition in (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, PROFILE):
        write_table(folder, definition, tables[definition.name])
    document = document_of(variants, means, seeds, paths, lost) | meta
    (folder / "forecast.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "scenario.toml").write_text('seeds = [1, 2, 3]\npolicy = ["<ecmp>"]\n', encoding="utf-8")
    return folder


def make_reacting(
    folder: Path, variants: Cells, seeds: int = 5, *, unfinished: Sequence[int] = (), flows: int = 2_000, **meta: Any
) -> Path:
    """The same where TCP senders react; of `flows` flows, `unfinished` of each variant never finish, in any cell."""
    make_forecast(folder, variants, seeds, **meta)
    left = [*unfinished, *[0] * (len(variants) - len(unfinished))]
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    for place, row in enumerate(summary):
        lost = left[place // seeds]
        row |= message_columns(row, lost, flows, place)
        if lost == flows:
            row |= {name: None for name in row if name.startswith(("fct_", "slowdown_"))}
    write_table(folder, SUMMARY, summary)
    points = pq.read_table(folder / "distributions.parquet").to_pylist()
    slow = [row | {"metric": "slowdown", "value": row["value"] / 50_000} for row in points if row["metric"] == "fct_ns"]
    whole = {row["cell"] for row in summary if row["unfinished"] < flows}
    write_table(folder, DISTRIBUTIONS, [r for r in points + slow if r["metric"] == "delay_ns" or r["cell"] in whole])
    sizes = pq.read_table(folder / "sizes.parquet").to_pylist()
    none = {name: None for name in SIZES.names() if name.startswith(("fct_", "slowdown_"))} | {"flows": 0}
    write_table(folder, SIZES, [row if row["cell"] in whole else row | none for row in sizes])
    document = json.loads((folder / "forecast.json").read_text(encoding="utf-8"))
    document["trace"] |= {"kind": "workload", "name": "pages", "packets": None, "flows": flows}
    document["trace"]["sources"] = [{"path": "/data/pages.csv"}]
    document["excluded"] = {}
    for one in document["comparisons"]:
        one["metric"] = "fct_p99_ns"
    (folder / "forecast.json").write_text(json.dumps(document | meta), encoding="utf-8")
    scenario = 'seeds = [1, 2, 3]\n[transport]\ncontrol = "dctcp"\nreceiver = "dupack"\n'
    (folder / "scenario.toml").write_text(scenario, encoding="utf-8")
    return folder


def message_columns(row: Row, unfinished: int, flows: int, place: int) -> Row:
    """What the summary says of messages."""
    p99 = row["fct_p99_ns"] or 0
    return {
        "mode": "transport",
        "messages": flows,
        "unfinished": unfinished,
        "fct_p95_ns": round(p99 * 0.7),
        "fct_p98_ns": round(p99 * 0.9),
        "fct_mean_ns": p99 * 0.3,
        "goodput_bps": 7e9 + 1e8 * place,
        "retransmissions": 1200 + 31 * place,
        "needless": 300 + 7 * place,
        "timeouts": place % 3,
        "recoveries": 40 + place,
        "syn_retransmissions": place % 2,
    }


def write_table(folder: Path, definition: Table, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, definition.arrow_schema()), folder / f"{definition.name}.parquet")


def quantile_function(factor: float) -> Callable[[float], float]:
    """Delays of a bulk and a heavy tail, in ns."""
    return lambda q: 52_000 + factor * 40_000 * (q + 0.9 * (1 - min(q, 1 - 1e-6)) ** -0.45 - 0.9)


def summary_row(cell: Row, value: Callable[[float], float], factor: float, lost: bool, rng: np.random.Generator) -> Row:
    row: Row = dict.fromkeys(SUMMARY.names())
    sent = 250_000
    dropped = sent if lost else int(400 * factor**3)
    row |= cell | {
        "packets": sent,
        "delivered": sent - dropped,
        "dropped": dropped,
        "drop_ratio": dropped / sent,
        "dropped_dead_link": 0,
        "dropped_undetected": 0,
        "effective_flows": 2_000.0,
    }
    row |= {"ecn_marked": 0 if lost else int(9000 * factor), "reordered": 0, "displaced_3": 0}
    row |= {
        "flowlets": 4000,
        "path_changes": 1200,
        "imbalance": 0.9 * factor,
        "jain": 0.9,
        "utilisation_mean": 0.3,
    }
    row |= {"utilisation_max": 0.55 * factor}
    if lost:
        return row
    for name, q in QUANTILES.items():
        delay = round(value(q))
        row |= {
            f"delay_{name}_ns": delay,
            f"queue_{name}_ns": max(0, delay - 52_000),
            f"fct_{name}_ns": delay * 40,
        }
        row |= {f"slowdown_{name}": 1 + delay / 90_000}
    row |= {
        "delay_mean_ns": value(0.7),
        "reordered_ratio": 0.0 if cell["timeout_ns"] is None else 0.004 * float(rng.random()),
    }
    return row


def distribution_rows(cell: Row, value: Callable[[float], float]) -> list[Row]:
    return [cell | {"metric": m, "quantile": float(q), "value": value(q)} for m in ("delay_ns", "fct_ns") for q in GRID]


def size_rows(cell: Row, factor: float, lost: bool) -> list[Row]:
    rows = []
    for place, (low, below) in enumerate(BINS):
        row: Row = dict.fromkeys(SIZES.names())
        row |= cell | {
            "min_bytes": low,
            "below_bytes": below,
            "flows": 0 if lost else 900 // (place + 1) ** 2,
        }
        if not lost:
            row |= {f"slowdown_{q}": 1 + factor * (5 - place) * p**4 for q, p in QUANTILES.items()}
            row |= {f"fct_{q}_ns": 1000 * (place + 1) for q in QUANTILES}
        rows.append(row)
    return rows


def series_rows(cell: Row, factor: float, paths: int, rng: np.random.Generator) -> list[Row]:
    rows = []
    wave = 1 + 0.6 * np.sin(np.arange(300) / 25)
    for group in (0, 1):
        for slot in range(paths):
            bias = 1 + (factor - 0.55) * 1.6 * math.sin(3 * slot + 1)
            sent = (wave * bias * rng.gamma(12, 1 / 12, 300) * (60_000 if group == 0 else 9_000)).astype(int)
            for interval, amount in enumerate(sent.tolist()):
                place = {"group": group, "path_id": group * paths + slot, "start_ns": interval * 1_000_000}
                drops = int(amount > 165_000)
                rows.append(cell | place | {"interval_ns": 1_000_000, "bytes": amount, "dropped": drops})
    return rows


def profile_row(timeout: int) -> Row:
    flowlets = 800 + int(4e9 / timeout**0.9)
    row: Row = {
        "timeout_ns": timeout,
        "flowlets": flowlets,
        "flows": 800,
        "never_split": 300,
        "packets_mean": 250_000 / flowlets,
    }
    row |= {f"packets_{q}": round(1 + 250_000 / flowlets * p * 3) for q, p in QUANTILES.items()}
    return row | {f"bytes_{q}": 1000 for q in QUANTILES} | {"bytes_mean": 1000.0}


def document_of(
    variants: Cells, means: dict[float, dict[tuple[str, int | None], float]], seeds: int, paths: int, lost: bool
) -> Row:
    (policy, timeout), *others = variants
    comparisons = []
    for load, other in itertools.product(means, [] if lost else others):
        base = means[load][policy, timeout]
        change = means[load][other] / base - 1
        bounds = {"low": change - 0.04, "high": change + 0.035} if seeds > 1 else {"low": None, "high": None}
        comparison = {
            "policy": other[0],
            "timeout_ns": other[1],
            "load": load,
            "metric": "delay_p99_ns",
            "value": means[load][other],
        }
        comparisons.append(comparison | {"baseline": base, "change": change, "seeds": seeds} | bounds)
    links = [
        {
            "name": f"left-right-{n}",
            "rate_bps": 10**9,
            "delay_ns": 10_000,
            "buffer_bytes": None if n else 250_000,
        }
        | {"ecn_bytes": None, "overhead_bytes": 24}
        for n in range(paths)
    ]
    rows = [
        {"path_id": g * paths + n, "group": g, "slot": n, "links": [f"left-right-{n}"], "rate_bps": 10**9}
        | {"delay_ns": 10_000, "srv6_bytes": 40}
        for g in (0, 1)
        for n in range(paths)
    ]
    return {
        "segcast": "0.1.0",
        "schema_version": 1,
        "trace": {
            "name": "cluster",
            "packets": 251_234,
            "flows": 800,
            "duration_ns": 300_000_000,
            "sources": [{"path": "/data/cluster.pcap.gz"}],
        },
        "excluded": {"no_ip": 1234, "same_attachment": 0},
        "network": {"paths": rows, "links": links},
        "baseline": {"policy": policy, "timeout_ns": timeout},
        "comparisons": comparisons,
    }


def comparison(**changes: Any) -> Row:
    row = {"policy": "inflight", "timeout_ns": 100_000, "metric": "delay_p99_ns", "value": 2e5, "baseline": 3e5}
    return row | {"change": -1 / 3, "low": None, "high": None, "seeds": 1} | changes


SMALL: dict[str, Any] = {"paths": "4x400Mbps", "timeouts": ["100us", "500us"], "seeds": [1, 2], "buffer": "512KiB"}


def row(policy: str, timeout_ns: int | None, seed: int, p99: float | None) -> dict[str, Any]:
    metrics = dict.fromkeys(
        ("delay_p50_ns", "delay_p999_ns", "queue_p99_ns", "fct_p99_ns", "slowdown_p99", "imbalance"), 1.0
    )
    return metrics | {
        "policy": policy,
        "timeout": None if timeout_ns is None else write_duration(timeout_ns),
        "timeout_ns": timeout_ns,
        "load": 1.0,
        "seed": seed,
        "delay_p99_ns": p99,
        "drop_ratio": 0.0,
        "reordered_ratio": 0.0,
    }
