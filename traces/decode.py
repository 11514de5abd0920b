"""Decodes a batch of frames to header columns: finds each IP header, then reads it and the transport header."""

from __future__ import annotations

import numpy as np

from traces import ip, link
from traces.capture import FrameBatch
from traces.ip import HAS_FRAGMENT, HAS_ID, HAS_IP, HAS_PAYLOAD, HAS_PORTS, HAS_TCP, Headers
from traces.link import REASONS
from traces.rare import locate_rare

__all__ = [
    "HAS_FRAGMENT",
    "HAS_ID",
    "HAS_IP",
    "HAS_PAYLOAD",
    "HAS_PORTS",
    "HAS_TCP",
    "REASONS",
    "Headers",
    "allocate",
    "decode_batch",
]


def allocate(rows: int) -> Headers:
    """Columns for at most `rows` frames, to be handed to `decode_batch` again and again."""
    return ip.allocate(rows)


def decode_batch(batch: FrameBatch, into: Headers | None = None) -> Headers:
    """The headers of a batch's frames, row by row: the outermost IP header and what it carries.

    VLAN tags, MPLS labels, SNAP and PPPoE are looked through. `into` (at least as many rows as frames) is overwritten,
    and the result is a view of it; without it columns are allocated. Never raises on a frame's bytes.
    """
    frames = len(batch.start)
    if into is None:
        into = ip.allocate(frames)
    out = into if len(into.valid) == frames else Headers._make(column[:frames] for column in into)
    rare = link.locate(batch.data, batch.start, batch.captured, batch.linktype, out.ip_start, out.version, out.reason)
    if rare:
        for row in np.flatnonzero(out.reason >= link.RARE_LLC):
            begin = int(batch.start[row])
            frame = batch.data[begin : begin + int(batch.captured[row])].tobytes()
            found = locate_rare(frame, int(out.ip_start[row]), int(out.reason[row]))
            out.ip_start[row], out.version[row], out.reason[row] = found
    ip.decode_ip(batch.data, batch.start, batch.captured, batch.wire, out)
    return out
