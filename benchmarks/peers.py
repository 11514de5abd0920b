"""Other programs that read captures, each a command over a file; those that are not there say so.

What each does: tcpdump copies the records through libpcap; PcapPlusPlus, dpkt and tshark decode every packet to its
addresses, ports and TCP numbers; NFStream makes flows in one pass, without payload inspection. None writes columns.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIELDS: Final = "frame.time_epoch ip.src ip.dst ip.len tcp.srcport tcp.dstport tcp.seq tcp.ack tcp.flags"

_DPKT: Final = """
import sys, dpkt
with open(sys.argv[1], "rb") as file:
    for time, data in dpkt.pcap.Reader(file):
        ip = dpkt.ethernet.Ethernet(data).data
        if isinstance(ip, dpkt.ip.IP):
            row = time, ip.src, ip.dst, ip.len
            if isinstance(ip.data, dpkt.tcp.TCP):
                row += ip.data.sport, ip.data.dport, ip.data.seq, ip.data.ack, ip.data.flags
"""

_NFSTREAM: Final = """
import sys
from nfstream import NFStreamer
if __name__ == "__main__":
    print(sum(1 for _ in NFStreamer(sys.argv[1], n_dissections=0, statistical_analysis=False)))
"""


@dataclass(frozen=True)
class Peer:
    """Another program: `command(capture, scratch)` reads a capture, None if it is not there; slow ones get a slice."""

    name: str
    slow: bool
    command: Callable[[Path, Path], list[str | Path] | None]
    absent: str = "not installed"


def peers(pcapplusplus: str | None, nfstream: str) -> list[Peer]:
    """All of them, the fastest first.

    `pcapplusplus` is a program that decodes the capture it is given with that library, and `nfstream` a Python
    interpreter that has the package: neither comes with Segcast.
    """

    def tool(name: str, *arguments: str | Path) -> list[str | Path] | None:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        return [found, *arguments] if found else None

    def tshark(capture: Path) -> list[str | Path] | None:
        fields = (word for field in FIELDS.split() for word in ("-e", field))
        return tool("tshark", "-n", "-r", capture, "-T", "fields", *fields)

    def flows(capture: Path, scratch: Path) -> list[str | Path] | None:
        asked = [nfstream, "-c", "import nfstream"]
        try:
            known = subprocess.run(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            return None
        program = scratch / "nfstream_pass.py"  # it starts processes that import the program, so it is a file
        program.write_text(_NFSTREAM, "utf-8")
        return [nfstream, program, capture] if known.returncode == 0 else None

    return [
        Peer("tcpdump -w", False, lambda capture, _: tool("tcpdump", "-r", capture, "-w", "/dev/null")),
        Peer(
            "PcapPlusPlus", False, lambda capture, _: [pcapplusplus, capture] if pcapplusplus else None, "not at hand"
        ),
        Peer("NFStream", True, flows),
        Peer("dpkt", True, lambda capture, _: [sys.executable, "-c", _DPKT, capture]),
        Peer("tshark -T fields", True, lambda capture, _: tshark(capture)),
    ]


def read_plainly(capture: Path) -> None:
    """The bytes of a file and nothing else: the limit."""
    buffer = bytearray(4 << 20)
    with capture.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
