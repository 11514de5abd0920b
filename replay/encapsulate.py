"""The copying kernel: captured packets in; pcap records of Ethernet, outer headers and padded packet out."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.srv6 import Templates
from traces.jit import kernel

RECORD_BYTES: Final = 16  # header of a pcap record

_SECOND: Final = 1_000_000_000


class Packets(NamedTuple):
    """The packets of one chunk, in the order they stand in the output; every array has one entry for each.

    `source` int64: index in the capture buffer of the first byte of the IP header; `kept` int64: bytes of the
    packet that were captured; `total` int64: `ip_bytes`, at least `kept`. `family` int64: 0 for IPv4, 1 for
    IPv6. `path`, `host` int64: rows of the templates. `label` int64: 20-bit flow label. `send_ns` int64: UTC
    epoch. `record` int64: index in the output buffer of the record; `inner` int64: of the packet within it.
    """

    source: NDArray[np.int64]
    kept: NDArray[np.int64]
    total: NDArray[np.int64]
    family: NDArray[np.int64]
    path: NDArray[np.int64]
    host: NDArray[np.int64]
    label: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    record: NDArray[np.int64]
    inner: NDArray[np.int64]


@kernel
def encapsulate(data: NDArray[np.uint8], packets: Packets, headers: Templates, out: NDArray[np.uint8]) -> None:
    """Write each packet's record into `out`, uint8; every byte of a record is written.

    `data` uint8: the capture buffer. The record is a pcap header (nanoseconds, little-endian), the Ethernet
    header, the template of the packet's path and family with traffic class, flow label, payload length and
    source filled in, the captured bytes of the packet, and zeros up to its length. Traffic class, ECN
    included, is the inner header's (RFC 2983 section 3, RFC 6040 section 4.1 normal mode). The packet itself
    is mended afterwards (`replay.mend`).
    """
    for i in range(len(packets.source)):
        family = packets.family[i]
        path = packets.path[i]
        outer_bytes = headers.header_bytes[family, path]
        total = packets.total[i]
        source = packets.source[i]
        at = packets.record[i]
        length = 14 + outer_bytes + total
        seconds = packets.send_ns[i] // _SECOND
        rest = packets.send_ns[i] - seconds * _SECOND
        for k in range(4):
            out[at + k] = (seconds >> 8 * k) & 255
            out[at + 4 + k] = (rest >> 8 * k) & 255
            out[at + 8 + k] = (length >> 8 * k) & 255
            out[at + 12 + k] = (length >> 8 * k) & 255
        at += 16
        for k in range(14):
            out[at + k] = headers.ethernet[k]
        if outer_bytes == 0 and family == 0:
            out[at + 12] = 0x08
            out[at + 13] = 0x00
        at += 14
        if outer_bytes > 0:
            for k in range(outer_bytes):
                out[at + k] = headers.headers[family, path, k]
            if family == 0:
                traffic_class = np.int64(data[source + 1])
            else:
                traffic_class = (np.int64(data[source]) & 15) << 4 | np.int64(data[source + 1]) >> 4
            label = packets.label[i]
            out[at] = 0x60 | traffic_class >> 4
            out[at + 1] = (traffic_class & 15) << 4 | label >> 16
            out[at + 2] = (label >> 8) & 255
            out[at + 3] = label & 255
            payload = outer_bytes - 40 + total
            out[at + 4] = payload >> 8
            out[at + 5] = payload & 255
            for k in range(16):
                out[at + 8 + k] = headers.sources[packets.host[i], k]
            at += outer_bytes
        kept = packets.kept[i]
        out[at : at + kept] = data[source : source + kept]
        out[at + kept : at + total] = 0
