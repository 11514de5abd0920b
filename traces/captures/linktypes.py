"""Link types, a row each: the name, and how frames begin where we read them.

The numbers are LINKTYPE_ values of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import Final, NamedTuple

UNREAD: Final = 0
ETHER_TYPE: Final = 1  # at a place in the header
GIVEN_TYPE: Final = 2  # the link type itself says what follows the header
FIRST_NIBBLE: Final = 3  # an IP header, whose version says which
FAMILY: Final = 4  # an address family of four bytes, big-endian
FAMILY_AS_CAPTURED: Final = 5  # the same in the order of the capturing host
PPP: Final = 6
HDLC: Final = 7  # PPP, or Cisco's by its addresses (RFC 1547 section 4.3.1)

_EITHER: Final = 1 << 4 | 1 << 6


class LinkType(NamedTuple):
    """How frames of a link type begin.

    `how` says what announces the payload; `header_bytes` come before that payload. `type_at` is where an EtherType
    lies, `kind` the EtherType that is given, `lengths` whether values up to 1500 are 802.3 lengths (IEEE 802.3 section
    3.2.6), `versions` the IP versions that may follow, as bits.
    """

    name: str
    how: int = UNREAD
    header_bytes: int = 0
    type_at: int = 0
    kind: int = 0
    lengths: bool = False
    versions: int = 0


LINK_TYPES: Final = {
    0: LinkType("null", FAMILY_AS_CAPTURED, 4),
    1: LinkType("ethernet", ETHER_TYPE, 14, type_at=12, lengths=True),
    2: LinkType("experimental ethernet"),
    3: LinkType("ax.25"),
    4: LinkType("pronet"),
    5: LinkType("chaos"),
    6: LinkType("802.5 token ring"),
    7: LinkType("arcnet"),
    8: LinkType("slip"),
    9: LinkType("ppp", PPP),
    10: LinkType("fddi"),
    12: LinkType("raw ip", FIRST_NIBBLE, versions=_EITHER),
    14: LinkType("raw ip", FIRST_NIBBLE, versions=_EITHER),
    50: LinkType("ppp hdlc", HDLC, 4, type_at=2),
    51: LinkType("pppoe", GIVEN_TYPE, kind=0x8864),
    99: LinkType("symantec firewall"),
    100: LinkType("atm rfc 1483"),
    101: LinkType("raw ip", FIRST_NIBBLE, versions=_EITHER),
    102: LinkType("bsd/os slip"),
    103: LinkType("bsd/os ppp"),
    104: LinkType("cisco hdlc", ETHER_TYPE, 4, type_at=2),
    105: LinkType("802.11"),
    106: LinkType("atm clip"),
    107: LinkType("frame relay"),
    108: LinkType("loop", FAMILY, 4),
    109: LinkType("openbsd enc"),
    113: LinkType("linux sll", ETHER_TYPE, 16, type_at=14),
    114: LinkType("localtalk"),
    117: LinkType("openbsd pflog"),
    118: LinkType("cisco ios"),
    119: LinkType("802.11 prism"),
    120: LinkType("802.11 aironet"),
    122: LinkType("ip over fibre channel"),
    123: LinkType("sunatm"),
    127: LinkType("802.11 radiotap"),
    128: LinkType("tzsp"),
    129: LinkType("arcnet linux"),
    138: LinkType("ip over ieee 1394"),
    139: LinkType("mtp2 with header"),
    140: LinkType("mtp2"),
    141: LinkType("mtp3"),
    142: LinkType("sccp"),
    143: LinkType("docsis"),
    144: LinkType("irda"),
    163: LinkType("802.11 avs"),
    165: LinkType("bacnet ms/tp"),
    166: LinkType("pppd", PPP, 2),  # a direction, in place of the address
    169: LinkType("gprs llc"),
    175: LinkType("erf ethernet"),
    176: LinkType("erf packet over sonet"),
    182: LinkType("multilink frame relay"),
    184: LinkType("arinc 429"),
    185: LinkType("arinc 653"),
    186: LinkType("usb freebsd"),
    187: LinkType("bluetooth hci h4"),
    188: LinkType("802.16"),
    189: LinkType("usb linux"),
    190: LinkType("can 2.0b"),
    191: LinkType("802.15.4 linux"),
    192: LinkType("ppi"),
    195: LinkType("802.15.4"),
    197: LinkType("erf"),
    199: LinkType("ipmb kontron"),
    201: LinkType("bluetooth hci h4 with header"),
    202: LinkType("ax.25 kiss"),
    203: LinkType("lapd"),
    204: LinkType("ppp with direction", PPP, 1),  # a direction, before the frame
    205: LinkType("cisco hdlc with direction"),
    206: LinkType("frame relay with direction"),
    209: LinkType("ipmb linux"),
    210: LinkType("flexray"),
    211: LinkType("most"),
    212: LinkType("lin"),
    215: LinkType("802.15.4 non-ask phy"),
    216: LinkType("linux evdev"),
    217: LinkType("gsmtap um"),
    218: LinkType("gsmtap abis"),
    219: LinkType("mpls", GIVEN_TYPE, kind=0x8847),
    220: LinkType("usb linux mmapped"),
    221: LinkType("dect"),
    224: LinkType("fibre channel"),
    225: LinkType("fibre channel with delimiters"),
    226: LinkType("solaris ipnet"),
    227: LinkType("can socketcan"),
    228: LinkType("ipv4", FIRST_NIBBLE, versions=1 << 4),
    229: LinkType("ipv6", FIRST_NIBBLE, versions=1 << 6),
    230: LinkType("802.15.4 without fcs"),
    231: LinkType("d-bus"),
    235: LinkType("dvb-ci"),
    236: LinkType("mux27010"),
    237: LinkType("stanag 5066"),
    239: LinkType("nflog"),
    240: LinkType("netanalyzer"),
    241: LinkType("netanalyzer transparent"),
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
    258: LinkType("pktap"),
    259: LinkType("epon"),
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
    276: LinkType("linux sll2", ETHER_TYPE, 20, type_at=0),
    277: LinkType("sercos monitor"),
    278: LinkType("openvizsla"),
    279: LinkType("ebhscr"),
    280: LinkType("vpp dispatch"),
    281: LinkType("dsa tag broadcom"),
    282: LinkType("dsa tag broadcom prepended"),
    283: LinkType("802.15.4 tap"),
    284: LinkType("dsa tag"),
    285: LinkType("dsa tag with ethertype"),
    286: LinkType("elee"),
    287: LinkType("z-wave serial"),
    288: LinkType("usb 2.0"),
    289: LinkType("atsc alp"),
}
"""All that have a name; those that are not UNREAD are read."""


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


def is_read(linktype: int) -> bool:
    """Whether frames of a link type are looked into."""
    return linktype in LINK_TYPES and LINK_TYPES[linktype].how != UNREAD


def linktype_name(linktype: int) -> str:
    """The name of a link type; private and unknown ones by number."""
    if linktype >= SNOOP_OTHER:
        return f"snoop data link {linktype - SNOOP_OTHER}"
    if 147 <= linktype <= 162:
        return f"user {linktype - 147}"
    if linktype in _JUNIPER:
        return "juniper"
    return LINK_TYPES[linktype].name if linktype in LINK_TYPES else str(linktype)


_JUNIPER: Final = {*range(130, 138), 164, 167, 168, 174, *range(178, 182), 183, 194, 200, 232, 233, 234, 238}
