"""What `segcast synth` prints in a terminal, from the document that `--json` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.text import counted

if TYPE_CHECKING:
    from rich.console import Console


def print_synthesis(made: dict[str, Any], console: Console) -> None:
    """What was made, the load and what it is of, and what to know of it."""
    load, jobs = made["load"], made["jobs"]
    of_jobs = f" in {counted(jobs['jobs'], 'job')} of {jobs['flows_per_job']:,}" if jobs else ""
    spread = ", ".join(f"{name} {text.size(value)}" for name, value in made["flow_bytes"].items() if name != "p1")
    gaps = made["arrivals"] if made["sigma"] is None else f"{made['arrivals']} with sigma {made['sigma']:g}"
    jitter = f"; flows of a job start up to {text.duration(made['start_jitter_ns'])} late" if jobs else ""
    size = f"mean {text.size(made['flow_bytes_mean'])}, {spread}"
    together = f"{text.rate(load['capacity_bps'])} together"
    lines = [
        f"{made['workload']}: {counted(made['flows'], 'flow')}{of_jobs}, {text.size(made['bytes'])}",
        f"load {load['asked']:g} of {counted(load['links'], 'link')}, {load['tier']}, {together}",
        f"the list offers {text.plain(load['offered'])} in its {text.duration(made['arrivals_end_ns'])}",
        f"counted are frames: {load['frame_overhead_bytes']:g} bytes more for each {load['segment_bytes']}",
        f"sizes ({made['source']}): {size}",
        f"pattern {made['pattern']}; arrivals {gaps}, {text.duration(made['arrival_gap_mean_ns'])} apart{jitter}",
    ]
    for line in lines:
        console.print(line, markup=False)
    rows = [
        [tier["tier"], f"{tier['links']:,}", text.rate(tier["capacity_bps"]), text.plain(tier["load"])]
        for tier in made["tiers"]
    ]
    print_table(console, [["tier", "links", "rates", "load"], *rows])
    for note in made["notes"]:
        console.print(f"note: {note}", markup=False)
