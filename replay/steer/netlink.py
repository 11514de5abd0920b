"""Requests of rtnetlink(7), in the namespace that the calling thread is in."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_REQUEST, _ACKNOWLEDGE, _DUMP = 0x0001, 0x0004, 0x0300
_ERROR, _DONE = 2, 3
_HEADER_BYTES: Final = 16
_MOST_BYTES: Final = 1 << 17
_PATIENCE_S: Final = 5.0


def ask(kind: int, body: bytes, flags: int = 0, *, dumps: bool = False) -> list[tuple[int, bytes]]:
    """Send one request, with `dumps` one for all of a kind; the answers, each its kind and body.

    Raises OSError if the kernel refuses.
    """
    answers: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as wire:
        wire.bind((0, 0))
        wire.settimeout(_PATIENCE_S)
        flags |= _REQUEST | (_DUMP if dumps else _ACKNOWLEDGE)
        wire.send(struct.pack("=IHHII", _HEADER_BYTES + len(body), kind, flags, 1, 0) + body)
        while True:
            answer = wire.recv(_MOST_BYTES)
            while len(answer) >= _HEADER_BYTES:
                size, found = struct.unpack_from("=IH", answer)
                if found == _DONE:
                    return answers
                if found == _ERROR:
                    code = -int(struct.unpack_from("=i", answer, _HEADER_BYTES)[0])
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                answers.append((found, answer[_HEADER_BYTES:size]))
                answer = answer[_aligned(size) :]


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a request."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(_aligned(len(value)) - len(value))


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of an answer, each its kind, without the mark of nested ones, and value."""
    while len(body) >= 4:
        size, kind = struct.unpack_from("=HH", body)
        yield kind & 0x3FFF, body[4:size]
        body = body[_aligned(max(size, 4)) :]


def _aligned(size: int) -> int:
    return size + 3 & ~3
