"""Live runs made up of what was forecast of two flow lists, times longer by a factor a policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import xxhash

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.workload.source import open_workload
from segcast.replay.live.document import SCHEMA_VERSION, LiveDocument
from segcast.replay.live.tables import LIVE_TABLES
from segcast.traces.disk.documents import json_text

SCENARIO = """
policies = ["ecmp", "host-ecmp", "inflight"]
timeouts = ["1ms"]
seeds = [1, 2]
packets = "none"
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
hosts_per_leaf = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[transport]
"""


def two_lists(home: Path) -> Path:
    """Lists of two seeds, `w1.csv` and `w2.csv`, and their forecasts `f1` and `f2`."""
    (home / "s.toml").write_text(SCENARIO)
    for seed in (1, 2):
        rows = [f"{n},{n * 9_000_000 + seed},{n % 2},{2 + n % 2},{150_000 + 9000 * n}" for n in range(12)]
        (home / f"w{seed}.csv").write_text("\n".join(["flow,start_ns,src,dst,bytes", *rows]) + "\n")
        forecast(open_workload(home / f"w{seed}.csv"), read_scenario(home / "s.toml"), home / f"f{seed}")
    return home


def live_run(home: Path, out: Path, factors: dict[str, float], *, steered: bool = True) -> Path:
    """A run that measured what was forecast of cells 1 of list 1 and 2 of list 2, times longer by a factor a policy."""
    out.mkdir()
    parts: dict[str, list[pl.DataFrame]] = {table.name: [] for table in LIVE_TABLES}
    for seed in (1, 2):
        mine = (pl.col("seed") == seed) & pl.col("policy").is_in(list(factors))
        messages, summary, links = (
            pl.read_parquet(home / f"f{seed}" / f"{name}.parquet").filter(mine)
            for name in ("messages", "summary", "links")
        )
        longer = pl.col("policy").replace_strict(factors, return_dtype=pl.Float64)
        nothing = {"late_ns": 0, "needless": 0, "syn_retransmissions": 0, "rwnd_limited_us": 0}
        parts["flows"].append(messages.with_columns((pl.col("fct_ns") * longer).round().cast(pl.Int64), **lit(nothing)))
        facts = {"list": f"w{seed}", "late_max_ns": 0, "busy_share": 0.5, "began_ns": seed}
        parts["summary"].append(summary.with_columns(**lit(facts)))
        parts["links"].append(links)
    for table in LIVE_TABLES:
        schema = table.arrow_schema()
        rows: list[dict[str, Any]] = [row for part in parts[table.name] for row in part.to_dicts()]
        for row in rows:
            row |= {name: row.get(name) if steered else None for name in ("flowlets", "path_changes")}
            row |= {field.name: 0 for field in schema if not field.nullable and row.get(field.name) is None}
        content = pl.DataFrame(rows, infer_schema_length=None).to_arrow() if rows else schema.empty_table()
        columns = [
            content.column(name).cast(schema.field(name).type)
            if name in content.column_names
            else pl.Series([None] * content.num_rows).to_arrow().cast(schema.field(name).type)
            for name in schema.names
        ]
        pq.write_table(type(content).from_arrays(columns, schema=schema), out / f"{table.name}.parquet")
    lists = [
        {
            "name": f"w{seed}",
            "path": str(home / f"w{seed}.csv"),
            "xxh128": xxhash.xxh128_hexdigest((home / f"w{seed}.csv").read_bytes()),
            "flows": 12,
            "seeds": [seed],
        }
        for seed in (1, 2)
    ]
    machine = {"kernel": "6", "processors": 2, "load_average": 0.5, "hystart": True, "seeds_hashes": True}
    document = {"segcast": "0", "schema_version": SCHEMA_VERSION, "control": "cubic", "segment_bytes": 1460}
    document |= {"super_frames": False, "began_ns": 0, "ended_ns": 1, "lists": lists, "machine": machine}
    document |= {"program": None, "burst_bytes": None, "findings": ["a finding"]}
    shutil.copy(home / "s.toml", out / "scenario.toml")
    (out / "live.json").write_text(json_text(LiveDocument.model_validate(document)))
    return out


def lit(values: dict[str, Any]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}
