"""The table of capture formats: those that are read, and the names of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from segcast.traces.captures.formats import pcap, pcapng, snoop
from segcast.traces.captures.formats.flat import Flat, Need
from segcast.traces.captures.formats.pcapng import Section

FORMATS: Final[dict[str, Callable[[Need], Flat | Section | None]]] = {
    "pcap": pcap.recognise,
    "pcapng": pcapng.recognise,
    "snoop": snoop.recognise,
}
"""How the beginning of a capture is recognised, by the format's name; the first that fits is taken."""

_OTHERS: Final[dict[bytes, str]] = {
    b"\x02\x21\x4c\x18": "lz4-compressed in the legacy format; decompress it first: lz4 -dc FILE | segcast ingest -",
    b"snoop\0\0\0": "a snoop capture of another version than 2, or cut off; convert it with: editcap -F pcapng",
    b"PK\x03\x04": "a zip archive; unpack it and name the captures in it",
    b"PAR1": "a Parquet file, not a capture; name the trace folder it belongs to",
    b"RTSS": "a NetMon capture; convert it with: editcap -F pcapng",
    b"GMBU": "a NetMon capture; convert it with: editcap -F pcapng",
    b"\xd4\xc3\xb2\xa1\0\0": "a pcap cut off within its header",
}


def recognise(need: Need) -> Flat | Section | None:
    """The capture that begins where `need` gives bytes, or None."""
    for begins in FORMATS.values():
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
    if pcap.recognise(lambda count: head.ljust(count, b"\0")) or head.startswith(b"\x0a\x0d\x0d\x0a"):
        return "a capture cut off within its header; check the copy"
    return "not a capture; a pcap, pcapng or snoop file is needed, perhaps compressed"
