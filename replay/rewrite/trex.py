"""The script for TRex that stands beside microsecond captures: each has a port, and begins when the schedule says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segcast.replay.rewrite.summary import HostCapture

SCRIPT: Final = "trex.py"

_SCRIPT: Final = '''"""Send the captures of this folder with TRex (stateless), a port each. Made by segcast rewrite.

    python3 trex.py --server HOST --ports 0,1,2 [--folder FOLDER]

TRex's own Python library has to be found: PYTHONPATH=TREX/automation/trex_control_plane/interactive. The server reads
the captures itself, from FOLDER on its machine. Ports begin one after the other, so that packets of different ports
are off by what that takes: compare with departures as captured. One processor of the server sends a capture.
"""

import argparse
import time

from trex.stl.api import STLClient

# Host or interface, capture, and microseconds after the start of the schedule that its first packet leaves.
CAPTURES = [
{rows}]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1", help="machine that runs t-rex-64 -i [127.0.0.1]")
    parser.add_argument("--ports", required=True, help="ports of TRex in the order of the captures, such as 0,1")
    parser.add_argument("--folder", default={folder!r}, help="where the server has the captures [%(default)s]")
    chosen = parser.parse_args()
    ports = [int(port) for port in chosen.ports.split(",")]
    if len(ports) != len(CAPTURES) or len(set(ports)) != len(ports):
        parser.error("there are %d captures, so give as many ports" % len(CAPTURES))
    client = STLClient(server=chosen.server)
    client.connect()
    try:
        client.reset(ports=ports)
        begun = time.time()
        for (name, capture, after_us), port in sorted(zip(CAPTURES, ports), key=lambda pair: pair[0][2]):
            time.sleep(max(0, begun + after_us / 1e6 - time.time()))
            what = dict(ports=[port], speedup=1.0, count=1)
            try:
                # Addresses as written: newer versions put the port's own there unless told not to.
                client.push_remote(chosen.folder + "/" + capture, src_mac_pcap=True, dst_mac_pcap=True, **what)
            except TypeError:
                client.push_remote(chosen.folder + "/" + capture, **what)
            print("port %d: %s" % (port, name))
        client.wait_on_traffic(ports=ports)
        for port, row in sorted(client.get_stats(ports=ports).items(), key=str):
            if port in ports:
                print("port %d: %d packets sent" % (port, row["opackets"]))
    finally:
        client.disconnect()


if __name__ == "__main__":
    main()
'''


def trex_script(folder: Path, files: Sequence[HostCapture]) -> bytes:
    """The script for these captures of a folder."""
    start = min((file.first_ns or 0 for file in files), default=0)
    rows = "".join(
        f"    ({file.host!r}, {Path(file.path).name!r}, {((file.first_ns or 0) - start) // 1000}),\n" for file in files
    )
    return _SCRIPT.replace("{rows}", rows).replace("{folder!r}", repr(str(folder.absolute()))).encode()
