"""Link types, a row each: the name, and how frames begin where we read them.

The numbers are LINKTYPE_ values of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from segcast.traces import reasons as r

# How frames begin.
UNREAD: Final = 0
FOLLOWS: Final = 1  # with what the row says
ETHER_TYPE: Final = 2  # with an EtherType at a place in a header
FIRST_NIBBLE: Final = 3  # with an IP header, whose version says which
FAMILY: Final = 4  # with an address family of four bytes, big-endian
FAMILY_AS_CAPTURED: Final = 5  # the same in the order of the capturing host
PPP: Final = 6  # or Cisco's HDLC, by its addresses
CISCO_HDLC: Final = 7  # or PPP, by its address
NFLOG: Final = 8
FDDI: Final = 9
TOKEN_RING: Final = 10
FRAME_RELAY: Final = 11
JUNIPER: Final = 12
PFLOG: Final = 13
PPI: Final = 14  # with a header that names another link type
PKTAP: Final = 15
WIFI: Final = 16  # and what is above: 802.11
RADIOTAP: Final = 17
PRISM: Final = 18  # or AVS

# What numbers up to 1500 are, where an EtherType may stand.
NO_LENGTHS: Final = 0
LENGTHS: Final = 1  # of 802.3 (IEEE 802.3 section 3.2.6)
COOKED: Final = 2  # Linux's, of which 4 stands for 802.2

SNOOP_OTHER: Final = 0xFF00  # plus a data link of snoop (255 stands for all above): no link type has these numbers

_V4: Final = 1 << 4
_V6: Final = 1 << 6


class LinkType(NamedTuple):
    """How frames of a link type begin.

    `how` says what announces the payload; `header_bytes` come before that payload. `type_at` is where an EtherType
    lies, `numbers` what values up to 1500 are there (LENGTHS, COOKED), `leads_to` what follows for sure
    (of `reasons`), `kind` which EtherType that is, `versions` the IP versions that may follow, as bits.
    """

    name: str
    how: int = UNREAD
    header_bytes: int = 0
    type_at: int = 0
    numbers: int = 0
    leads_to: int = 0
    kind: int = 0
    versions: int = 0


LINK_TYPES: Final = {
    0: LinkType("null", FAMILY_AS_CAPTURED, 4),
    1: LinkType("ethernet", ETHER_TYPE, 14, type_at=12, numbers=LENGTHS),
    2: LinkType("experimental ethernet"),
    3: LinkType("ax.25"),
    4: LinkType("pronet"),
    5: LinkType("chaos"),
    6: LinkType("802.5 token ring", TOKEN_RING),
    7: LinkType("arcnet"),
    8: LinkType("slip"),
    9: LinkType("ppp", PPP),
    10: LinkType("fddi", FDDI),
    12: LinkType("raw ip", FIRST_NIBBLE, versions=_V4 | _V6),
    14: LinkType("raw ip", FIRST_NIBBLE, versions=_V4 | _V6),
    50: LinkType("ppp hdlc", PPP),
    51: LinkType("pppoe", FOLLOWS, leads_to=r.PPPOE_FOLLOWS),
    99: LinkType("symantec firewall"),
    100: LinkType("atm rfc 1483", FOLLOWS, leads_to=r.LLC_FOLLOWS),
    101: LinkType("raw ip", FIRST_NIBBLE, versions=_V4 | _V6),
    102: LinkType("bsd/os slip"),
    103: LinkType("bsd/os ppp"),
    104: LinkType("cisco hdlc", CISCO_HDLC, 4),
    105: LinkType("802.11", WIFI),
    106: LinkType("atm clip"),
    107: LinkType("frame relay", FRAME_RELAY),
    108: LinkType("loop", FAMILY, 4),
    109: LinkType("openbsd enc", FAMILY_AS_CAPTURED, 12),
    113: LinkType("linux sll", ETHER_TYPE, 16, type_at=14, numbers=COOKED),
    114: LinkType("localtalk"),
    117: LinkType("openbsd pflog", PFLOG, 4),
    118: LinkType("cisco ios"),
    119: LinkType("802.11 prism", PRISM),
    120: LinkType("802.11 aironet"),
    122: LinkType("ip over fibre channel", FOLLOWS, 16, leads_to=r.LLC_FOLLOWS),
    123: LinkType("sunatm"),
    127: LinkType("802.11 radiotap", RADIOTAP),
    128: LinkType("tzsp"),
    129: LinkType("arcnet linux"),
    130: LinkType("juniper", JUNIPER),
    131: LinkType("juniper", JUNIPER),
    132: LinkType("juniper", JUNIPER),
    133: LinkType("juniper", JUNIPER),
    134: LinkType("juniper", JUNIPER),
    135: LinkType("juniper", JUNIPER),
    136: LinkType("juniper", JUNIPER),
    137: LinkType("juniper", JUNIPER),
    138: LinkType("ip over ieee 1394", ETHER_TYPE, 18, type_at=16),
    139: LinkType("mtp2 with header"),
    140: LinkType("mtp2"),
    141: LinkType("mtp3"),
    142: LinkType("sccp"),
    143: LinkType("docsis"),
    144: LinkType("irda"),
    163: LinkType("802.11 avs", PRISM),
    164: LinkType("juniper", JUNIPER),
    165: LinkType("bacnet ms/tp"),
    166: LinkType("pppd", PPP, 2),  # a direction, in place of the address
    167: LinkType("juniper", JUNIPER, leads_to=r.FRAME_FOLLOWS),
    168: LinkType("juniper", JUNIPER),
    169: LinkType("gprs llc"),
    174: LinkType("juniper", JUNIPER),
    175: LinkType("erf ethernet"),
    176: LinkType("erf packet over sonet"),
    178: LinkType("juniper", JUNIPER, leads_to=r.FRAME_FOLLOWS),
    179: LinkType("juniper", JUNIPER, leads_to=r.PPP_FOLLOWS),
    180: LinkType("juniper", JUNIPER),
    181: LinkType("juniper", JUNIPER, leads_to=r.PPP_FOLLOWS),
    182: LinkType("multilink frame relay"),
    183: LinkType("juniper", JUNIPER),
    184: LinkType("arinc 429"),
    185: LinkType("arinc 653"),
    186: LinkType("usb freebsd"),
    187: LinkType("bluetooth hci h4"),
    188: LinkType("802.16"),
    189: LinkType("usb linux"),
    190: LinkType("can 2.0b"),
    191: LinkType("802.15.4 linux"),
    192: LinkType("ppi", PPI),
    194: LinkType("juniper", JUNIPER),
    195: LinkType("802.15.4"),
    197: LinkType("erf"),
    199: LinkType("ipmb kontron"),
    200: LinkType("juniper", JUNIPER),
    201: LinkType("bluetooth hci h4 with header"),
    202: LinkType("ax.25 kiss"),
    203: LinkType("lapd"),
    204: LinkType("ppp with direction", PPP, 1),  # a direction, before the frame
    205: LinkType("cisco hdlc with direction", CISCO_HDLC, 5),
    206: LinkType("frame relay with direction", FRAME_RELAY, 1),
    209: LinkType("ipmb linux"),
    210: LinkType("flexray"),
    211: LinkType("most"),
    212: LinkType("lin"),
    215: LinkType("802.15.4 non-ask phy"),
    216: LinkType("linux evdev"),
    217: LinkType("gsmtap um"),
    218: LinkType("gsmtap abis"),
    219: LinkType("mpls", FOLLOWS, leads_to=r.LABELS_FOLLOW),
    220: LinkType("usb linux mmapped"),
    221: LinkType("dect"),
    224: LinkType("fibre channel"),
    225: LinkType("fibre channel with delimiters"),
    226: LinkType("solaris ipnet", FIRST_NIBBLE, 24, versions=_V4 | _V6),
    227: LinkType("can socketcan"),
    228: LinkType("ipv4", FIRST_NIBBLE, versions=_V4),
    229: LinkType("ipv6", FIRST_NIBBLE, versions=_V6),
    230: LinkType("802.15.4 without fcs"),
    231: LinkType("d-bus"),
    232: LinkType("juniper", JUNIPER),
    233: LinkType("juniper", JUNIPER),
    234: LinkType("juniper", JUNIPER),
    235: LinkType("dvb-ci"),
    236: LinkType("mux27010"),
    237: LinkType("stanag 5066"),
    238: LinkType("juniper", JUNIPER),
    239: LinkType("nflog", NFLOG, 4),
    240: LinkType("netanalyzer", FOLLOWS, 4, leads_to=r.FRAME_FOLLOWS),
    241: LinkType("netanalyzer transparent", FOLLOWS, 12, leads_to=r.FRAME_FOLLOWS),
    242: LinkType("ip over infiniband"),
    243: LinkType("mpeg-2 ts"),
    244: LinkType("ng40"),
    245: LinkType("nfc llcp"),
    246: LinkType("freebsd pfsync"),
    247: LinkType("infiniband"),
    248: LinkType("sctp"),
    249: LinkType("usbpcap"),
    250: LinkType("rtac serial"),
    251: LinkType("bluetooth le"),
    252: LinkType("wireshark upper pdu"),
    253: LinkType("netlink"),
    254: LinkType("bluetooth linux monitor"),
    255: LinkType("bluetooth br/edr"),
    256: LinkType("bluetooth le with header"),
    257: LinkType("profibus"),
    258: LinkType("pktap", PKTAP),
    259: LinkType("epon", FOLLOWS, 8, leads_to=r.FRAME_FOLLOWS),
    260: LinkType("ipmi"),
    261: LinkType("z-wave r1 r2"),
    262: LinkType("z-wave r3"),
    263: LinkType("wattstopper dlm"),
    264: LinkType("iso 14443"),
    265: LinkType("rds"),
    266: LinkType("usb darwin"),
    267: LinkType("openflow"),
    268: LinkType("sdlc"),
    269: LinkType("ti lln sniffer"),
    270: LinkType("loratap"),
    271: LinkType("vsock"),
    272: LinkType("nordic ble"),
    273: LinkType("docsis 3.1 xra-31"),
    274: LinkType("802.3br mpacket"),
    275: LinkType("displayport aux"),
    276: LinkType("linux sll2", ETHER_TYPE, 20, type_at=0, numbers=COOKED),
    277: LinkType("sercos monitor"),
    278: LinkType("openvizsla"),
    279: LinkType("ebhscr"),
    280: LinkType("vpp dispatch"),
    281: LinkType("dsa tag broadcom", ETHER_TYPE, 18, type_at=16, numbers=LENGTHS),
    282: LinkType("dsa tag broadcom prepended", FOLLOWS, 4, leads_to=r.FRAME_FOLLOWS),
    283: LinkType("802.15.4 tap"),
    284: LinkType("dsa tag", ETHER_TYPE, 18, type_at=16, numbers=LENGTHS),
    285: LinkType("dsa tag with ethertype", ETHER_TYPE, 14, type_at=12, numbers=LENGTHS),
    286: LinkType("elee"),
    287: LinkType("z-wave serial"),
    288: LinkType("usb 2.0"),
    289: LinkType("atsc alp"),
}
"""All that have a name; those that are not UNREAD are read."""


def is_read(linktype: int) -> bool:
    """Whether frames of a link type are looked into."""
    return linktype in LINK_TYPES and LINK_TYPES[linktype].how != UNREAD


def linktype_name(linktype: int) -> str:
    """The name of a link type; private and unknown ones by number."""
    if linktype >= SNOOP_OTHER:
        return f"snoop data link {linktype - SNOOP_OTHER}"
    if 147 <= linktype <= 162:
        return f"user {linktype - 147}"
    return LINK_TYPES[linktype].name if linktype in LINK_TYPES else str(linktype)
