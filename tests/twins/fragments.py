"""Gives later fragments the flow of their first, by a dictionary; and what a trace keeps of every frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from tests.twins.captures import Record, read_all
from tests.twins.decode import NOT_IP, Decoded, Layer, layers
from tests.twins.merging import merge

DATAGRAMS = 16_384
LIFETIME_NS = 30 * 10**9
IDENTITY = ("ip_version", "protocol", "src", "dst", "src_port", "dst_port", "tenant")

Key = tuple[object, ...]


class Firsts:
    """The first fragments seen of late: when, and what their flow is."""

    def __init__(self, most: int = DATAGRAMS) -> None:
        self.most = most
        self.known: dict[Key, tuple[int, bool, dict[str, object]]] = {}  # in the order in which keys first came
        self.without_first = 0

    def take(self, time_ns: int, found: Sequence[Layer]) -> Decoded:
        """The columns of the last of a frame's layers; those of its flow are its first fragment's, if that is known."""
        if not found:
            return NOT_IP
        columns = found[-1].columns
        if columns.fragment_offset:
            then, carried, identity = self.known.get(key_of(found[-1]), (None, False, {}))
            if then is not None and abs(time_ns - then) <= LIFETIME_NS:
                columns = dataclasses.replace(columns, **identity)
                if carried:  # its bytes are the rest of a packet, whose payload was counted
                    columns = dataclasses.replace(columns, ip_bytes=columns.payload_bytes, payload_bytes=0)
            else:
                self.without_first += 1
        identity = {name: getattr(columns, name) for name in IDENTITY}
        for layer in (found[-1], *found[:-1]):
            if layer.columns.fragment_offset == 0:
                key = key_of(layer)
                if key not in self.known and len(self.known) == self.most:
                    del self.known[next(iter(self.known))]
                self.known[key] = (time_ns, layer is not found[-1], identity)
        return columns


def key_of(layer: Layer) -> Key:
    """What a datagram's fragments share: RFC 791 section 3.2, RFC 8200 section 4.5."""
    c = layer.columns
    return c.tenant, c.ip_version, c.src, c.dst, c.ip_id, layer.packet[9] if c.ip_version == 4 else None


def decode_trace(captures: Sequence[bytes], *, inner: bool = False) -> Iterator[tuple[int, Record, Decoded]]:
    """(file, record, columns) of a trace's frames, merged by time, up to any damage; fragments find their firsts."""
    firsts = Firsts()
    for file, record in merge([read_all(data)[0] for data in captures]):
        found = layers(record.link_type, record.frame, record.wire_bytes, inner=inner)
        yield file, record, firsts.take(record.time_ns or 0, found)
