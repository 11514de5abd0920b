"""Our columns against tshark's fields, frame by frame, at both layers, on the bundled capture and a folder of others.

The folder is $SEGCAST_CAPTURES or `../shared/captures` beside the repository; without it, or without tshark, the
comparison is skipped and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from segcast.traces.headers.decode import LAYERS
from segcast.traces.samples import CLUSTER
from tests.support.captures import FOLDER
from tests.support.decoding import read_all
from tests.twins.captures import Record
from tests.twins.decode import Decoded

ROOT = Path(__file__).parents[2]
COLUMNS = (
    "frame.encap_type frame.time_epoch frame.len frame.cap_len frame.protocols ip.src ip.dst ip.len ip.proto ip.id "
    "ip.dsfield ip.frag_offset ip.flags.mf ipv6.src ipv6.dst ipv6.plen ipv6.tclass ipv6.fraghdr.ident "
    "ipv6.fraghdr.offset ipv6.fraghdr.more tcp.srcport tcp.dstport udp.srcport udp.dstport sctp.srcport sctp.dstport "
    "tcp.len udp.length tcp.seq_raw tcp.ack_raw tcp.flags tcp.window_size_value"
)
FIELDS = COLUMNS.split()
PREFERENCES = (
    "ip.defragment:FALSE ipv6.defragment:FALSE tcp.desegment_tcp_streams:FALSE tcp.relative_sequence_numbers:FALSE "
    "tcp.analyze_sequence_numbers:FALSE ip.check_checksum:FALSE"
)
EXTENSIONS = {"ipv6.hopopts", "ipv6.routing", "ipv6.fraghdr", "ipv6.dstopts", "mip6", "hip", "shim6", "ah"}
PORTED = {"tcp", "udp", "sctp"}

# What may lie between two IP headers of a tunnel that we look through.
TUNNELS = {"vxlan", "geneve", "gtp", "gre", "erspan", "ppp", "eth", "ethertype", "vlan", "mpls", "llc", "pppoes"}
TUNNELS |= {"pwethheuristic", "pwethcw", "pwethnocw", "udp"} | EXTENSIONS

IP_COLUMNS = "ip_version src dst ip_bytes tos ip_id protocol"
CUSTOM = "tshark counts custom blocks as frames; they are no packets, and we skip them"
CUT_SHORT = "MPLS, and behind it a header of more bytes than the frame has: no IP for us"
PSEUDOWIRE = "Ethernet in MPLS: tshark guesses a pseudowire from the payload, the outer layer does not look through it"
BEFORE_1970 = "ticks of 2**63 or more, year 586,524: we read times before 1970 (`capture.py`: int64 nanoseconds)"
ETHERTYPE = "a null header with an EtherType instead of an address family"
# file, columns, frames that differ in each, why
EXCEPTIONS: list[tuple[str, str, int, str]] = [
    ("null_loopback.pcap", f"{IP_COLUMNS} src_port dst_port payload_bytes", 1, ETHERTYPE),
    ("pcapng-example.pcapng", "time_ns", 100, BEFORE_1970),
    ("pcapng-example.pcapng.zst", "time_ns", 100, BEFORE_1970),
    *(
        (f"output_{order}-{test}.pcapng", "custom_blocks", count, CUSTOM)
        for order in ("be", "le")
        for test, count in (
            ("advanced-test102", 3),
            ("basic-test017", 4),
            ("basic-test018", 4),
            ("difficult-test202", 3),
        )
    ),
]

# the same, of one layer alone
LAYER_EXCEPTIONS: list[tuple[str, str, str, int, str]] = [
    ("outer", "MplsPackets.pcap", IP_COLUMNS, 1, PSEUDOWIRE),
    ("outer", "tcpreplay-test.pcap", IP_COLUMNS, 11, f"{PSEUDOWIRE}; {CUT_SHORT}"),
    ("inner", "tcpreplay-test.pcap", IP_COLUMNS, 1, CUT_SHORT),
]

NEEDS_TSHARK = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def captures() -> Iterator[object]:
    yield pytest.param(CLUSTER, id=CLUSTER.name)
    if not FOLDER.is_dir():
        yield pytest.param(None, id="folder", marks=pytest.mark.skip(reason=f"no folder of captures at {FOLDER}"))
        return
    for path in sorted([*FOLDER.rglob("*.pcap*"), *FOLDER.rglob("*.snoop")]):
        yield pytest.param(path, id=path.relative_to(FOLDER).as_posix())


@cache
def tshark(path: Path) -> list[dict[str, str]]:
    """All occurrences of each field, per frame, with | between them."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|"]
    command += [word for option in PREFERENCES.split() for word in ("-o", option)]
    command += [word for name in FIELDS for word in ("-e", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.split("\n")[:-1]
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]


def number(text: str) -> int | None:
    """A field's number; None if tshark shows none. Flags that are set are `1` or `True`."""
    return {"": None, "True": 1, "False": 0}[text] if text in ("", "True", "False") else int(text, 0)


def layer_place(layers: list[str], inner: bool) -> int | None:
    """Which of tshark's layers is our IP header: the first, or the last that only tunnels lead to."""
    places = [i for i, name in enumerate(layers) if name in ("ip", "ipv6")]
    if not places:
        return None
    at = places[0]
    for place in places[1:] if inner else ():
        if not set(layers[at + 1 : place]) <= TUNNELS:
            break
        at = place
    return at


class Fields:
    """A frame's fields as they stand at one of its layers: of each protocol as often repeated as before."""

    def __init__(self, fields: dict[str, str], layers: list[str], at: int) -> None:
        self.fields = fields
        self.before = Counter(layers[:at])

    def __getitem__(self, name: str) -> str:
        protocol = name.rsplit(".", 1)[0]
        if name.startswith("ip.flags"):
            protocol = "ip"
        values = self.fields[name].split("|")
        place = self.before[protocol]
        return values[place] if place < len(values) else ""


def wanted(fields: dict[str, str], inner: bool) -> dict[str, int | str | None]:
    """tshark's fields in our words; the outermost or innermost IP layer's, and what it carries directly."""
    layers = fields["frame.protocols"].split(":")
    at = layer_place(layers, inner)
    f = Fields(fields, layers, at or 0)
    seconds, _, fraction = f["frame.time_epoch"].partition(".")
    row: dict[str, int | str | None] = {
        "time_ns": int(seconds) * 10**9 + int(fraction.ljust(9, "0")) if seconds else 0,
        "wire_bytes": number(f["frame.len"]),
        "captured_bytes": number(f["frame.cap_len"]),
    }
    if at is None:
        return row | dict.fromkeys(("ip_version", "src", "dst", "ip_bytes", "tos", "src_port", "dst_port", "tcp_seq"))
    inside = next((name for name in layers[at + 1 :] if name not in EXTENSIONS), "")
    fragment: int | None
    if layers[at] == "ip":
        fragment = number(f["ip.frag_offset"]) if number(f["ip.frag_offset"]) or number(f["ip.flags.mf"]) else None
        row |= {"ip_version": 4, "src": f["ip.src"], "dst": f["ip.dst"], "ip_bytes": number(f["ip.len"])}
        row |= {"tos": number(f["ip.dsfield"]), "ip_id": number(f["ip.id"])}
        if "ah" not in layers[at:]:
            row["protocol"] = number(f["ip.proto"])
    else:
        offset, more = number(f["ipv6.fraghdr.offset"]), number(f["ipv6.fraghdr.more"])
        fragment = offset if offset is not None and (offset or more) else None
        plen = number(f["ipv6.plen"])
        row |= {"ip_version": 6, "src": f["ipv6.src"], "dst": f["ipv6.dst"], "ip_bytes": 40 + plen if plen else None}
        row |= {"tos": number(f["ipv6.tclass"]), "ip_id": number(f["ipv6.fraghdr.ident"])}
    row["fragment_offset"] = fragment
    if inside in PORTED:
        row |= {"src_port": number(f[f"{inside}.srcport"]), "dst_port": number(f[f"{inside}.dstport"])}
    else:
        row |= {"src_port": None, "dst_port": None}
    if inside == "tcp":
        row |= {"tcp_seq": number(f["tcp.seq_raw"]), "tcp_ack": number(f["tcp.ack_raw"])}
        flags = number(f["tcp.flags"])
        row |= {"tcp_flags": None if flags is None else flags & 0xFF, "tcp_window": number(f["tcp.window_size_value"])}
        row["payload_bytes"] = number(f["tcp.len"])
    else:
        row["tcp_seq"] = None
    if inside == "udp" and fragment is None and f["udp.length"]:
        row["payload_bytes"] = int(f["udp.length"]) - 8
    return row


def differences(path: Path, layer: str) -> Counter[str]:
    """How many frames differ, by column."""
    theirs = tshark(path)
    packets = [fields for fields in theirs if fields["frame.encap_type"]]
    found = Counter({"custom_blocks": len(theirs) - len(packets)})
    ours: list[tuple[Record, Decoded]]
    ours, _ = read_all(path, layer)
    found["frames"] = abs(len(packets) - len(ours))
    for (record, decoded), fields in zip(ours, packets, strict=False):
        have = vars(record) | vars(decoded)
        for name, value in wanted(fields, layer == "inner").items():
            if name == "fragment_offset" and value and have[name] == int(value) * 8:
                continue  # of IPv4 and IPv6, tshark 4.0 gives it in units of 8 bytes, others in bytes
            if have[name] != value:
                found[name] += 1
                if os.environ.get("SEGCAST_SHOW"):
                    print(
                        path.name,
                        layer,
                        record.frame_number,
                        name,
                        have[name],
                        "tshark",
                        value,
                        fields["frame.protocols"],
                    )
    return +found


@NEEDS_TSHARK
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", list(captures()))
def test_agrees_with_tshark(path: Path, layer: str) -> None:
    rows = EXCEPTIONS + [(name, columns, n, why) for of, name, columns, n, why in LAYER_EXCEPTIONS if of == layer]
    known = {column: n for name, columns, n, _ in rows if name == path.name for column in columns.split()}
    assert dict(differences(path, layer)) == known


@NEEDS_TSHARK
def test_every_exception_names_a_capture() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no folder of captures at {FOLDER}")
    names = {path.name for path in FOLDER.rglob("*.pcap*")} | {CLUSTER.name}
    assert {name for name, *_ in EXCEPTIONS} | {name for _, name, *_ in LAYER_EXCEPTIONS} <= names
