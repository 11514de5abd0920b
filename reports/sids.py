"""The table of SIDs as terminal text."""

from __future__ import annotations

import click

from segcast.analyzer.network.sid_table import SidTable


def print_sids(sids: SidTable) -> None:
    """Print all SIDs, node by node, and the segment list of every path, on standard output."""
    for line in sids.sid_lines():
        click.echo(line)
    click.echo("\nSegment lists in the order of travel, as they stand in the headers of IPv4 | IPv6 packets:")
    for line in sids.list_lines():
        click.echo(line)
    if sids.pairs_left_out:
        click.echo(f"and those of {sids.pairs_left_out:,} more pairs of attachments")
