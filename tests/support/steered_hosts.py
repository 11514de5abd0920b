"""A network for hosts that steer: its scenario, and commands that make it up."""

from __future__ import annotations

import subprocess

ETH_P_IPV6 = 0x86DD
SCENARIO = """
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
links = { rate = "200Mbps", buffer = "256KiB" }
[steering]
loss_timeout = "300ms"
[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.0/24", "2001:db8:0::/64"]
[[attachments]]
name = "leaf1"
prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
