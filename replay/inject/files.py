"""What is to be sent: records of rewritten captures, put together by interface, addressed, and moved in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.rewrite.pcap import FILE_HEADER, MICROSECONDS
from segcast.replay.srv6.encapsulate import RECORD_BYTES
from segcast.traces.byteorder import le32
from segcast.traces.errors import InputError
from segcast.traces.jit import allocating, kernel

_HEADER_BYTES: Final = len(FILE_HEADER)
_CHUNK_BYTES: Final = 16 << 20
_WINDOW_NS: Final = 100_000_000
_ROUTING: Final = 43
_IPV4: Final = 4
_IPV6: Final = 41
_ETHERNET: Final = 143


class Records(NamedTuple):
    """Records of captures: `data` uint8, one per file; int64[n]: `file`, `first` (byte of the record), `size` (with its
    header), `time_ns`. In order of time; at one instant in that of files.
    """

    data: tuple[NDArray[np.uint8], ...]
    file: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    time_ns: NDArray[np.int64]


class SendingLoad(NamedTuple):
    """What records ask of an interface. Bytes are those of frames; `busiest_bps`: over the fullest 100 ms.

    `busiest_pps`: packets a second over the fullest 1, 10 and 100 ms.
    """

    packets: int
    bytes: int
    first_ns: int
    last_ns: int
    longest_bytes: int
    busiest_bps: int
    busiest_pps: tuple[int, int, int]


@kernel
def count_records(data: NDArray[np.uint8]) -> int:
    """How many whole records a pcap holds; -1 if bytes are left over."""
    at = _HEADER_BYTES
    count = 0
    while at + RECORD_BYTES <= len(data):
        at += RECORD_BYTES + le32(data, at + 8)
        count += 1
    return count if at == len(data) else -1


@kernel
def find_records(
    data: NDArray[np.uint8],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    unit_ns: int,
) -> None:
    """Fill in the records that `count_records` has counted; `unit_ns`: what fractions of seconds are counted in."""
    at = _HEADER_BYTES
    for row in range(len(first)):
        first[row] = at
        size[row] = RECORD_BYTES + le32(data, at + 8)
        time_ns[row] = le32(data, at) * 1_000_000_000 + le32(data, at + 4) * unit_ns
        at += size[row]


@kernel
def copy_records(
    data: NDArray[np.uint8],
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    place: NDArray[np.int64],
    macs: NDArray[np.uint8],
    keep: NDArray[np.bool_],
    out: NDArray[np.uint8],
) -> None:
    """Copy the records `rows` of a file to their `place` in `out`; `macs` uint8[12] go where `keep` bool[12] is not."""
    for row in rows:
        to = place[row]
        for k in range(size[row]):
            out[to + k] = data[first[row] + k]
        for k in range(min(12, size[row] - RECORD_BYTES)):
            if not keep[k]:
                out[to + RECORD_BYTES + k] = macs[k]


@allocating
def compensated(time_ns: NDArray[np.int64], cost_ns: int) -> NDArray[np.int64]:
    """Times, int64[n], that a sender which adds `cost_ns` to every gap turns back into `time_ns`.

    Where a gap is shorter than the cost, what is missing is taken from the gaps that follow.
    """
    asked = np.empty_like(time_ns)
    late = np.int64(0)
    for row in range(len(time_ns)):
        if row == 0:
            asked[0] = time_ns[0]
            continue
        gap = time_ns[row] - time_ns[row - 1] - cost_ns - late
        late = -gap if gap < 0 else np.int64(0)
        asked[row] = asked[row - 1] + max(gap, np.int64(0))
    return asked


def open_records(files: Sequence[Path], *, microseconds: bool = False) -> Records:
    """The records of captures as `segcast rewrite` writes them, in `microseconds` or nanoseconds. Raises InputError."""
    magic, unit_ns = (MICROSECONDS, 1000) if microseconds else (FILE_HEADER[:4], 1)
    data, parts = [], []
    for number, path in enumerate(files):
        try:
            content = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {error}; run segcast rewrite again") from None
        header = content[:_HEADER_BYTES].tobytes()
        if header[:4] != magic or header[20:] != FILE_HEADER[20:]:
            raise InputError(f"{path}: is no capture as segcast rewrite writes them; run it again")
        count = count_records(content)
        if count < 0:
            raise InputError(f"{path}: is cut off; run segcast rewrite again")
        first, size, time_ns = columns = tuple(np.empty(count, np.int64) for _ in range(3))
        find_records(content, first, size, time_ns, unit_ns)
        data.append(content)
        parts.append((np.full(count, number, np.int64), *columns))
    file, first, size, time_ns = (
        np.concatenate([part[k] for part in parts]) if parts else np.empty(0, np.int64) for k in range(4)
    )
    order = np.argsort(time_ns, kind="stable")
    return Records(tuple(data), file[order], first[order], size[order], time_ns[order])


@kernel
def _behind_link(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Where the Ethernet header at `at` ends, tags of VLANs and type included."""
    kind = at + 12
    while kind + 2 <= end and (
        (data[kind] == 0x81 and data[kind + 1] == 0x00) or (data[kind] == 0x88 and data[kind + 1] == 0xA8)
    ):
        kind += 4
    return kind + 2


