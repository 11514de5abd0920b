"""The system call bpf(2): maps, programs, links, and running a program on a made-up packet.

Layouts: union bpf_attr of linux/bpf.h. Handles are file descriptors, closed by their owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from segcast.traces.errors import InputError

TCX_INGRESS: Final = 46
TCX_EGRESS: Final = 47
ARRAY: Final = 2
LPM_TRIE: Final = 11

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY = 0, 2, 3, 4
_PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_TEST_RUN, _PROG_QUERY, _LINK_CREATE = 5, 6, 7, 10, 16, 28
_PROG_BY_ID, _INFO_BY_FD = 13, 15
_INFO_BYTES, _INFO_NAME = 232, 64  # struct bpf_prog_info
_SCHED_CLS: Final = 3
_LOG_BYTES: Final = 1 << 20
_SKB_BYTES: Final = 192  # struct __sk_buff
_SKB_TSTAMP, _SKB_GSO_SEGS, _SKB_GSO_SIZE = 152, 164, 176
_MOST_PROGRAMS: Final = 64
_ATTR_BYTES: Final = 160

_libc = ctypes.CDLL(None, use_errno=True)


class Ran(NamedTuple):
    """What a program made of a packet: what it returned, the packet as it is now, and how long it took."""

    returned: int
    packet: bytes
    duration_ns: int


def call(command: int, attributes: bytes | bytearray | ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2). Raises OSError, or InputError where this kind of machine is not known."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise InputError(f"steering: the number of bpf(2) on {platform.machine()} is not known here")
    held = (
        attributes
        if isinstance(attributes, ctypes.Array)
        else ctypes.create_string_buffer(bytes(attributes), max(len(attributes), _ATTR_BYTES))
    )
    found = int(_libc.syscall(number, command, held, len(held)))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def create_map(kind: int, key_bytes: int, value_bytes: int, entries: int, flags: int, name: str) -> int:
    """A handle of a new map."""
    attributes = struct.pack("=IIIIIII16s", kind, key_bytes, value_bytes, entries, flags, 0, 0, name.encode()[:15])
    return call(_MAP_CREATE, attributes)


def update(handle: int, key: bytes, value: bytes) -> None:
    """Write an entry of a map."""
    held, of = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    call(_MAP_UPDATE, struct.pack("=IIQQQ", handle, 0, ctypes.addressof(held), ctypes.addressof(of), 0))


def load_program(instructions: bytes, license_text: bytes, name: str) -> int:
    """A handle of a program that the kernel has verified. Raises OSError; its text has the verifier's last words."""
    held = ctypes.create_string_buffer(instructions, len(instructions))
    text = ctypes.create_string_buffer(license_text.rstrip(b"\0"))

    def attempt(level: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
        return call(
            _PROG_LOAD,
            struct.pack(
                "=IIQQIIQII16s",
                _SCHED_CLS,
                len(instructions) // 8,
                ctypes.addressof(held),
                ctypes.addressof(text),
                level,
                0 if log is None else len(log),
                0 if log is None else ctypes.addressof(log),
                0,
                0,
                name.encode()[:15],
            ),
        )

    try:
        return attempt(0, None)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            raise
        log = ctypes.create_string_buffer(_LOG_BYTES)
        with contextlib.suppress(OSError):
            return attempt(1, log)
        said = log.value.decode(errors="replace").strip().splitlines()[-4:]
        raise OSError(error.errno, f"{error.strerror}: {' | '.join(said)}") from None


def test_run(program: int, packet: bytes, *, time_ns: int = 0, gso_segs: int = 0, gso_size: int = 0) -> Ran:
    """Run a program once on a packet, which goes nowhere."""
    context = ctypes.create_string_buffer(_SKB_BYTES)
    struct.pack_into("=Q", context, _SKB_TSTAMP, time_ns)
    struct.pack_into("=I", context, _SKB_GSO_SEGS, gso_segs)
    struct.pack_into("=I", context, _SKB_GSO_SIZE, gso_size)
    given = ctypes.create_string_buffer(packet, len(packet))
    made = ctypes.create_string_buffer(len(packet) + 512)
    attributes = ctypes.create_string_buffer(_ATTR_BYTES)
    struct.pack_into(
        "=IIIIQQIIIIQQ",
        attributes,
        0,
        program,
        0,
        len(packet),
        len(made),
        ctypes.addressof(given),
        ctypes.addressof(made),
        1,
        0,
        _SKB_BYTES,
        0,
        ctypes.addressof(context),
        0,
    )
    call(_PROG_TEST_RUN, attributes)
    returned, _, size = struct.unpack_from("=III", attributes, 4)
    (duration,) = struct.unpack_from("=I", attributes, 36)
    return Ran(returned - (1 << 32) if returned >> 31 else returned, made.raw[:size], duration)


class Runner:
    """Runs one program on many packets, with buffers that are made once."""

    def __init__(self, program: int, most_bytes: int = 2048) -> None:
        """Room for packets of `most_bytes`."""
        self._context = ctypes.create_string_buffer(_SKB_BYTES)
        self._packet = ctypes.create_string_buffer(most_bytes)
        self._attributes = ctypes.create_string_buffer(_ATTR_BYTES)
        self._program = program

    def __call__(self, packet: bytes, time_ns: int) -> None:
        """Run it once; what becomes of the packet is not looked at."""
        ctypes.memmove(self._packet, packet, len(packet))
        struct.pack_into("=Q", self._context, _SKB_TSTAMP, time_ns)
        struct.pack_into(
            "=IIIIQQIIIIQQ",
            self._attributes,
            0,
            self._program,
            0,
            len(packet),
            0,
            ctypes.addressof(self._packet),
            0,
            1,
            0,
            _SKB_BYTES,
            0,
            ctypes.addressof(self._context),
            0,
        )
        call(_PROG_TEST_RUN, self._attributes)


def attach_tcx(program: int, interface: int, where: int) -> int:
    """A handle of a link; the program is attached for as long as somebody holds it, or it is pinned."""
    return call(_LINK_CREATE, struct.pack("=IIII", program, interface, where, 0))


class Attached(NamedTuple):
    """A program on a hook, by the kernel's numbers."""

    program_id: int
    link_id: int


def attached(interface: int, where: int) -> list[Attached]:
    """The programs that are attached by tcx to an interface of the namespace that the calling thread is in."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    links = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = ctypes.create_string_buffer(_ATTR_BYTES)
    struct.pack_into(
        "=IIIIQIIQQQQ",
        attributes,
        0,
        interface,
        where,
        0,
        0,
        ctypes.addressof(ids),
        _MOST_PROGRAMS,
        0,
        0,
        ctypes.addressof(links),
        0,
        0,
    )
    call(_PROG_QUERY, attributes)
    (count,) = struct.unpack_from("=I", attributes, 24)
    return [Attached(ids[number], links[number]) for number in range(count)]


def program_name(program_id: int) -> str:
    """The name that a program was loaded with; empty if it is gone."""
    try:
        handle = call(_PROG_BY_ID, struct.pack("=III", program_id, 0, 0))
    except FileNotFoundError:
        return ""
    with closing(handle):
        about = ctypes.create_string_buffer(_INFO_BYTES)
        call(_INFO_BY_FD, struct.pack("=IIQ", handle, len(about), ctypes.addressof(about)))
        return about.raw[_INFO_NAME : _INFO_NAME + 16].rstrip(b"\0").decode(errors="replace")


def pin(handle: int, path: str) -> None:
    """Keep a link, program or map under a path of a BPF file system."""
    held = ctypes.create_string_buffer(path.encode())
    call(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(held), handle, 0))


def pinned(path: str) -> int:
    """A handle of what is pinned there."""
    held = ctypes.create_string_buffer(path.encode())
    return call(_OBJ_GET, struct.pack("=QII", ctypes.addressof(held), 0, 0))


@contextlib.contextmanager
def closing(handle: int) -> Iterator[int]:
    """Close a handle at the end."""
    try:
        yield handle
    finally:
        os.close(handle)
