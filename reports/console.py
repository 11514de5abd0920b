"""What the commands other than `forecast` print in a terminal, from the documents `--json` shows."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from segcast.reports import text
from segcast.reports.text import counted, echo
from segcast.traces.units import say_duration, write_duration

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN: Final = ("p50", "p99", "max")
_HOSTS: Final = 5


def print_table(console: Console, rows: list[list[str]], left: tuple[int, ...] = (0,)) -> None:
    """Aligned columns; those numbered in `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), style="dim" if number == 0 else "", markup=False, highlight=False)


def print_flowlets(report: dict[str, Any], console: Console) -> None:
    """Gaps and the flowlets at each timeout."""
    gaps = "  ".join(f"{name} {text.duration(value)}" for name, value in report["gap_ns"].items())
    console.print(
        f"{report['trace']}: {counted(report['packets'], 'packet')} of {counted(report['flows'], 'flow')}", markup=False
    )
    console.print(f"gaps within flows: {gaps}", markup=False)
    console.print()
    rows = [
        [*("timeout", "flowlets", "never split"), *("packets mean", *_SHOWN), *("bytes mean", *_SHOWN)],
    ]
    for row in report["timeouts"]:
        share = row["never_split"] / row["flows"] if row["flows"] else 0
        rows.append(
            [
                say_duration(row["timeout_ns"]),
                f"{row['flowlets']:,}",
                f"{row['never_split']:,} ({100 * share:.0f} %)",
                text.plain(row["packets_mean"]),
                *(text.count(row[f"packets_{q}"], ",") for q in _SHOWN),
                text.size(row["bytes_mean"]),
                *(text.size(row[f"bytes_{q}"]) for q in _SHOWN),
            ]
        )
    print_table(console, rows)
    console.print()
    console.print(report["worth_trying"]["says"], style="bold", markup=False)


def print_worth_asking(report: dict[str, Any], trace: str, layer: str | None, console: Console) -> None:
    """The command to go on with: it asks a network what it makes of the timeouts worth trying."""
    of = [trace, *(["--layer", layer] if layer == "inner" else []), "--paths", "4x10Gbps"]
    tried = report["worth_trying"]["timeouts"]
    if not tried:
        command = shlex.join(["segcast", "advise", *of, "--out", "advice"])
        console.print(f"next, what else may be worth it: {command}", markup=False)
        return
    timeouts = ",".join(write_duration(one["timeout_ns"]) for one in tried)
    command = shlex.join(["segcast", "forecast", *of, "--timeout", timeouts, "--out", "forecast"])
    console.print(f"next, what your network makes of them: {command}", markup=False)


def print_rewrite(summary: dict[str, Any], console: Console) -> None:
    """Files written and what was left out."""
    console.print(
        f"{counted(summary['packets'], 'packet')}, {text.size(summary['bytes'])} "
        f"in {counted(len(summary['files']), 'capture')} ({summary['mode']}) from {summary['cell']}: "
        f"{summary['folder']}",
        markup=False,
    )
    files = sorted(summary["files"], key=lambda file: -file["packets"])
    shown = files if len(files) <= _HOSTS + 1 else files[:_HOSTS]
    rows = [[f["host"], f"{f['packets']:,}", text.size(f["bytes"]), f["path"]] for f in shown]
    print_table(console, [["host", "packets", "bytes", "capture"], *rows], left=(0, 3))
    if len(shown) < len(files):
        console.print(f"... and {counted(len(files) - len(shown), 'more host')}, listed in rewrite.json", markup=False)
    for title, counts in (("not written", summary["skipped"]), ("changed", summary["mended"])):
        there = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
        if there:
            console.print(f"{title}: {there}", markup=False)
    if summary["hop_limit_1"]:
        console.print(
            f"{counted(summary['hop_limit_1'], 'packet')} with a hop limit of 1: the router behind SRv6 will drop them",
            markup=False,
        )


def print_plan(plan: dict[str, Any]) -> None:
    """What a replay would send, and where."""
    echo(
        f"{plan['packets']:,} packets in {plan['duration_ns'] / 1e9:.3f} s, "
        f"cut off after {plan['limit_ns'] / 1e9:.1f} s"
    )
    for row in plan["senders"]:
        link = "unknown" if row["link_bps"] is None else f"{row['link_bps'] / 1e9:.3f} Gbit/s"
        mtu = "no such interface" if row["mtu"] is None else f"MTU {row['mtu']}"
        busiest = ", ".join(f"{pps / 1e6:.3f}" for pps in row["busiest_pps"].values())
        echo(
            f"  send    {row['name']}: {row['packets']:,} packets at {_place(row)}, "
            f"{row['busiest_bps'] / 1e9:.3f} Gbit/s in the busiest 100 ms (link {link}), "
            f"frames of up to {row['longest_frame_bytes']} bytes ({mtu}); {busiest} M packets/s in the busiest "
            "1, 10 and 100 ms"
        )
    for row in plan["receivers"]:
        echo(f"  receive {row['name']}: at {_place(row)}")
    if plan["transit"]:
        echo(f"  see     {', '.join(plan['transit'])}")
    for note in plan["notes"]:
        echo(f"  note:   {note}")
    for why in plan["refused"]:
        echo(f"  refused: {why}")


def print_run(run: dict[str, Any], out: object) -> None:
    """What a replay did."""
    if run["cell"]:
        echo(f"cell {run['cell']}" + (f" of {run['forecast']}" if run["forecast"] else ""))
    for row in run["senders"]:
        missed = f", {row['dropped_by_capture']} missed by its capture" if row["dropped_by_capture"] else ""
        echo(f"{row['host']}: sent {row['sent']:,}, failed {row['failed']:,}{missed}{_kept(row['timing'])}")
    for row in run["receivers"]:
        if row["dropped_by_capture"]:
            echo(f"{row['host']}: {row['dropped_by_capture']} received packets missed by the capture")
    for finding in run["findings"]:
        echo(f"finding: {finding}")
    echo(f"run: {out}")


def print_cleared(machines: dict[str, dict[str, list[str]]]) -> None:
    """What killed replays had left on machines."""
    for machine, found in machines.items():
        echo(f"{machine}: {len(found['removed'])} folders removed, {len(found['in_use'])} in use")
    if not machines:
        echo("the inventory has no machine behind ssh, so there is nothing to remove")


def _kept(timing: dict[str, Any]) -> str:
    """How a sender kept its schedule, as far as it is known."""
    said = ""
    if timing["began_late_ns"] is not None:
        said += f"; began {timing['began_late_ns'] / 1e6:+.3f} ms off"
    if timing["stretch"] is not None:
        said += f", took {timing['stretch']:.4f} of the time planned"
    if timing["shift_p99_ns"] is not None:
        said += f", packets off by p50 {timing['shift_p50_ns'] / 1e6:.3f}, p99 {timing['shift_p99_ns'] / 1e6:.3f} ms"
    return said + {True: ", in real time", False: ", not in real time", None: ""}[timing["real_time"]]


def _place(row: dict[str, Any]) -> str:
    return f"{row['interface']} of {row['netns'] or row['machine']}"