@kernel
def least_snaplen(data: NDArray[np.uint8], first: NDArray[np.int64], size: NDArray[np.int64], wanted: int) -> int:
    """Bytes to capture of frames so that all hold `wanted` bytes of the packet without its SRv6, or are whole."""
    least = 0
    for row in range(len(first)):
        frame = first[row] + RECORD_BYTES
        end = first[row] + size[row]
        inner = _behind_link(data, frame, end)
        if inner + 48 <= end and data[inner - 2] == 0x86 and data[inner - 1] == 0xDD:
            kind, header = data[inner + 6], 0
            if kind == _ROUTING:
                kind, header = data[inner + 40], int(8 * (np.int64(data[inner + 41]) + 1))
            if kind in (_IPV4, _IPV6, _ETHERNET):
                header += 40
            inner = inner + header if kind != _ETHERNET else _behind_link(data, inner + header, end)
        least = max(least, min(end, inner + wanted) - frame)
    return least


@kernel
def share_of_flows(
    data: NDArray[np.uint8], first: NDArray[np.int64], size: NDArray[np.int64], shares: int, out: NDArray[np.int64]
) -> None:
    """Which of `shares` parts each record belongs to, so that packets of a flow are in one.

    IPv6: by source and flow label, which `segcast rewrite` gives each flow; IPv4: by the addresses; else the first.
    """
    for row in range(len(first)):
        end = first[row] + size[row]
        packet = _behind_link(data, first[row] + RECORD_BYTES, end)
        found = np.uint64(0)
        if packet + 40 <= end and data[packet - 2] == 0x86 and data[packet - 1] == 0xDD:
            found = (
                np.uint64(data[packet + 1] & 15) << 16 | np.uint64(data[packet + 2]) << 8 | np.uint64(data[packet + 3])
            )
            for at in range(packet + 8, packet + 24):
                found = (found ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        elif packet + 20 <= end and data[packet - 2] == 0x08 and data[packet - 1] == 0x00:
            for at in range(packet + 12, packet + 20):
                found = (found ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        found ^= found >> np.uint64(33)
        found *= np.uint64(0xFF51AFD7ED558CCD)
        out[row] = np.int64((found >> np.uint64(33)) % np.uint64(shares))


def shared_out(records: Records, shares: int) -> list[Records]:
    """The records in so many parts, each in order of time and with whole flows; parts may be empty."""
    if shares == 1:
        return [records]
    share = np.zeros(len(records.size), np.int64)
    for number, data in enumerate(records.data):
        mine = np.flatnonzero(records.file == number)
        found = np.empty(len(mine), np.int64)
        share_of_flows(data, records.first[mine], records.size[mine], shares, found)
        share[mine] = found
    return [Records(records.data, *(column[share == part] for column in records[1:])) for part in range(shares)]


def load_of(records: Records) -> SendingLoad:
    """What the records ask for. Raises InputError if there are none."""
    if len(records.size) == 0:
        raise InputError("there are no packets to send")
    frame = records.size - RECORD_BYTES
    window = (records.time_ns - records.time_ns[0]) // _WINDOW_NS
    edges = np.flatnonzero(np.diff(window, prepend=-1))
    busiest = int(np.add.reduceat(frame, edges).max())
    return SendingLoad(
        len(frame),
        int(frame.sum()),
        int(records.time_ns[0]),
        int(records.time_ns[-1]),
        int(frame.max()),
        busiest * 8 * 1_000_000_000 // _WINDOW_NS,
        busiest_pps(records.time_ns),
    )


def busiest_pps(time_ns: NDArray[np.int64]) -> tuple[int, int, int]:
    """Packets a second over the fullest 1, 10 and 100 ms, wherever they begin, of ordered times."""
    one, ten, hundred = (
        int((np.searchsorted(time_ns, time_ns + width) - np.arange(len(time_ns))).max()) * (1_000_000_000 // width)
        for width in (1_000_000, 10_000_000, 100_000_000)
    )
    return one, ten, hundred


def write_records(
    records: Records, out: Path, *, source_mac: str | None = None, next_hop_mac: str | None = None, cost_ns: int = 0
) -> None:
    """Write a capture of the records, with these MAC addresses where given, compensated for a cost per packet.

    Memory: 16 MiB beside the records' columns.
    """
    macs = np.zeros(12, np.uint8)
    keep = np.ones(12, np.bool_)
    for at, mac in ((0, next_hop_mac), (6, source_mac)):
        if mac is not None:
            macs[at : at + 6] = np.frombuffer(bytes.fromhex(mac.replace(":", "")), np.uint8)
            keep[at : at + 6] = False
    times = compensated(records.time_ns, cost_ns)
    ends = np.cumsum(records.size)
    with out.open("wb") as file:
        file.write(FILE_HEADER)
        done = 0
        while done < len(ends):
            before = int(ends[done - 1]) if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + _CHUNK_BYTES, "right")))
            place = ends - records.size - before
            chunk = np.empty(int(ends[stop - 1]) - before, np.uint8)
            for number, data in enumerate(records.data):
                rows = done + np.flatnonzero(records.file[done:stop] == number)
                copy_records(data, rows, records.first, records.size, place, macs, keep, chunk)
            stamps = np.stack([times[done:stop] // 1_000_000_000, times[done:stop] % 1_000_000_000], 1)
            _stamp(chunk, place[done:stop], stamps.astype(np.uint32))
            file.write(chunk.data)
            done = stop


def _stamp(chunk: NDArray[np.uint8], place: NDArray[np.int64], stamps: NDArray[np.uint32]) -> None:
    """Write the times, uint32[n, 2] seconds and nanoseconds, to the records' headers."""
    chunk[place[:, None] + np.arange(8)] = stamps.view(np.uint8).reshape(-1, 8)
