"""Programs at an interface in the manner of kernels before tcx: filters of a clsact qdisc.

Such filters belong to the interface, not to a process: they stay until somebody takes them off (see `guard`).
Everything is asked of the namespace that the calling thread is in. Layouts: linux/rtnetlink.h, linux/pkt_sched.h,
linux/pkt_cls.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, NamedTuple

from segcast.replay.steer.netlink import ask, attribute, attributes

_NEW_QDISC, _DELETE_QDISC, _GET_QDISC = 36, 37, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_EXCLUSIVE, _CREATE = 0x0200, 0x0400
_PLACE, _HANDLE = 0xFFFFFFF1, 0xFFFF0000
_HOOKS: Final = {"egress": 0xFFFFFFF3, "ingress": 0xFFFFFFF2}
_KIND, _OPTIONS = 1, 2
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # of a BPF filter's options
_DECIDES_ITSELF: Final = 1
_ALL_PROTOCOLS: Final = socket.htons(0x0003)
_PRIORITY: Final = 1
_MESSAGE: Final = "=BxxxiIII"  # struct tcmsg
_MESSAGE_BYTES: Final = struct.calcsize(_MESSAGE)


class Filter(NamedTuple):
    """A filter at a hook. `program_id` is 0 where it is none of BPF."""

    where: str
    program_id: int
    kind: str
    handle: int
    info: int  # priority and protocol


def has_qdisc(interface: int) -> bool:
    """Whether a clsact or ingress qdisc is at an interface: programs of this manner may be there."""
    for kind, body in ask(_GET_QDISC, _message(interface), dumps=True):
        if kind == _NEW_QDISC and struct.unpack_from("=i", body, 4)[0] == interface:
            of = dict(attributes(body[_MESSAGE_BYTES:]))
            if of.get(_KIND, b"").rstrip(b"\0") in (b"clsact", b"ingress"):
                return True
    return False


def add_qdisc(interface: int) -> None:
    """Put a clsact qdisc at an interface, by its index. Raises OSError: FileExistsError if there is one."""
    ask(_NEW_QDISC, _message(interface, _HANDLE, _PLACE) + attribute(_KIND, b"clsact\0"), flags=_EXCLUSIVE | _CREATE)


def add_filter(interface: int, where: str, program: int, name: str) -> None:
    """Attach a program, by its handle, to the hook `egress` or `ingress` of the interface's clsact qdisc."""
    options = (
        attribute(_FD, struct.pack("=I", program))
        + attribute(_NAME, name.encode() + b"\0")
        + attribute(_FLAGS, struct.pack("=I", _DECIDES_ITSELF))
    )
    body = _message(interface, 0, _HOOKS[where], _PRIORITY << 16 | _ALL_PROTOCOLS)
    ask(_NEW_FILTER, body + attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, options), flags=_EXCLUSIVE | _CREATE)


def filters(interface: int) -> list[Filter]:
    """All filters at an interface's hooks, in order; none without such a qdisc."""
    found = []
    for where, parent in _HOOKS.items():
        try:
            answers = ask(_GET_FILTER, _message(interface, 0, parent), dumps=True)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            answers = []
        for kind, body in answers:
            _, number, handle, of, info = struct.unpack_from(_MESSAGE, body)
            named = dict(attributes(body[_MESSAGE_BYTES:]))
            # A dump begins a priority with a row for all its filters, which has no options.
            if kind != _NEW_FILTER or number != interface or of != parent or _OPTIONS not in named:
                continue
            options = dict(attributes(named[_OPTIONS]))
            program = struct.unpack("=I", options[_ID])[0] if _ID in options else 0
            found.append(Filter(where, program, named[_KIND].rstrip(b"\0").decode(errors="replace"), handle, info))
    return found


def remove(interface: int, programs: frozenset[int] | set[int]) -> None:
    """Take off the filters of these programs, and the qdisc if nobody else has a filter in it.

    An interface that is gone, or has none, is left as it is.
    """
    others = False
    for each in filters(interface):
        if each.program_id not in programs:
            others = True
            continue
        body = _message(interface, each.handle, _HOOKS[each.where], each.info)
        _unless_gone(_DELETE_FILTER, body + attribute(_KIND, each.kind.encode() + b"\0"))
    if not others:
        _unless_gone(_DELETE_QDISC, _message(interface, _HANDLE, _PLACE))


def _unless_gone(kind: int, body: bytes) -> None:
    try:
        ask(kind, body)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise


def _message(interface: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    return struct.pack(_MESSAGE, socket.AF_UNSPEC, interface, handle, parent, info)
