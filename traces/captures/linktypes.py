"""Names of link types (LINKTYPE_ values of https://www.tcpdump.org/linktypes.html), so that what is skipped has one."""

from __future__ import annotations

from typing import Final

LINKTYPE_NAMES: Final = {
    0: "null",
    1: "ethernet",
    2: "experimental ethernet",
    3: "ax.25",
    4: "pronet",
    5: "chaos",
    6: "802.5 token ring",
    7: "arcnet",
    8: "slip",
    9: "ppp",
    10: "fddi",
    12: "raw ip",
    14: "raw ip",
    50: "ppp hdlc",
    51: "pppoe",
    99: "symantec firewall",
    100: "atm rfc 1483",
    101: "raw ip",
    102: "bsd/os slip",
    103: "bsd/os ppp",
    104: "cisco hdlc",
    105: "802.11",
    106: "atm clip",
    107: "frame relay",
    108: "loop",
    109: "openbsd enc",
    113: "linux sll",
    114: "localtalk",
    117: "openbsd pflog",
    118: "cisco ios",
    119: "802.11 prism",
    120: "802.11 aironet",
    122: "ip over fibre channel",
    123: "sunatm",
    127: "802.11 radiotap",
    128: "tzsp",
    129: "arcnet linux",
    138: "ip over ieee 1394",
    139: "mtp2 with header",
    140: "mtp2",
    141: "mtp3",
    142: "sccp",
    143: "docsis",
    144: "irda",
    163: "802.11 avs",
    165: "bacnet ms/tp",
    166: "pppd",
    169: "gprs llc",
    175: "erf ethernet",
    176: "erf packet over sonet",
    182: "multilink frame relay",
    184: "arinc 429",
    185: "arinc 653",
    186: "usb freebsd",
    187: "bluetooth hci h4",
    188: "802.16",
    189: "usb linux",
    190: "can 2.0b",
    191: "802.15.4 linux",
    192: "ppi",
    195: "802.15.4",
    197: "erf",
    199: "ipmb kontron",
    201: "bluetooth hci h4 with header",
    202: "ax.25 kiss",
    203: "lapd",
    204: "ppp with direction",
    205: "cisco hdlc with direction",
    206: "frame relay with direction",
    209: "ipmb linux",
    210: "flexray",
    211: "most",
    212: "lin",
    215: "802.15.4 non-ask phy",
    216: "linux evdev",
    217: "gsmtap um",
    218: "gsmtap abis",
    219: "mpls",
    220: "usb linux mmapped",
    221: "dect",
    224: "fibre channel",
    225: "fibre channel with delimiters",
    226: "solaris ipnet",
    227: "can socketcan",
    228: "ipv4",
    229: "ipv6",
    230: "802.15.4 without fcs",
    231: "d-bus",
    235: "dvb-ci",
    236: "mux27010",
    237: "stanag 5066",
    239: "nflog",
    240: "netanalyzer",
    241: "netanalyzer transparent",
    242: "ip over infiniband",
    243: "mpeg-2 ts",
    244: "ng40",
    245: "nfc llcp",
    246: "freebsd pfsync",
    247: "infiniband",
    248: "sctp",
    249: "usbpcap",
    250: "rtac serial",
    251: "bluetooth le",
    252: "wireshark upper pdu",
    253: "netlink",
    254: "bluetooth linux monitor",
    255: "bluetooth br/edr",
    256: "bluetooth le with header",
    257: "profibus",
    258: "pktap",
    259: "epon",
    260: "ipmi",
    261: "z-wave r1 r2",
    262: "z-wave r3",
    263: "wattstopper dlm",
    264: "iso 14443",
    265: "rds",
    266: "usb darwin",
    267: "openflow",
    268: "sdlc",
    269: "ti lln sniffer",
    270: "loratap",
    271: "vsock",
    272: "nordic ble",
    273: "docsis 3.1 xra-31",
    274: "802.3br mpacket",
    275: "displayport aux",
    276: "linux sll2",
    277: "sercos monitor",
    278: "openvizsla",
    279: "ebhscr",
    280: "vpp dispatch",
    281: "dsa tag broadcom",
    282: "dsa tag broadcom prepended",
    283: "802.15.4 tap",
    284: "dsa tag",
    285: "dsa tag with ethertype",
    286: "elee",
    287: "z-wave serial",
    288: "usb 2.0",
    289: "atsc alp",
}


# Data links of snoop captures (RFC 1761, and Sun's later ones) as link types.
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
SNOOP_OTHER: Final = 0xFF00  # plus the data link (255 stands for all above): no link type has these numbers


def linktype_name(linktype: int) -> str:
    """The name of a link type; private and unknown ones by number."""
    if linktype >= SNOOP_OTHER:
        return f"snoop data link {linktype - SNOOP_OTHER}"
    if 147 <= linktype <= 162:
        return f"user {linktype - 147}"
    if linktype in _JUNIPER:
        return "juniper"
    return LINKTYPE_NAMES.get(linktype, str(linktype))


_JUNIPER: Final = {*range(130, 138), 164, 167, 168, 174, *range(178, 182), 183, 194, 200, 232, 233, 234, 238}
