"""Data links of snoop captures (RFC 1761, and Sun's later ones) and types of ERF records, as link types."""

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

# Types of ERF records as link types, and the bytes of each between the record's headers and the frame.
ERF_LINKTYPES: Final = {
    1: (50, 0),  # HDLC: PPP, or Cisco's by its address
    2: (1, 2),  # Ethernet, after an offset and a pad
    5: (50, 4),  # HDLC of a channel
    10: (50, 0),  # the same coloured, steered (DSM) or hashed
    11: (1, 2),
    15: (50, 0),
    16: (1, 2),
    17: (50, 4),
    19: (50, 0),
    20: (1, 2),
    21: (247, 0),  # Infiniband
    22: (228, 0),  # IPv4
    23: (229, 0),  # IPv6
}
