"""Where each flow enters and leaves the network (docs/model.md, Attachments and paths)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.network.fabric import Fabric
from segcast.analyzer.network.sides import Sides, choose_sides
from segcast.traces.protocols import ACK, SYN

NOWHERE: Final = -1


class Ends(NamedTuple):
    """By flow, int64[flows]: the attachments of its source and its destination; NOWHERE if it has none.

    `sides` is how these were chosen, where the traffic itself had to say; `dealt` counts hosts that were given one in
    turn, for want of a prefix.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    sides: Sides | None = None
    dealt: int = 0


def ends_of(packets: pl.DataFrame, flows: pl.DataFrame, fabric: Fabric, names: dict[str, str], spread: bool) -> Ends:
    """The ends of every flow. `packets` are in send order and could be sent; `names` gives the host of an address.

    By the longest prefix; without prefixes for it, by the conversations or, if `spread`, in turn.
    """
    sides, dealt = None, 0
    if fabric.by_conversation:
        used = packets["flow_id"].unique().sort().cast(pl.Int64).to_numpy()
        sides = choose_sides(flows, used, _initiates(packets, flows), names)
        places = sides.places
    else:
        places = _by_prefix(flows, [attachment.prefixes for attachment in fabric.attachments])
        if spread:
            dealt = _deal(packets, flows, places, names, len(fabric.attachments))
    source, target = (np.array([places[address] for address in flows[end]], np.int64) for end in ("src", "dst"))
    return Ends(source, target, sides, dealt)


def _initiates(packets: pl.DataFrame, flows: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether a flow's sender began its conversation: by SYN, else by the higher port, else by being seen first."""
    number = np.arange(len(flows), dtype=np.int64)
    reverse = flows["reverse_flow_id"].cast(pl.Int64).fill_null(-1).to_numpy()
    syn = np.zeros(len(flows) + 1, np.bool_)  # the last place stands for "no reverse flow"
    openers = packets.filter((pl.col("tcp_flags").fill_null(0) & (SYN | ACK)) == SYN)["flow_id"]
    syn[openers.unique().to_numpy()] = True
    mine, theirs = syn[:-1], syn[reverse]
    source = flows["src_port"].cast(pl.Int64).fill_null(0).to_numpy()
    target = flows["dst_port"].cast(pl.Int64).fill_null(0).to_numpy()
    seen_first = (reverse < 0) | (number < reverse)
    by_port = np.where(source != target, source > target, seen_first)
    return np.where(mine != theirs, mine, by_port)


def _by_prefix(flows: pl.DataFrame, attachments: Sequence[Sequence[str]]) -> dict[str, int]:
    """The attachment of each address by its longest matching prefix."""
    prefixes = [(ipaddress.ip_network(prefix), place) for place, group in enumerate(attachments) for prefix in group]
    prefixes.sort(key=lambda entry: -entry[0].prefixlen)
    places: dict[str, int] = {}
    for text in pl.concat([flows["src"], flows["dst"]]).unique():
        address = ipaddress.ip_address(text)
        places[text] = next((place for prefix, place in prefixes if address in prefix), NOWHERE)
    return places


def _deal(packets: pl.DataFrame, flows: pl.DataFrame, places: dict[str, int], names: dict[str, str], count: int) -> int:
    """Give the hosts of addresses that have no place one in turn, in order of their first packet, its source first.

    Returns how many hosts that are.
    """
    source, target = flows["src"].to_list(), flows["dst"].to_list()
    dealt: dict[str, int] = {}
    of_flow = packets["flow_id"].unique(maintain_order=True)
    for address in (end for flow in of_flow for end in (source[flow], target[flow])):
        if places[address] == NOWHERE:
            places[address] = dealt.setdefault(names[address], len(dealt) % count)
    return len(dealt)


def host_names(flows: pl.DataFrame, prefixes: Sequence[str]) -> dict[str, str]:
    """The host of every address: itself, or the longest of the prefixes that it is in."""
    networks = sorted((ipaddress.ip_network(p) for p in prefixes), key=lambda network: -network.prefixlen)
    names: dict[str, str] = {}
    for text in pl.concat([flows["src"], flows["dst"]]).unique(maintain_order=True):
        address = ipaddress.ip_address(text)
        names[text] = next((str(network) for network in networks if address in network), text)
    return names


def in_order(hosts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Hosts (name, attachment) by attachment, then by address; names are those of `host_names`."""

    def rank(host: tuple[str, int]) -> tuple[int, int, int, int]:
        network = ipaddress.ip_network(host[0])
        return host[1], network.version, int(network.network_address), network.prefixlen

    return sorted(hosts, key=rank)
