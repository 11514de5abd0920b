"""`segcast ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.following import say_next
from segcast.screen import json_option, layer_option, note, print_facts, progress, show


@click.command()
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURE...")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Trace folder to write, such as NAME.trace; any name will do.",
)
@layer_option
@click.option(
    "--filter",
    metavar="EXPR",
    help="Keep what matches, such as 'tcp and net 10.0.0.0/8' (docs/captures.md).",
)
@click.option(
    "--flows",
    type=click.Choice(["tenant", "addresses"]),
    default="tenant",
    help="Tell flows apart by VLAN, VNI and the like, too, or by addresses and ports alone [tenant].",
)
@click.option("--drop-duplicates", is_flag=True, help="Leave out packets captured twice (mirrors, bridges).")
@click.option(
    "--split-offload",
    metavar="MSS",
    help="Cut TSO/GSO/GRO super-frames into wire frames of this segment size, or auto.",
)
@click.option("--line-rate", help="Rate at which split frames follow each other [10Gbps].")
@click.option("--anonymize", metavar="KEYFILE", type=click.Path(path_type=Path), help="Map addresses (Crypto-PAn).")
@click.option("--keep-going", is_flag=True, help="Read on after damage, and exit 0; each one is a warning on stderr.")
@click.option("--cross-check", "frames", type=int, metavar="N", help="Decode N frames with dpkt, too, and compare.")
@json_option
def ingest(
    captures: tuple[str, ...],
    out: Path,
    layer: str | None,
    keep_going: bool,
    frames: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Read captures into a trace: Arrow tables of packets and flows, in order of time.

    CAPTURE is a file, a URL, "-" (standard input), a folder with captures anywhere below it, or a quoted pattern such
    as 'tap/*.pcap.gz'. An interrupted ingest of several captures resumes when the same command is given again.
    """
    with progress("ingest", "B") as tick:
        trace = sc.ingest(
            captures,
            out,
            tick,
            layer=layer,
            keep_going=keep_going,
            to_cross_check=frames,
            say=note,
            **flags,
        )
    facts = sc.inspect(trace)
    if frames is None:
        show(facts, as_json, print_facts)
    else:
        with progress("cross-check") as tick:
            compared = sc.cross_check(trace, frames, tick)
        show(facts | {"cross_check": compared.as_dict()}, as_json, print_facts)
        compared.require_agreement()
    if not as_json and facts["verdict"] != "unfit":
        say_next("how flows split into flowlets", "flowlets", str(out), None)
