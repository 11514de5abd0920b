"""The table of capture formats: those that are read, and the names of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from segcast.traces.captures.formats import erf, pcap, pcapng, snoop
from segcast.traces.captures.formats.flat import Flat, Need
from segcast.traces.captures.formats.pcapng import Section

FORMATS: Final[dict[str, Callable[[Need], Flat | Section | None]]] = {
    "pcap": pcap.recognise,
    "pcapng": pcapng.recognise,
    "snoop": snoop.recognise,
    "erf": erf.recognise,
}
"""How the beginning of a capture is recognised, by the format's name; the first that fits is taken.

ERF has no magic number, so it comes last, and is not what begins with that of another format.
"""

_OTHERS: Final[dict[bytes, str]] = {
    b"\x02\x21\x4c\x18": "lz4-compressed in the legacy format; decompress it first: lz4 -dc FILE | segcast ingest -",
    b"PK\x03\x04": "a zip archive; unpack it and name the captures in it",
    b"PAR1": "a Parquet file, not a capture; name the trace folder it belongs to",
    b"\xd4\xc3\xb2\xa1\0\0": "a pcap cut off within its header",
}
_CONVERTED: Final[dict[bytes, str]] = {
    b"snoop\0\0\0": "a snoop capture of another version than 2, or cut off",
    b"RTSS": "a NetMon capture",
    b"GMBU": "a NetMon capture",
    b"TRSNIFF data    \x1a": "a Sniffer capture (DOS)",
    b"XCP\0": "a Sniffer capture (Windows, NetXRay)",
    b"VL\0\0": "a Sniffer capture (Windows, NetXRay)",
    b"\xaa\xaa\xaa\xaa": "a 5Views capture",
    b"\x01\x10\x4c\0": "a LANalyzer capture",
    b"\x07\x10\x4c\0": "a LANalyzer capture",
    b" COMMUNICATIONS TRACE": "an iSeries communications trace",
    b"\xff\xfe\x20\0\x43\0": "an iSeries communications trace",
    b"btsnoop\0": "a Bluetooth capture (BTSnoop)",
    b"ObserverPktBuffe": "a capture of Network Instruments Observer",
    b"\x7fver": "an EtherPeek or OmniPeek capture",
    b"\x05VNF": "a Visual Networks capture",
    b"\0\0\x02\0\x12\x05\0\x10": "a Tektronix K12 capture",
    b"\x42\xd2\0\x34\x12\x66\x22\x88": "a RADCOM capture",
    b"EyeSDN": "an EyeSDN capture",
    b"\0\0\0\x01\0\0\0\0\0\x07\xd0\0": "an HP-UX nettl trace",
    b"TR\0\x64\0": "an HP-UX nettl trace",
    b"\xac\x01\0\x1c": "an Ixia capture (lcap)",
    b"\xab\x01\0\x1c": "an Ixia capture (lcap)",
    b"\x1c\0\x01\xac": "an Ixia capture (lcap)",
    b"\x1c\0\x01\xab": "an Ixia capture (lcap)",
    b"MPCSII": "a Micropross capture",
    b"Session Transcript": "a Catapult DCT2000 log",
    b"ETHERWATCH ": "a DBS Etherwatch trace",
}
"""What Wireshark reads and we do not, by how it begins."""

_MAGICS: Final = (pcapng.MAGIC, *_OTHERS, *_CONVERTED)


def recognise(need: Need) -> Flat | Section | None:
    """The capture that begins where `need` gives bytes, or None."""
    for name, begins in FORMATS.items():
        if name == "erf" and need(max(map(len, _MAGICS))).startswith(_MAGICS):
            return None
        found = begins(need)
        if found is not None:
            return found
    return None


def what_is_it(head: bytes) -> str:
    """For an error: what a file that is no capture seems to be, and how to mend it."""
    if not head:
        return "empty; record it again or check the copy"
    for magic, text in _OTHERS.items():
        if head.startswith(magic):
            return text
    for magic, text in _CONVERTED.items():
        if head.startswith(magic):
            return f"{text}, which is not read; convert it with: editcap -F pcapng CAPTURE OUT.pcapng"
    if pcap.recognise(lambda count: head.ljust(count, b"\0")) or head.startswith(pcapng.MAGIC):
        return "a capture cut off within its header; check the copy"
    return "not a capture; a pcap, pcapng, snoop or ERF file is needed, perhaps compressed"
