"""tshark with every checksum checked, and without the dissectors that random payloads mislead."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LOOKED_AT = (
    "frame,eth,ethertype,ip,ipv6,ipv6.hopopts,ipv6.routing,ipv6.routing.type.srh,ipv6.routing.type.rt0,"
    "ipv6.routing.type.mipv6,ipv6.fraghdr,ipv6.dstopts,ah,tcp,udp,udplite,icmp,igmp,icmpv6,sctp,data,_ws.malformed"
)
CHECKSUMS = ("ip", "tcp", "udp", "icmp", "icmpv6", "igmp", "sctp")  # UDP-Lite is shown as UDP


@pytest.fixture(scope="session")
def only_transports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which tshark dissects nothing above the transports: random payloads look malformed there."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    folder = tmp_path_factory.mktemp("wireshark")
    names = [line.split("\t")[2] for line in _run("tshark", "-G", "protocols").splitlines()]
    (folder / "disabled_protos").write_text("".join(f"{name}\n" for name in names if name not in LOOKED_AT.split(",")))
    return os.environ | {"WIRESHARK_CONFIG_DIR": str(folder)}


def tshark(environment: dict[str, str], path: Path, *arguments: str) -> list[str]:
    """Lines that tshark prints, with every checksum checked."""
    preferences = [f"{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp", "udplite")]
    preferences += ["sctp.checksum:CRC 32c", "udplite.ignore_checksum_coverage:FALSE"]
    preferences += ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.analyze_sequence_numbers:FALSE"]
    command = ["tshark", "-n", "-r", str(path), *(part for option in preferences for part in ("-o", option))]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[:500]
    return done.stdout.splitlines()


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
