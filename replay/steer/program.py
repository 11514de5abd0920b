"""The program as the kernel holds it: its maps, mapped into memory, and its entries."""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import socket
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.steer.bpf import ARRAY, Runner, create_map, load_program, update
from segcast.replay.steer.elf import BpfObject, read_object
from segcast.replay.steer.layout import RECORDS, WAYS
from segcast.traces.errors import InputError

SOURCES: Final = Path(__file__).parent / "program"
_GOES_ON: Final = ("decide", "acknowledge")  # in the order of program/steer.bpf.c
_OBJECTS: Final = {"little": "steer.bpfel.o", "big": "steer.bpfeb.o"}


class Room(NamedTuple):
    """How much the maps hold; `flows`, `outstanding` and `records` are powers of two."""

    counters: int
    pairs: int
    headers: int
    prefixes: int = 4096
    flows: int = 1 << 14
    outstanding: int = 1 << 16
    records: int = 1 << 14


@functools.cache
def compiled() -> BpfObject:
    """The program as it is shipped."""
    return read_object(_raw(), _OBJECTS[sys.byteorder])


def digest() -> str:
    """SHA-256 of the object that is loaded."""
    return hashlib.sha256(_raw()).hexdigest()


def _raw() -> bytes:
    return (SOURCES / _OBJECTS[sys.byteorder]).read_bytes()


class Program:
    """The program, loaded; `tables` are its arrays, as they are in the kernel at any time.

    Nothing is attached. Everything goes with this object, or with the process.
    """

    def __init__(self, room: Room) -> None:
        """Load it. Raises OSError for what the kernel refuses."""
        if any(size & (size - 1) or size < WAYS for size in (room.flows, room.outstanding, room.records)):
            raise InputError(f"{room}: flows, outstanding and records are powers of two")
        self.room = room
        self._handles: list[int] = []
        self.tables: dict[str, NDArray[Any]] = {}
        self.entries: dict[str, int] = {}
        try:
            self._load(compiled())
        except BaseException:
            self.close()
            raise

    def _load(self, code: BpfObject) -> None:
        sizes = {"settings": 1, "states": 1, **self.room._asdict(), "outstandings": self.room.outstanding}
        maps: dict[str, int] = {}
        for name, spec in code.maps.items():
            entries = spec.entries or sizes.get(name, self.room.prefixes)
            maps[name] = create_map(spec.kind, spec.key_bytes, spec.value_bytes, entries, spec.flags, name)
            self._handles.append(maps[name])
            if spec.kind == ARRAY:
                self.tables[name] = self._mapped(maps[name], RECORDS[name], entries)
        self.maps = maps
        for name, program in code.programs.items():
            handle = load_program(program.bound(maps, code.byte_order), code.license, f"segcast_{name}")
            self._handles.append(handle)
            self.entries[name] = handle
        for number, name in enumerate(_GOES_ON):
            update(maps["entries"], struct.pack("=I", number), struct.pack("=I", self.entries[name]))

    def _mapped(self, handle: int, record: np.dtype[np.void], entries: int) -> NDArray[Any]:
        size = -(-entries * record.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(handle, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return np.frombuffer(memory, record, entries)

    @property
    def config(self) -> Any:
        """The row that says how it steers."""
        return self.tables["settings"][0]

    @property
    def state(self) -> Any:
        """The row that says how far it has come."""
        return self.tables["states"][0]

    def direct(self, which: str, prefix: str, number: int) -> None:
        """Have addresses of a prefix mean the host or target of that number; `which` is "sources" or "targets"."""
        address, bits = prefix.split("/")
        mapped = ":" not in address
        packed = socket.inet_pton(socket.AF_INET if mapped else socket.AF_INET6, address)
        if mapped:
            packed = bytes(10) + b"\xff\xff" + packed
        key = struct.pack("=I16s", int(bits) + 96 * mapped, packed)
        update(self.maps[which], key, struct.pack("=I", number))

    def runner(self, name: str) -> Runner:
        """Runs an entry on made-up packets."""
        return Runner(self.entries[name])

    def sweep(self) -> None:
        """Take off the counters what has timed out by now."""
        run = self.runner("sweep")
        while True:
            before = int(self.state["first_outstanding"])
            run(bytes(64), 0)
            if int(self.state["first_outstanding"]) == before:
                return

    def close(self) -> None:
        """Give everything back. What is attached elsewhere stays."""
        self.tables.clear()  # whoever still holds one keeps its memory
        while self._handles:
            os.close(self._handles.pop())

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
