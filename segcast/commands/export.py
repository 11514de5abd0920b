"""`segcast export`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import busy, json_option, show


@click.command()
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
@click.option("--cell", required=True, help="Cell whose packets to write, by its name in the tables: ecmp-s1.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Capture to write, .pcap.")
@json_option
def export(folder: Path, cell: str, out: Path, as_json: bool) -> None:
    """Write the packets that a flow list's senders made in one cell as a capture.

    Headers of TCP/IP as each sender saw its packets leave, with sequence numbers, acknowledgements and flags; payload
    is left out. What reads captures reads it, segcast among them.
    """
    from segcast.reports.extraction import print_export

    with busy("export"):
        document = sc.lab.export(folder, cell, out)
    show(document, as_json, print_export)
