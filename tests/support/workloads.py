"""Flow lists as tests write them, networks for them, and what tests ask of `synthesise`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.synthesis.run import Request, synthesise
from segcast.analyzer.workload.table import Workload

PLAIN = "flow,start_ns,src,dst,bytes"
WHOLE = f"{PLAIN},path,after,think_ns,connection"
TWO_LEAVES = """
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
hosts_per_leaf = 8
links = { rate = "10Gbps", delay = "10us" }
host_links = { rate = "10Gbps", delay = "10us" }
"""
LINKS = 'links = { rate = "10Gbps", delay = "10us" }\n'
PARALLEL = """
[network]
hosts_per_side = 4
paths = [{ links = [{ name = "a", rate = "10Gbps" }] }, { links = [{ name = "b", rate = "25Gbps" }] }]
"""
HOST_LINKS = 'host_links = { rate = "10Gbps", delay = "10us" }\n'
FOUR = f'[network]\nkind = "leaf-spine"\nleaves = 4\nspines = 4\nhosts_per_leaf = 8\n{LINKS}'


def listed(folder: Path, text: str | bytes, name: str = "flows.csv") -> Workload:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_workload(folder / name)


def scenario(folder: Path, text: str) -> ValidScenario:
    (folder / "s.toml").write_text(text, "utf-8")
    return read_scenario(folder / "s.toml")


def made(of: ValidScenario, kind: str = "fixed", **choices: Any) -> tuple[Workload, dict[str, Any]]:
    asked: dict[str, Any] = {"load": 0.6, "flows": 4000, "seed": 7} | choices
    if kind == "fixed":
        asked.setdefault("size_bytes", 100_000)
    return synthesise(Request(kind, **asked), of)


def flows_of(workload: Workload) -> list[tuple[int, int, int]]:
    return list(
        zip(workload.source.tolist(), workload.target.tolist(), workload.bytes.tolist(), strict=True),
    )
