"""Writes tunnels' packets, byte for byte as their documents say: (IP protocol, payload)."""

from __future__ import annotations

import struct

from tests.twins.writing import gre, udp

Payload = tuple[int, bytes]
BACK = 40_000  # a port of the other side


def vxlan_gpe(carried: bytes, following: int, flags: int = 0x0C) -> Payload:
    """VXLAN with a next protocol."""
    return 17, udp(BACK, 4790, payload=bytes([flags, 0, 0, following, 0, 0, 7, 0]) + carried)


def nsh(carried: bytes, following: int, words: int = 6, version: int = 0) -> bytes:
    """A network service header of `words` words in all."""
    return struct.pack(">HBB", version << 14 | 63 << 6 | words, 1, following) + bytes(4 * words - 4) + carried


def gre_in_udp(carried: bytes, kind: int) -> Payload:
    """RFC 8086."""
    return 17, udp(BACK, 4754, payload=gre(carried, kind))


def wccp(carried: bytes, version: int) -> Payload:
    """A redirected packet, in version 2 behind a header of four bytes."""
    return 47, gre((b"\0\1\0\0" if version == 2 else b"") + carried, 0x883E)


def aruba(frame: bytes, kind: int = 0x8200) -> Payload:
    """An 802.11 frame in GRE."""
    return 47, gre(frame, kind)


def capwap(
    frame: bytes,
    *,
    native: bool,
    words: int = 2,
    binding: int = 1,
    offset: int = -1,
    alive: bool = False,
    first: int = 0,
) -> Payload:
    """RFC 5415; `offset` makes it a fragment, `first` is the preamble."""
    flags = (native << 8) | ((offset >= 0) << 7) | (alive << 3)
    head = struct.pack(">IHH", first << 24 | words << 19 | binding << 9 | flags, 7, max(offset, 0) << 3)
    return 17, udp(BACK, 5247, payload=head + bytes(4 * words - 8) + frame)


def teredo(carried: bytes, *, origin: bool, authentication: int = -1, answering: bool = False) -> Payload:
    """RFC 4380; `authentication` is how long its value is, if there is one."""
    signed = b"" if authentication < 0 else bytes([0, 1, 0, authentication]) + bytes(authentication + 9)
    ports = (3544, BACK) if answering else (BACK, 3544)
    return 17, udp(*ports, payload=signed + (bytes(2) + b"\xaa" * 6 if origin else b"") + carried)


def ayiya(carried: bytes, protocol: int, identity: int = 4, signature: int = 5, operation: int = 1) -> Payload:
    """An identity of 2**`identity` bytes, a signature of `signature` words."""
    head = bytes([identity << 4 | 1, signature << 4 | 2, 1 << 4 | operation, protocol]) + bytes(4)
    return 17, udp(BACK, 5072, payload=head + bytes(2**identity + 4 * signature) + carried)


def gtp_0(carried: bytes, flags: int = 0x1E, message: int = 255) -> Payload:
    """GTP of version 0."""
    return 17, udp(3386, 3386, payload=struct.pack(">BBH", flags, message, len(carried)) + bytes(16) + carried)


def gue(carried: bytes, protocol: int, words: int = 0, first: int = 0) -> Payload:
    """A header with `words` words of options; `first` is ORed to its first byte."""
    return 17, udp(BACK, 6080, payload=bytes([first | words, protocol, 0, 0]) + bytes(4 * words) + carried)


def l2tp(frame: bytes, flags: int = 2, offset: int = 0) -> Payload:
    """A message with the fields that `flags` announce."""
    optional = bytes(2) if flags & 0x4000 else b""
    optional += bytes(4)
    optional += bytes(4) if flags & 0x0800 else b""
    optional += offset.to_bytes(2, "big") + bytes(offset) if flags & 0x0200 else b""
    return 17, udp(1701, 1701, payload=flags.to_bytes(2, "big") + optional + frame)


def lisp(carried: bytes) -> Payload:
    """RFC 9300."""
    return 17, udp(BACK, 4341, payload=bytes([0x80]) + bytes(7) + carried)


def etherip(frame: bytes, version: int = 3) -> Payload:
    """RFC 3378."""
    return 97, bytes([version << 4, 0]) + frame


def pim_register(carried: bytes, kind: int = 1) -> Payload:
    """RFC 7761."""
    return 103, bytes([0x20 | kind]) + bytes(7) + carried
