"""Growth by flows as docs/model.md, Growth, says it, one packet and one address at a time."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import NamedTuple

from tests.twins.hashing import mix

GOLDEN = 0x9E3779B9


class Sent(NamedTuple):
    """A packet of the trace, by its place, or a copy of it: of which flow, which copy, and whether it wraps."""

    send_ns: int
    copy: int
    flow: int
    row: int
    wraps: bool


def salt(copy: int, seed: int) -> int:
    """What the draws of a copy begin with."""
    return mix(mix(copy) ^ mix(seed))


def grown(
    packets: Sequence[tuple[int, int, int]],
    reverse: Sequence[int],
    factor: Fraction,
    seed: int,
    growing: Collection[int] | None = None,
) -> list[Sent]:
    """What is sent at a factor of packets (time, flow, bytes), in order; `growing` are flows, None: all."""
    connection = []
    for flow, back in enumerate(reverse):
        both = back >= 0 and reverse[back] == flow
        connection.append(min(flow, back) if both else flow)
    sizes: dict[int, int] = {}
    for _, flow, size in packets:
        sizes[connection[flow]] = sizes.get(connection[flow], 0) + size
    grows = {connection[flow] for flow in (range(len(reverse)) if growing is None else growing)}
    ranked = sorted((c for c, size in sizes.items() if size > 0 and c in grows), key=lambda c: (-sizes[c], c))
    first = min(time for time, *_ in packets)
    last = max(time for time, *_ in packets)
    period = last - first + 1

    sent = []
    for row, (time, flow, _) in enumerate(packets):
        number = connection[flow]
        if number not in grows:
            sent.append(Sent(time, 0, flow, row, False))
            continue
        rank = ranked.index(number)
        begin = min(t for t, f, _ in packets if connection[f] == number)
        copy = 0
        while copy < factor:
            part = ((salt(copy, seed) >> 32) + rank * GOLDEN) % 2**32
            if copy * 2**32 + part < factor * 2**32 // 1:
                shift = mix(salt(copy, seed) ^ number) % period if copy else 0
                if begin + shift > last:
                    shift -= period
                wraps = time + shift > last
                sent.append(Sent(time + shift - period * wraps, copy, flow, row, wraps))
            copy += 1
    return sorted(sent, key=lambda one: (one.send_ns, one.copy, 0 if one.copy == 0 else one.flow, one.row))


def fresh_addresses(addresses: Sequence[str], populations: int, seed: int) -> dict[tuple[int, str], str]:
    """The address of every host of the trace in every population."""
    taken = {2**28 - 1}
    for text in addresses:
        value = int(ipaddress.ip_address(text))
        if ":" not in text and value >= 0xF0000000:
            taken.add(value - 0xF0000000)
    found = {}
    number = -1
    free = 0
    for population in range(1, populations + 1):
        for text in addresses:
            number += 1
            while free in taken:
                free += 1
            if ":" in text:
                found[population, text] = str(ipaddress.IPv6Address((0x0100 << 112) + mix(number ^ mix(seed))))
            else:
                x = scrambled(free, seed)
                while x in taken:
                    x = scrambled(x, seed)
                found[population, text] = str(ipaddress.IPv4Address(0xF0000000 + x))
            free += 1
    return found


def scrambled(x: int, seed: int) -> int:
    """A permutation of numbers of 28 bits."""
    x = (x + mix(seed)) % 2**28
    for odd, bits in ((0x9E3779B1, 14), (0x85EBCA77, 15), (0xC2B2AE3D, 14)):
        x = x * odd % 2**28
        x ^= x >> bits
    return x


class Asked(NamedTuple):
    """A row of a flow list that is sent, or a copy of it: when it may start, and what it waits for, as (copy, row)."""

    copy: int
    row: int
    start_ns: int
    after: tuple[tuple[int, int], ...]


class Row(NamedTuple):
    """A row of a flow list: `connection` numbers them in order of their first rows."""

    start_ns: int
    connection: int
    forward: bool
    bytes: int
    after: tuple[int, ...]


def grown_list(rows: Sequence[Row], factor: Fraction, seed: int, growing: Collection[int] | None = None) -> list[Asked]:
    """What of a flow list is sent at a factor, by number of the copy, then of the row; `growing` are connections."""
    tree = {row.connection: {row.connection} for row in rows}
    for row in rows:
        for other in row.after:
            joined = tree[row.connection] | tree[rows[other].connection]
            for connection in joined:
                tree[connection] = joined
    trees = {min(connections): connections for connections in tree.values()}
    begins, sizes = {}, {}
    for number, connections in trees.items():
        begins[number] = min(row.start_ns for row in rows if row.connection in connections and not row.after)
        sent: dict[tuple[int, bool], int] = {}
        for row in rows:
            if row.connection in connections:
                sent[row.connection, row.forward] = sent.get((row.connection, row.forward), 0) + row.bytes
        sizes[number] = sum(sent.get((c, forward), 1) for c in connections for forward in (True, False))
    grows = [n for n, connections in trees.items() if growing is None or connections & set(growing)]
    ranked = sorted(grows, key=lambda n: (-sizes[n], n))
    first, last = min(begins.values()), max(begins.values())
    period = last - first + 1
    found = []
    for place, row in enumerate(rows):
        number = min(tree[row.connection])
        if number not in grows:
            found.append(Asked(0, place, row.start_ns, tuple((0, other) for other in row.after)))
            continue
        copy = 0
        while copy < factor:
            part = ((salt(copy, seed) >> 32) + ranked.index(number) * GOLDEN) % 2**32
            if copy * 2**32 + part < factor * 2**32 // 1:
                shift = mix(salt(copy, seed) ^ 2 * number) % period if copy else 0
                if begins[number] + shift > last:
                    shift -= period
                start_ns = max(row.start_ns + shift, 0) if copy else row.start_ns
                found.append(Asked(copy, place, start_ns, tuple((copy, other) for other in row.after)))
            copy += 1
    return sorted(found)
