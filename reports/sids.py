"""The table of SIDs as terminal text."""

from __future__ import annotations

from segcast.analyzer.network.sid_table import SidTable
from segcast.reports.text import echo


def print_sids(sids: SidTable) -> None:
    """Print all SIDs, node by node, and the segment list of every path, on standard output."""
    for line in sids.sid_lines():
        echo(line)
    echo("")
    echo("Segment lists in the order of travel, as they stand in the headers of IPv4 | IPv6 packets:")
    for line in sids.list_lines():
        echo(line)
    if sids.pairs_left_out:
        echo(f"and those of {sids.pairs_left_out:,} more pairs of attachments")
