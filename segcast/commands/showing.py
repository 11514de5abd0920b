"""What commands of a replay print: a plan, a run."""

from __future__ import annotations

from typing import Any

import click


def print_plan(plan: dict[str, Any]) -> None:
    """What a replay would send, and where."""
    click.echo(
        f"{plan['packets']:,} packets in {plan['duration_ns'] / 1e9:.3f} s, "
        f"cut off after {plan['limit_ns'] / 1e9:.1f} s"
    )
    for row in plan["senders"]:
        link = "unknown" if row["link_bps"] is None else f"{row['link_bps'] / 1e9:.3f} Gbit/s"
        click.echo(
            f"  send    {row['name']}: {row['packets']:,} packets at {_place(row)}, "
            f"{row['busiest_bps'] / 1e9:.3f} Gbit/s in the busiest 100 ms (link {link}), "
            f"frames of up to {row['longest_frame_bytes']} bytes (MTU {row['mtu']})"
        )
    for row in plan["receivers"]:
        click.echo(f"  receive {row['name']}: at {_place(row)}")
    if plan["transit"]:
        click.echo(f"  see     {', '.join(plan['transit'])}")
    for note in plan["notes"]:
        click.echo(f"  note:   {note}")
    for why in plan["refused"]:
        click.echo(f"  refused: {why}")


def print_run(run: dict[str, Any], out: object) -> None:
    """What a replay did."""
    for row in run["senders"]:
        missed = f", {row['dropped_by_capture']} missed by its capture" if row["dropped_by_capture"] else ""
        click.echo(f"{row['host']}: sent {row['sent']:,}, failed {row['failed']:,}{missed}")
    for row in run["receivers"]:
        if row["dropped_by_capture"]:
            click.echo(f"{row['host']}: {row['dropped_by_capture']} received packets missed by the capture")
    click.echo(f"run: {out}")


def _place(row: dict[str, Any]) -> str:
    return f"{row['interface']} of {row['netns'] or row['machine']}"
