"""Numbers of IP and TCP that several packages look for (RFC 9293 section 3.1)."""

from __future__ import annotations

from typing import Final

TCP: Final = 6
"""The protocol number of TCP in IP headers."""

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10
