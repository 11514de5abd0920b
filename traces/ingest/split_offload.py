"""Cuts super-frames of captures taken on hosts (TSO, GSO, GRO) into the frames that the wire carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.flows.tcp import DEFAULT_MTU, SUPER_FRAME
from segcast.traces.headers.ip import HAS_TCP, Headers
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import SYN

LINE_RATE_BPS: Final = 10 * 10**9
OVERHEAD_BYTES: Final = 24  # preamble, FCS and gap of an Ethernet frame
LEAST_MSS: Final = 64
MOST_BYTES: Final = 1 << 19  # no host hands over more at once (BIG TCP); what claims more is left whole
_RUN_ROWS: Final = 1 << 18
AUTO: Final = 0
_PSH_FIN: Final = 0x09
_CWR: Final = 0x80


class Pieces(NamedTuple):
    """Rows after cutting: the row each was made of, its number in the super-frame (from 1; 0: whole), its columns."""

    row: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint16]
    time_ns: npt.NDArray[np.int64]
    wire_bytes: npt.NDArray[np.uint32]
    captured_bytes: npt.NDArray[np.uint32]
    ip_bytes: npt.NDArray[np.uint32]
    payload_bytes: npt.NDArray[np.uint32]
    tcp_seq: npt.NDArray[np.uint32]
    tcp_flags: npt.NDArray[np.uint8]
    ip_id: npt.NDArray[np.uint32]


@kernel
def piece_sizes(
    headers: Headers,
    marks: npt.NDArray[np.uint8],
    limit_bytes: npt.NDArray[np.uint16],
    mss: int,
    size: npt.NDArray[np.int64],
) -> int:
    """Payload of each piece of the frames to cut, 0 for the others; rows there will be.

    `mss` AUTO cuts super-frames by the announced maximum segment size they exceed, else so that IP packets have 1500
    bytes; a number cuts every larger payload. TCP options come out of the maximum segment size (RFC 6691).
    """
    rows = 0
    for i in range(size.size):
        size[i] = 0
        rows += 1
        if headers.valid[i] & HAS_TCP == 0 or headers.tcp_flags[i] & SYN:
            continue
        payload = np.int64(headers.payload_bytes[i])
        most = np.int64(mss)
        if mss == AUTO:
            if marks[i] & SUPER_FRAME == 0:
                continue
            most = np.int64(limit_bytes[i])
        elif payload <= mss:
            continue
        head = np.int64(headers.ip_bytes[i]) - payload
        network = np.int64(headers.transport_start[i]) - np.int64(headers.ip_start[i])
        if most == 0:
            most = DEFAULT_MTU - network - 20
        piece = int64(max(most - (head - network - 20), 1))
        if piece < payload <= min(piece * 65535, MOST_BYTES):
            size[i] = piece
            rows += int64((payload - 1) // piece)
    return rows


@kernel
def cut(
    headers: Headers,
    time_ns: npt.NDArray[np.int64],
    wire: npt.NDArray[np.uint32],
    captured: npt.NDArray[np.uint32],
    size: npt.NDArray[np.int64],
    begin: int,
    stop: int,
    rate_bps: int,
    out: Pieces,
) -> None:
    """Write the rows of the frames from `begin` to `stop`.

    Sequence number and IPv4 identification advance, PSH and FIN stay on the last piece, CWR on the first; the
    first leaves at the frame's time, each later one when the wire has sent those before.
    """
    at = 0
    for i in range(begin, stop):
        payload = np.int64(headers.payload_bytes[i])
        pieces = (payload - 1) // size[i] + 1 if size[i] > 0 else 1
        whole = np.int64(wire[i])
        for k in range(pieces):
            mine = min(size[i], payload - k * size[i]) if size[i] > 0 else payload
            step = (whole - payload + size[i] + OVERHEAD_BYTES) * 8 * k
            flags = np.int64(headers.tcp_flags[i])
            if k < pieces - 1:
                flags &= ~_PSH_FIN
            if k > 0:
                flags &= ~_CWR
            out.row[at] = i
            out.split[at] = k + 1 if pieces > 1 else 0
            out.time_ns[at] = time_ns[i] + step * 1_000_000_000 // rate_bps
            out.wire_bytes[at] = whole - payload + mine if pieces > 1 else whole
            out.captured_bytes[at] = min(captured[i], out.wire_bytes[at]) if pieces > 1 else captured[i]
            out.ip_bytes[at] = np.int64(headers.ip_bytes[i]) - payload + mine
            out.payload_bytes[at] = mine
            out.tcp_seq[at] = (np.int64(headers.tcp_seq[i]) + k * size[i]) & 0xFFFFFFFF
            out.tcp_flags[at] = flags
            identity = np.int64(headers.ip_id[i])
            out.ip_id[at] = (identity + k) & 0xFFFF if headers.version[i] == 4 else identity
            at += 1


def sizes_of_pieces(
    headers: Headers, marks: npt.NDArray[np.uint8], limit_bytes: npt.NDArray[np.uint16], mss: int
) -> npt.NDArray[np.int64] | None:
    """What `piece_sizes` says of each frame, None if nothing is to be cut."""
    size = np.empty(len(headers.valid), np.int64)
    rows = piece_sizes(headers, marks, limit_bytes, mss, size)
    return None if rows == len(size) else size


def split_frames(
    headers: Headers, columns: dict[str, npt.NDArray[Any]], size: npt.NDArray[np.int64], rate_bps: int
) -> Iterator[Pieces]:
    """The rows after cutting, some _RUN_ROWS at a time: a frame of a few bytes can claim to be thousands on the wire.

    `columns` are those of the packets table so far; `size` as of `sizes_of_pieces`.
    """
    payload = headers.payload_bytes.astype(np.int64)
    upto = np.cumsum(np.where(size > 0, (payload - 1) // np.maximum(size, 1) + 1, 1))
    i8, u4 = np.int64, np.uint32
    begin = 0
    while begin < len(size):
        before = int(upto[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(upto, before + _RUN_ROWS, "right")))
        rows = int(upto[stop - 1]) - before
        out = Pieces._make(np.empty(rows, t) for t in (i8, np.uint16, i8, u4, u4, u4, u4, u4, np.uint8, u4))
        cut(
            headers,
            columns["time_ns"],
            columns["wire_bytes"],
            columns["captured_bytes"],
            size,
            begin,
            stop,
            rate_bps,
            out,
        )
        yield out
        begin = stop
