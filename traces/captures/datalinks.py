"""Data links of snoop captures (RFC 1761, and Sun's later ones) as link types."""

from __future__ import annotations

from typing import Final

SNOOP_LINKTYPES: Final = {
    0: 1,  # IEEE 802.3
    2: 6,  # token ring
    4: 1,  # Ethernet
    8: 10,  # FDDI
    12: 8,  # character asynchronous: SLIP
    16: 224,  # fibre channel
    17: 123,  # SunATM
    18: 123,
    22: 1,  # 100BaseVG Ethernet
    23: 6,  # 100BaseVG token ring
    24: 1,  # Ethernet and 802.3
    25: 1,  # 100BaseT
    26: 242,  # IP over Infiniband
}
