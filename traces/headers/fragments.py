"""Gives later fragments the flow of their first: a bounded table of first fragments, kept between batches.

RFC 791 (section 3.2) and RFC 8200 (section 4.5). Nothing is reassembled: a later fragment has no ports, and takes the
identity of the first fragment with the same addresses, identification and (IPv4) protocol. The table holds
MOST_DATAGRAMS of them; the one that came first makes room, and none counts for more than LIFETIME_NS of capture time.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be32, be64
from segcast.traces.hashing import finalise
from segcast.traces.headers.ip import HAS_FRAGMENT, HAS_PORTS, Headers, any_valid
from segcast.traces.jit import allocating, kernel

MOST_DATAGRAMS: Final = 1 << 14
LIFETIME_NS: Final = 30_000_000_000


class FragmentTable(NamedTuple):
    """n first fragments in a ring, found by chains through 2 n heads.

    `heads` int32[2n], `following` int32[n]: ring places, -1 ends. `keys` uint64[n, 5]: source and destination by
    halves, and (tenant, version, protocol, identification) packed. `identities` uint64[n, 6]: addresses, (version, has
    ports, protocol, ports) and (tenant, carried); carried says that the identity is that of a packet within.
    `time_ns` int64[n]. `control` uint64[2]: entries ever made, seed.
    """

    heads: npt.NDArray[np.int32]
    following: npt.NDArray[np.int32]
    keys: npt.NDArray[np.uint64]
    identities: npt.NDArray[np.uint64]
    time_ns: npt.NDArray[np.int64]
    control: npt.NDArray[np.uint64]


class Passed(NamedTuple):
    """First fragments looked through, in order of `row`: where their header is, its version, its id and tenant."""

    row: npt.NDArray[np.int64]
    ip_start: npt.NDArray[np.int32]
    version: npt.NDArray[np.uint8]
    ip_id: npt.NDArray[np.uint32]
    tenant: npt.NDArray[np.uint32]


def no_passed() -> Passed:
    """An empty table of first fragments."""
    kinds = (np.int64, np.int32, np.uint8, np.uint32, np.uint32)
    return Passed._make(np.empty(0, kind) for kind in kinds)


@kernel
def _key_of(data: Bytes, at: Word, version: Word, ip_id: Word, tenant: Word, key: npt.NDArray[np.uint64]) -> None:
    """Write the key of the IP header at `at`: addresses and (tenant, version, IPv4's protocol, identification)."""
    rest = np.uint64(tenant) << np.uint64(42) | np.uint64(ip_id)
    if version == 6:
        rest |= np.uint64(1) << np.uint64(40)
    if version == 4:
        rest |= np.uint64(data[at + 9]) << np.uint64(32)
        key[0] = key[2] = 0
        key[1] = np.uint64(be32(data, at + 12))
        key[3] = np.uint64(be32(data, at + 16))
    else:
        for word in range(4):
            key[word] = be64(data, at + 8 + 8 * word)
    key[4] = rest


@kernel
def _head(table: FragmentTable, key: npt.NDArray[np.uint64]) -> Word:
    h = table.control[1]
    for word in range(5):
        h = finalise(h ^ key[word])
    return np.int64(h & np.uint64(table.heads.size - 1))


@kernel
def _find(table: FragmentTable, head: Word, key: npt.NDArray[np.uint64]) -> Word:
    """The ring place of a key in the chain of `head`, -1 if it is not there."""
    at = np.int64(table.heads[head])
    while at >= 0:
        known = table.keys[at]
        if (
            known[1] == key[1]
            and known[3] == key[3]
            and known[4] == key[4]
            and known[0] == key[0]
            and known[2] == key[2]
        ):
            return at
        at = np.int64(table.following[at])
    return at


@kernel
def _store(
    table: FragmentTable, key: npt.NDArray[np.uint64], headers: Headers, row: int, time_ns: int, carried: int
) -> None:
    """Note that the datagram of `key` has the identity of `row`, or (`carried` 1, else 0) of what it carries there."""
    head = _head(table, key)
    at = _find(table, head, key)
    size = table.following.size
    if at < 0:
        made = np.int64(table.control[0])
        at = made % size
        if made >= size:  # the place is taken: unchain what came first
            old = _head(table, table.keys[at])
            before = np.int64(table.heads[old])
            if before == at:
                table.heads[old] = table.following[at]
            else:
                while table.following[before] != at:
                    before = np.int64(table.following[before])
                table.following[before] = table.following[at]
        table.control[0] = np.uint64(made + 1)
        for word in range(5):
            table.keys[at, word] = key[word]
        table.following[at] = table.heads[head]
        table.heads[head] = at
    identity = table.identities[at]
    identity[0], identity[1] = headers.src_high[row], headers.src_low[row]
    identity[2], identity[3] = headers.dst_high[row], headers.dst_low[row]
    ported = np.uint64(1) if headers.valid[row] & HAS_PORTS else np.uint64(0)
    identity[5] = np.uint64(headers.tenant[row]) << np.uint64(1) | np.uint64(carried)
    identity[4] = (
        np.uint64(headers.version[row]) << np.uint64(48)
        | ported << np.uint64(40)
        | np.uint64(headers.protocol[row]) << np.uint64(32)
        | np.uint64(headers.src_port[row]) << np.uint64(16)
        | np.uint64(headers.dst_port[row])
    )
    table.time_ns[at] = time_ns


@allocating
def adopt(
    table: FragmentTable,
    data: Bytes,
    start: npt.NDArray[np.int64],
    time_ns: npt.NDArray[np.int64],
    headers: Headers,
    rows: npt.NDArray[np.int64],
    passed: Passed,
) -> int:
    """Give later fragments the version, protocol, addresses and ports of their first; how many found none.

    Where the first was looked through, they have those of the packet within, and of its bytes those they carry, so that
    all fragments of a tunnel's packet together are as long as the packet within.

    `rows`, ascending: those that are fragments or were looked through as `passed` says.
    """
    key = np.empty(5, np.uint64)
    orphans = 0
    look = 0
    for k in range(rows.size):
        i = rows[k]
        now = time_ns[i]
        if headers.valid[i] & HAS_FRAGMENT:
            at = start[i] + np.int64(headers.ip_start[i])
            _key_of(
                data, at, np.int64(headers.version[i]), np.int64(headers.ip_id[i]), np.int64(headers.tenant[i]), key
            )
            if headers.fragment_offset[i] == 0:
                _store(table, key, headers, i, now, 0)
            else:
                first = _find(table, _head(table, key), key)
                if first < 0 or now - table.time_ns[first] > LIFETIME_NS or table.time_ns[first] - now > LIFETIME_NS:
                    orphans += 1
                else:
                    identity = table.identities[first]
                    rest = identity[4]
                    headers.src_high[i], headers.src_low[i] = identity[0], identity[1]
                    headers.dst_high[i], headers.dst_low[i] = identity[2], identity[3]
                    headers.version[i] = rest >> np.uint64(48) & np.uint64(0xFF)
                    headers.protocol[i] = rest >> np.uint64(32) & np.uint64(0xFF)
                    headers.src_port[i] = rest >> np.uint64(16) & np.uint64(0xFFFF)
                    headers.dst_port[i] = rest & np.uint64(0xFFFF)
                    if rest >> np.uint64(40) & np.uint64(1):
                        headers.valid[i] |= HAS_PORTS
                    headers.tenant[i] = identity[5] >> np.uint64(1)
                    if identity[5] & np.uint64(1):  # the first has the payload, and the rest of the bytes are here
                        headers.ip_bytes[i] -= np.uint32(headers.transport_start[i] - headers.ip_start[i])
                        headers.payload_bytes[i] = 0
        while look < passed.row.size and passed.row[look] == i:
            at = start[i] + np.int64(passed.ip_start[look])
            _key_of(
                data,
                at,
                np.int64(passed.version[look]),
                np.int64(passed.ip_id[look]),
                np.int64(passed.tenant[look]),
                key,
            )
            _store(table, key, headers, i, now, 1)
            look += 1
    return orphans


class Fragments:
    """The first fragments seen of late."""

    def __init__(self, datagrams: int = MOST_DATAGRAMS, seed: int | None = None) -> None:
        """None yet; room for `datagrams`, a power of two. The seed, drawn unless given, changes nothing visible."""
        self.without_first = 0
        self.table = FragmentTable(
            np.full(2 * datagrams, -1, np.int32),
            np.full(datagrams, -1, np.int32),
            np.zeros((datagrams, 5), np.uint64),
            np.zeros((datagrams, 6), np.uint64),
            np.zeros(datagrams, np.int64),
            np.array([0, secrets.randbits(64) if seed is None else seed], np.uint64),
        )

    def add(
        self,
        data: Bytes,
        start: npt.NDArray[np.int64],
        time_ns: npt.NDArray[np.int64],
        headers: Headers,
        passed: Passed,
    ) -> None:
        """Take decoded frames in capture order; later fragments leave with the identity of their first."""
        rows = np.empty(0, np.int64)
        if any_valid(headers.valid) & HAS_FRAGMENT:
            rows = np.flatnonzero(headers.valid & HAS_FRAGMENT)
        if len(passed.row):
            rows = np.union1d(rows, passed.row)
        if len(rows):
            self.without_first += int(adopt(self.table, data, start, time_ns, headers, rows, passed))
