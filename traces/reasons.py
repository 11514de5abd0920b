"""Why a frame has no readable IP header or is not looked at, by number and name; and what else a header can lead to."""

from __future__ import annotations

from typing import Final

IP_FOUND: Final = 0
ARP: Final = 1
LLDP: Final = 2
SLOW_PROTOCOLS: Final = 3
PTP: Final = 4
MACSEC: Final = 5
PPP_CONTROL: Final = 6
OTHER_ETHERTYPE: Final = 7
LLC: Final = 8
OTHER_MPLS: Final = 9
OTHER_FAMILY: Final = 10
LINK_TYPE: Final = 11
TRUNCATED: Final = 12
MALFORMED: Final = 13
OTHER_PAYLOAD: Final = 14
ENCRYPTED: Final = 15
OTHER_PPP: Final = 16
WIFI_MANAGEMENT: Final = 17
WIFI_CONTROL: Final = 18
WIFI_EMPTY: Final = 19
WIFI_PROTECTED: Final = 20
WIFI_FRAGMENT: Final = 21
WIFI_DAMAGED: Final = 22
FILTERED: Final = 23  # set by an ingest, not by decoding

REASONS: Final = (
    "ip",
    "arp",
    "lldp",
    "slow protocols",
    "ptp",
    "macsec",
    "ppp control",
    "other ethertype",
    "802.2 llc",
    "mpls without ip",
    "other address family",
    "unsupported link type",
    "truncated",
    "malformed",
    "other payload",
    "encrypted",
    "other ppp protocol",
    "802.11 management",
    "802.11 control",
    "802.11 without data",
    "802.11 protected",
    "802.11 fragment",
    "802.11 with a bad fcs",
    "left out by the filter",
)
"""Names of the codes above."""

NUMBERED: Final = (OTHER_ETHERTYPE, OTHER_PPP)
"""Reasons that come with a number: which EtherType, which protocol."""

ORDINARY: Final = (
    ARP,
    LLDP,
    SLOW_PROTOCOLS,
    PTP,
    PPP_CONTROL,
    LLC,
    WIFI_MANAGEMENT,
    WIFI_CONTROL,
    WIFI_EMPTY,
    FILTERED,
)
"""Reasons of frames that carry no packets of hosts, which every network has, or that were not asked for."""

# What follows a header, where that is no IP header: what `announced.walk` goes on with.
TYPE_FOLLOWS: Final = 64
FRAME_FOLLOWS: Final = 65
LLC_FOLLOWS: Final = 66
PPP_FOLLOWS: Final = 67
PPPOE_FOLLOWS: Final = 68
LABELS_FOLLOW: Final = 69
NSH_FOLLOWS: Final = 70
TRILL_FOLLOWS: Final = 71
TIME_FOLLOWS: Final = 72
METADATA_FOLLOWS: Final = 73
MACSEC_FOLLOWS: Final = 74
