"""TCP packets as pcap records of Ethernet frames: headers alone, with lengths and checksums of whole packets."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.export.segments import Segments
from segcast.traces.protocols import TCP

_RECORD, _ETHERNET, _TCP, _OPTIONS = 16, 14, 20, 40
_NANOSECONDS: Final = 10**9
_WINDOW: Final = 65_535
_HOPS: Final = 64
_NO_OPERATION: Final = 1


class Ends(NamedTuple):
    """Both ends of flows, by flow: `words` uint64[flows, 5] as `FlowPlan` has them, `six` bool: of IPv6, `host`
    int64[flows, 2]: numbers of the hosts, of which MAC addresses are made.
    """

    words: NDArray[np.uint64]
    six: NDArray[np.bool_]
    host: NDArray[np.int64]


def records_of(segments: Segments, ends: Ends, rows: slice, begin_ns: int) -> tuple[bytes, int]:
    """The records of these packets, whose times count from `begin_ns`, and how many have another IP length.

    That is so if the model's headers are too small for IPv6, or hold more options than TCP does.
    """
    part = Segments._make(column[rows] for column in segments)
    six = ends.six[part.flow]
    ip_header = np.where(six, 40, 20)
    options = np.clip(part.ip_bytes - part.payload_bytes - ip_header - _TCP, 0, _OPTIONS) // 4 * 4
    kept = _RECORD + _ETHERNET + ip_header + _TCP + options
    offset = np.concatenate([[0], np.cumsum(kept)])
    out = np.zeros(int(offset[-1]), np.uint8)
    for version in (False, True):
        for size in np.unique(options[six == version]).tolist():
            chosen = np.flatnonzero((six == version) & (options == size))
            block = _block(Segments._make(column[chosen] for column in part), ends, version, size, begin_ns)
            out[offset[chosen][:, None] + np.arange(block.shape[1])] = block
    ip_bytes = ip_header + _TCP + options + part.payload_bytes
    return out.tobytes(), int((ip_bytes != part.ip_bytes).sum())


def _block(part: Segments, ends: Ends, six: bool, options: int, begin_ns: int) -> NDArray[np.uint8]:
    """Records of packets with the same headers, uint8[n, bytes]."""
    header = 40 if six else 20
    segment = _TCP + options + part.payload_bytes
    out = np.zeros((len(part.flow), _RECORD + _ETHERNET + header + _TCP + options), np.uint8)
    words, host = ends.words[part.flow], ends.host[part.flow]
    time_ns = part.send_ns + begin_ns
    kept = np.full(len(out), out.shape[1] - _RECORD)
    fields = (time_ns // _NANOSECONDS, time_ns % _NANOSECONDS, kept, _ETHERNET + header + segment)
    for place, values in enumerate(fields):
        out[:, 4 * place : 4 * place + 4] = values.astype("<u4")[:, None].view(np.uint8)

    frame = out[:, _RECORD:]
    for at, end in ((0, 1), (6, 0)):
        frame[:, at] = 2  # locally administered
        _put(frame, at + 2, host[:, end], 4)
    ip = frame[:, _ETHERNET:]
    addresses = (words[:, 0], words[:, 1], words[:, 2], words[:, 3])
    if six:
        _put(frame, 12, 0x86DD, 2)
        ip[:, 0] = 0x60
        _put(ip, 4, segment, 2)
        ip[:, 6], ip[:, 7] = TCP, _HOPS
        for place, word in enumerate(addresses):
            _put(ip, 8 + 8 * place, word, 8)
    else:
        _put(frame, 12, 0x0800, 2)
        ip[:, 0] = 0x45
        _put(ip, 2, header + segment, 2)
        _put(ip, 4, part.turn & 0xFFFF, 2)
        ip[:, 6] = 0x40  # not to be fragmented
        ip[:, 8], ip[:, 9] = _HOPS, TCP
        for at, word in ((12, addresses[1]), (16, addresses[3])):
            _put(ip, at, word, 4)
        _put(ip, 10, _checksum(_sum(ip[:, :header])), 2)

    tcp = ip[:, header:]
    ports = words[:, 4]
    _put(tcp, 0, ports & np.uint64(0xFFFF_FFFF), 4)
    _put(tcp, 4, part.seq, 4)
    _put(tcp, 8, part.ack, 4)
    tcp[:, 12] = (_TCP + options) // 4 << 4
    tcp[:, 13] = part.flags
    _put(tcp, 14, _WINDOW, 2)
    tcp[:, _TCP:] = _NO_OPERATION
    # The payload is zeros, which add nothing.
    ends_of_ip = ip[:, 8:40] if six else ip[:, 12:20]
    _put(tcp, 16, _checksum(_sum(tcp) + _sum(ends_of_ip) + TCP + (segment & 0xFFFF) + (segment >> 16)), 2)
    return out


def _put(
    rows: NDArray[np.uint8], at: int, value: int | NDArray[np.unsignedinteger | np.signedinteger], size: int
) -> None:
    """Write numbers into `rows[:, at : at + size]`, the highest byte first."""
    values = np.broadcast_to(np.asarray(value, np.uint64), len(rows))
    for place in range(size):
        rows[:, at + place] = (values >> np.uint64(8 * (size - 1 - place))).astype(np.uint8)


def _sum(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The sums of 16-bit words, of an even number of bytes a row."""
    sums: NDArray[np.int64] = rows[:, 0::2].sum(axis=1, dtype=np.int64) * 256 + rows[:, 1::2].sum(
        axis=1, dtype=np.int64
    )
    return sums


def _checksum(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Internet checksum (RFC 1071) of these sums."""
    folded = (sums & 0xFFFF) + (sums >> 16)
    folded = (folded & 0xFFFF) + (folded >> 16)
    return folded ^ 0xFFFF
