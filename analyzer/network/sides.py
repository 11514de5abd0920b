"""Which side of parallel paths each host is at, where no prefix says so (docs/model.md, Attachments and paths).

Sides belong to hosts. Hosts that exchange packets are at different sides where that can be: pairs of them are taken in
order of their bytes, and each that closes no ring of odd length is put across. Hosts of one subnet that this leaves
free are put at one side; of two ways to lay a group of hosts, that is taken in which more conversations are opened from
the left.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.traces.jit import allocating, int64, kernel

LEFT: Final = 0
RIGHT: Final = 1
_SWEEPS: Final = 16
_SUBNET_BITS: Final = {4: 24, 6: 64}


class Sides(NamedTuple):
    """Where hosts are: `places` by address, LEFT or RIGHT; and how far the capture says so.

    `groups` is the number of groups of hosts of which none sends to another: each could be the other way round, and in
    `undecided` of them fewer than three of four conversations are opened from the left.
    `together` counts the flows between hosts of one side, `together_bytes` their bytes of `bytes` on the wire.
    `left` are prefixes that hold all addresses on the left and none on the right. `loose_bytes` are those of groups
    that could as well be the other way round, against the one that sends most.
    """

    places: dict[str, int]
    groups: int
    undecided: int
    together: int
    together_bytes: int
    bytes: int
    left: tuple[str, ...]
    loose_bytes: int = 0


@kernel
def _root(parent: NDArray[np.int64], parity: NDArray[np.int8], host: int) -> int:
    """The root of the host's tree; afterwards the host hangs from it, with `parity` 1 if it is at the other side."""
    root, odd = host, np.int8(0)
    while parent[root] != root:
        odd ^= parity[root]
        root = parent[root]
    while parent[host] != root and host != root:
        above, was = parent[host], parity[host]
        parent[host], parity[host] = root, odd
        odd ^= was
        host = above
    return root


@kernel
def _join(parent: NDArray[np.int64], parity: NDArray[np.int8], a: int, b: int, apart: int) -> None:
    """Put two hosts at different sides (`apart` 1) or at one, unless they are settled already."""
    root, other = _root(parent, parity, a), _root(parent, parity, b)
    if root != other:
        high, low = max(root, other), min(root, other)
        parent[high] = low
        parity[high] = parity[a] ^ parity[b] ^ apart


