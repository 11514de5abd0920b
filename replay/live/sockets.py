"""The sockets of a plan's connections, made before any flow starts, each where its host is."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from segcast.replay.live.plan import Connection, End
from segcast.traces.errors import InputError

T = TypeVar("T")

Within = Callable[[int, Callable[[], T]], T]
"""Does something where the hosts of an attachment are, given by number: in a namespace of their own, or right here."""

_BACKLOG: Final = 4096
_SPARE_FILES: Final = 256


class Options(NamedTuple):
    """How connections are set: congestion control, and the payload of a full segment with the options it carries."""

    control: str = "cubic"
    segment_bytes: int = 1460


class Sockets(NamedTuple):
    """Of each connection the socket that will open it; and those that listen for them."""

    clients: list[socket.socket]
    listeners: list[socket.socket]

    def close(self) -> None:
        """Close them all; what a connection has not sent yet is given up."""
        for each in (*self.clients, *self.listeners):
            abandon(each)


def make_sockets(connections: Sequence[Connection], options: Options, within: Within[list[socket.socket]]) -> Sockets:
    """Bind and set all sockets. Raises InputError for a control that the kernel lacks, OSError for what it refuses."""
    _allow_files(2 * len(connections) + _SPARE_FILES)
    clients: dict[int, socket.socket] = {}
    listeners: list[socket.socket] = []
    made: list[socket.socket] = []
    try:
        for place in sorted({place for connection in connections for place in connection.places}):
            mine = [number for number, each in enumerate(connections) if each.places[0] == place]
            ends = [connections[number].ends[0] for number in mine]

            def opening(ends: Sequence[End] = ends) -> list[socket.socket]:
                return [_bound(end, options, made) for end in ends]

            clients |= dict(zip(mine, within(place, opening), strict=True))
            served = sorted({each.ends[1] for each in connections if each.places[1] == place})

            def serving(ends: Sequence[End] = served) -> list[socket.socket]:
                found = [_bound(end, options, made) for end in ends]
                for each in found:
                    each.listen(_BACKLOG)
                return found

            listeners += within(place, serving)
    except BaseException:
        for each in made:
            each.close()
        raise
    return Sockets([clients[number] for number in range(len(connections))], listeners)


def abandon(connection: socket.socket) -> None:
    """Close a connection at once: with a reset, without waiting for what was not acknowledged."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _bound(end: End, options: Options, made: list[socket.socket]) -> socket.socket:
    family = socket.AF_INET6 if ":" in end[0] else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.append(found)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.control.encode())
    except OSError as error:
        raise InputError(
            f"congestion control {options.control}: the kernel refuses it ({error.strerror}); it has "
            f"{_controls()}, and root may use them all"
        ) from None
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, options.segment_bytes)
    # A message's last segment leaves at once, as a transport's does that knows where messages end.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.bind(end)
    return found


def _controls() -> str:
    try:
        return ", ".join(Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split())
    except OSError:
        return "others"


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if most < wanted:
            raise InputError(f"{wanted} open files are needed, and {hard} are the most allowed here: raise ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
