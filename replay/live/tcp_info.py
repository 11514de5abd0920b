"""What the kernel says of a TCP connection and of all TCP of a namespace.

Layouts: struct tcp_info of linux/tcp.h, as of Linux 6.7 (shorter ones of older kernels lack its last fields); the
table of names and values in /proc/net/netstat.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

_TCP_INFO: Final = 11
_ROOM: Final = 512
_TOTAL_RETRANS: Final = 100
_DSACKS: Final = 216
_TIMEOUTS: Final = 240
_FIELDS: Final = (
    *((8, "I", name) for name in ("rto", "ato", "snd_mss", "rcv_mss")),
    *((24, "I", name) for name in ("unacked", "sacked", "lost", "retrans")),
    *((60, "I", name) for name in ("pmtu", "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd")),
    *((92, "I", name) for name in ("rcv_rtt", "rcv_space", "total_retrans")),
    *((120, "Q", name) for name in ("bytes_acked", "bytes_received")),
    *(
        (136, "I", name)
        for name in ("segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out")
    ),
    *((160, "Q", name) for name in ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
    *((200, "Q", name) for name in ("bytes_sent", "bytes_retrans")),
    *((216, "I", name) for name in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd", "rcv_wnd")),
    *((240, "H", name) for name in ("total_rto", "total_rto_recoveries")),
)


class Sent(NamedTuple):
    """What an end of a connection has sent again so far: segments (SYNs, too), how many the other end says were
    needless, and after how many timeouts.
    """

    again: int
    needless: int
    timeouts: int


NOTHING_SENT: Final = Sent(0, 0, 0)


def sent_so_far(connection: socket.socket) -> Sent:
    """What this end has sent again until now."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ROOM).ljust(_ROOM, b"\0")
    (again,) = struct.unpack_from("=I", raw, _TOTAL_RETRANS)
    (needless,) = struct.unpack_from("=I", raw, _DSACKS)
    (timeouts,) = struct.unpack_from("=H", raw, _TIMEOUTS)
    return Sent(again, needless, timeouts)


def tcp_info(connection: socket.socket) -> dict[str, int]:
    """Fields of TCP_INFO by name; 0 for what this kernel does not tell."""
    return fields_of(connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ROOM))


def fields_of(raw: bytes) -> dict[str, int]:
    """The fields of a tcp_info as the kernel wrote it."""
    raw = raw.ljust(_ROOM, b"\0")
    found: dict[str, int] = {}
    at, before = 0, -1
    for begin, kind, name in _FIELDS:
        at = begin if begin != before else at
        before = begin
        (found[name],) = struct.unpack_from(f"={kind}", raw, at)
        at += struct.calcsize(f"={kind}")
    return found


def tcp_counters() -> dict[str, int]:
    """Counters of all TCP in the namespace that the calling thread is in, such as TCPTimeouts, since it was made."""
    found: dict[str, int] = {}
    for line, values in _pairs(Path("/proc/thread-self/net/netstat").read_text()):
        if line[0] == "TcpExt:":
            found |= {name: int(value) for name, value in zip(line[1:], values[1:], strict=True)}
    return found


def _pairs(text: str) -> list[tuple[list[str], list[str]]]:
    lines = [line.split() for line in text.splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))