@allocating
def _lay(
    first: NDArray[np.int64], second: NDArray[np.int64], subnets: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    """Settle pairs of hosts in order, then subnets; `out` int64[hosts, 2]: the group of each host, and 0 or 1 in it.

    `subnets` int64[hosts] numbers each host's subnet.
    """
    hosts = len(subnets)
    parent, parity = np.arange(hosts), np.zeros(hosts, np.int8)
    for pair in range(len(first)):
        _join(parent, parity, first[pair], second[pair], 1)
    # A subnet of which a group has hosts at both sides says nothing.
    order = np.argsort(subnets, kind="mergesort")
    seen = np.full(hosts, -1, np.int64)
    begin = 0
    while begin < hosts:
        stop = begin
        while stop < hosts and subnets[order[stop]] == subnets[order[begin]]:
            stop += 1
        agree = True
        for at in range(begin, stop):
            root = _root(parent, parity, order[at])
            side = int64(parity[order[at]]) if root != order[at] else 0
            if seen[root] >= 0 and seen[root] != side:
                agree = False
            seen[root] = side
        for at in range(begin, stop):
            seen[_root(parent, parity, order[at])] = -1
        if agree:
            for at in range(begin + 1, stop):
                _join(parent, parity, order[begin], order[at], 0)
        begin = stop
    for host in range(hosts):
        out[host, 0] = _root(parent, parity, host)
        out[host, 1] = int64(parity[host]) if out[host, 0] != host else 0


@kernel
def _improve(
    begin: NDArray[np.int64], other: NDArray[np.int64], weight: NDArray[np.int64], side: NDArray[np.int64]
) -> bool:
    """Move hosts across that exchange more bytes with hosts of their side than with others; whether any was moved.

    The neighbours of host h are `other[begin[h]:begin[h + 1]]`, with the bytes exchanged as `weight`.
    """
    moved = False
    for host in range(len(side)):
        gain = int64(0)
        for at in range(begin[host], begin[host + 1]):
            gain += weight[at] if side[other[at]] == side[host] else -weight[at]
        if gain > 0:
            side[host] = 1 - side[host]
            moved = True
    return moved


def choose_sides(
    flows: pl.DataFrame, used: NDArray[np.int64], opens: NDArray[np.bool_], names: dict[str, str]
) -> Sides:
    """The side of every address of `flows` (FLOWS), by the flows `used` of it, int64[n].

    `opens` bool[flows] says whether a flow's sender began its conversation; `names` gives the host of an address.
    """
    hosts = sorted(set(names.values()), key=_network)
    number = {host: place for place, host in enumerate(hosts)}
    of_address = {address: number[host] for address, host in names.items()}
    ends = [np.array([of_address[address] for address in flows[end]], np.int64)[used] for end in ("src", "dst")]
    sizes = flows["bytes"].cast(pl.Int64).fill_null(0).to_numpy()[used]
    low, high = np.minimum(*ends), np.maximum(*ends)
    pairs = (
        pl.DataFrame({"low": low, "high": high, "bytes": sizes})
        .filter(pl.col("low") != pl.col("high"))
        .group_by("low", "high")
        .agg(pl.col("bytes").sum())
        .sort(["bytes", "low", "high"], descending=[True, False, False])
    )
    first, second, weight = (pairs[name].to_numpy(writable=True) for name in ("low", "high", "bytes"))
    subnet_of: dict[str, int] = {}
    subnets = [subnet_of.setdefault(_subnet(host), len(subnet_of)) for host in hosts]
    laid = np.zeros((len(hosts), 2), np.int64)
    _lay(first, second, np.array(subnets, np.int64), laid)
    group, side = laid[:, 0].copy(), laid[:, 1].copy()
    if (side[first] == side[second]).any():
        order = np.argsort(np.concatenate([first, second]), kind="stable")
        degrees = np.bincount(np.concatenate([first, second]), minlength=len(hosts))
        begin = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
        other, both = np.concatenate([second, first])[order], np.concatenate([weight, weight])[order]
        for _ in range(_SWEEPS):
            if not _improve(begin, other, both, side):
                break
    opener = np.where(opens[used], *ends)
    crossing = side[ends[0]] != side[ends[1]]
    votes, voters = np.zeros(len(hosts), np.int64), np.bincount(group[opener[crossing]], minlength=len(hosts))
    np.add.at(votes, group[opener[crossing]], 1 - 2 * side[opener[crossing]])
    side = np.where(votes[group] < 0, 1 - side, side)
    same = (side[ends[0]] == side[ends[1]]) & (ends[0] != ends[1])
    places = {address: int(side[host]) for address, host in of_address.items()}
    undecided = 2 * np.abs(votes) < voters
    of_group = np.bincount(group[ends[0]], sizes, len(hosts)).astype(np.int64)
    heaviest = int(np.argmax(of_group)) if len(of_group) else None
    decided = heaviest is None or not undecided[heaviest]
    loose = int(of_group[undecided].sum() if decided else of_group.sum() - of_group[heaviest])
    talking = np.unique(np.concatenate([first, second]))
    return Sides(
        places,
        len(np.unique(group[talking])),
        int(undecided.sum()),
        int(same.sum()),
        int(sizes[same].sum()),
        int(sizes.sum()),
        _prefixes([hosts[h] for h in np.flatnonzero(side == LEFT)], [hosts[h] for h in np.flatnonzero(side == RIGHT)]),
        loose,
    )


def _network(host: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(host)
    return network.version, int(network.network_address), network.prefixlen


def _subnet(host: str) -> str:
    network = ipaddress.ip_network(host)
    bits = _SUBNET_BITS[network.version]
    return str(network if network.prefixlen <= bits else network.supernet(new_prefix=bits))


def _prefixes(mine: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """The fewest prefixes that hold all of these hosts and none of the others, each as long as it can be."""
    out: list[str] = []
    for version, bits in ((4, 32), (6, 128)):
        wanted, barred = (sorted(n[1:] for n in map(_network, hosts) if n[0] == version) for hosts in (mine, others))
        kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
        found: list[tuple[int, int]] = []
        _split(wanted, barred, bits, 0, 0, found)
        out += [str(kind(entry)) for entry in found]
    return tuple(out)


def _split(
    wanted: Sequence[tuple[int, int]],
    barred: Sequence[tuple[int, int]],
    bits: int,
    base: int,
    length: int,
    found: list[tuple[int, int]],
) -> None:
    """Add the prefixes within `base`/`length` to `found`; hosts are (network address, prefix length), sorted."""
    if not wanted:
        return
    if not barred or len(wanted) == 1 or length == bits:
        lowest, highest = wanted[0][0], wanted[-1][0]
        common = min([bits - (lowest ^ highest).bit_length(), *(prefix for _, prefix in wanted)])
        found.append((lowest >> (bits - common) << (bits - common), common))
        return
    middle = base | 1 << (bits - length - 1)
    at, other = bisect_left(wanted, (middle, 0)), bisect_left(barred, (middle, 0))
    _split(wanted[:at], barred[:other], bits, base, length + 1, found)
    _split(wanted[at:], barred[other:], bits, middle, length + 1, found)
