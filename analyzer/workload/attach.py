"""Where a workload meets a network: its hosts' addresses and links, its connections as flows, their paths."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.network.attachments import NOWHERE, ends_of, host_names, in_order
from segcast.analyzer.network.fabric import Assembled, Fabric
from segcast.analyzer.network.model import Network
from segcast.analyzer.network.numbered import address_of
from segcast.analyzer.network.sides import Sides
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.workload.grown import Ends, copies_of, growth_of, with_copies, with_their_ends
from segcast.analyzer.workload.table import UNPINNED, Workload, first_rows, streams
from segcast.traces.errors import InputError
from segcast.traces.hashing import flow_keys
from segcast.traces.protocols import SYN, TCP

FIRST_PORT: Final = 10_000
SERVER_PORT: Final = 5_001
_PORTS: Final = 65_536 - FIRST_PORT


@dataclass(frozen=True, slots=True, eq=False)
class AttachedWorkload:
    """A workload on a network. A connection c is two flows: 2c from the host that sends its first flow, 2c + 1 back.

    `plan` says of these flows what a FlowPlan does; `pin` int64[flows] is the slot that each is pinned to, or UNPINNED.
    `connection` int64[rows] numbers the connection of each row of the list, `flow_of_row` int64[rows] is the flow that
    carries its bytes; `flow_of_row ^ 1` carries their acknowledgements. `hosts` names the steering hosts that
    `plan.host` numbers, `groups` the attachments between which the paths of each group lead. `ports` int64[connections,
    2] are those of the first and the second host, `ends` int64[connections, 2] those hosts by place in `addresses`.
    With `growth` all of this has copies of connections, too, behind the list's own (`grown`).
    """

    workload: Workload
    plan: FlowPlan
    pin: NDArray[np.int64]
    network: Network
    assembled: Assembled
    hosts: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    connection: NDArray[np.int64]
    flow_of_row: NDArray[np.int64]
    addresses: tuple[str, ...]
    ends: NDArray[np.int64]
    ports: NDArray[np.int64]
    sides: Sides | None = None
    dealt: int = 0
    growth: Growth | None = None


@dataclass(frozen=True, slots=True)
class _Hosts:
    """The hosts of a workload: `source` and `target` int64[rows] by place; of each its address and its attachment."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    addresses: tuple[str, ...]
    place: NDArray[np.int64]
    sides: Sides | None = None
    dealt: int = 0


def attach(workload: Workload, scenario: ValidScenario) -> AttachedWorkload:
    """A workload on the network of a scenario. Raises InputError naming the row that the network cannot carry."""
    for key in ("only", "without"):
        if getattr(scenario.traffic, key):
            message = "chooses packets of a trace, and a flow list is sent whole: leave it out"
            raise scenario.wrong(("traffic", key), message)
    fabric = scenario.fabric()
    hosts = _numbered(workload, fabric, scenario) if not workload.addresses else _addressed(workload, fabric, scenario)
    _check_crossing(workload, hosts, fabric)
    first = first_rows(workload.connection)
    client, server = hosts.source[first], hosts.target[first]
    names = host_names(pl.DataFrame({"src": hosts.addresses, "dst": hosts.addresses}), scenario.steering.hosts)
    ports = _ports(client, server, len(hosts.addresses))
    at = Ends(hosts.addresses, hosts.place, names, np.stack([client, server], axis=1), ports)
    words = _words(at.addresses, at.ends, at.ports)
    begin_ns, growth = int(workload.start_ns.min()), None
    if scenario.grows:
        growth = growth_of(workload, words, scenario)
        copies = copies_of(growth)
        workload, at = with_copies(workload, copies), with_their_ends(at, copies, scenario.growth_spec.seed)
        first, words = first_rows(workload.connection), _words(at.addresses, at.ends, at.ports)

    pairs, group = _groups(fabric, at.place[at.ends])
    steering, host = _numbered_names([at.names[address] for address in at.addresses], at.ends.reshape(-1))
    links, uplink, downlink = _host_links(fabric, at, len(hosts.addresses))
    assembled = scenario.assembled(pairs, links)
    plan = FlowPlan(flow_keys(words), host, group, words, at.place[at.ends].reshape(-1), uplink, downlink)
    return AttachedWorkload(
        workload,
        plan,
        _pins(workload, assembled.network, group, first),
        scenario.changed(assembled, begin_ns),
        assembled,
        steering,
        assembled.groups,
        workload.connection,
        streams(workload),
        at.addresses,
        at.ends,
        at.ports,
        hosts.sides,
        hosts.dealt,
        growth,
    )


def _numbered(workload: Workload, fabric: Fabric, scenario: ValidScenario) -> _Hosts:
    """Hosts that the list gives by number: `per_attachment` at each attachment, in order."""
    if fabric.per_attachment is None:
        key = {"leaf-spine": "hosts_per_leaf", "parallel": "hosts_per_side"}.get(scenario.kind, "hosts_per_attachment")
        raise InputError(
            f"{workload.where(0, 'src')}: hosts are numbers, and {scenario.source} does not say how many there are; "
            f"give network.{key}, or addresses"
        )
    total = fabric.per_attachment * len(fabric.attachments)
    for column, end in (("src", workload.source), ("dst", workload.target)):
        if (end >= total).any():
            row = int(np.argmax(end >= total))
            raise workload.wrong(
                row, column, f"there is no host {end[row]}; the network of {scenario.source} has {total:,}, from 0 on"
            )
    used, both = np.unique(np.concatenate([workload.source, workload.target]), return_inverse=True)
    place = used // fabric.per_attachment
    addresses = []
    for number, attachment in zip(used.tolist(), place.tolist(), strict=True):
        address = address_of(fabric.attachments, attachment, number % fabric.per_attachment)
        if address is None:
            at = fabric.attachments[attachment]
            raise scenario.wrong(
                at.place or ("network",),
                f"{at.prefixes[0]} of {at.name} has fewer than {fabric.per_attachment} addresses for its hosts",
            )
        addresses.append(address)
    if len({":" in address for address in addresses}) > 1:
        raise scenario.wrong(
            ("network",), "the first prefixes of attachments are of both IP versions: give those of one"
        )
    _check_addresses(fabric, addresses, place, scenario)
    count = len(workload)
    return _Hosts(both[:count].astype(np.int64), both[count:].astype(np.int64), tuple(addresses), place)


def _check_addresses(fabric: Fabric, addresses: list[str], place: NDArray[np.int64], scenario: ValidScenario) -> None:
    """Raise InputError unless each attachment's own addresses lead to it: prefixes may overlap."""
    found = [(ipaddress.ip_network(p), at) for at, each in enumerate(fabric.attachments) for p in each.prefixes]
    if not any(a.version == b.version and a.overlaps(b) for a, b in _neighbours(found)):
        return
    found.sort(key=lambda entry: -entry[0].prefixlen)
    for text, attachment in zip(addresses, place.tolist(), strict=True):
        address = ipaddress.ip_address(text)
        leads = next((at for prefix, at in found if address in prefix), attachment)
        if leads != attachment:
            mine, other = fabric.attachments[attachment].name, fabric.attachments[leads].name
            raise scenario.wrong(("network",), f"{text} of a host at {mine} is in a prefix of {other}: give others")


def _neighbours(
    found: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]],
) -> list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    """Prefixes that follow each other in order of address: if any two overlap, two of these do."""
    ordered = sorted((prefix for prefix, _ in found), key=lambda p: (p.version, int(p.network_address), p.prefixlen))
    return list(itertools.pairwise(ordered))


def _addressed(workload: Workload, fabric: Fabric, scenario: ValidScenario) -> _Hosts:
    """Hosts that the list gives by address: where the scenario puts them, as those of a trace."""
    count = len(workload.addresses)
    order = np.argsort(workload.start_ns, kind="stable")
    code = workload.source[order] * count + workload.target[order]
    pairs, begins, inverse = np.unique(code, return_index=True, return_inverse=True)
    sizes = np.bincount(inverse, workload.bytes[order], len(pairs)).astype(np.int64)
    ranked = np.argsort(begins, kind="stable")
    pairs, sizes = pairs[ranked], sizes[ranked]
    named = np.array(workload.addresses, object)
    flows = pl.DataFrame(
        {
            "src": pl.Series(named[pairs // count], dtype=pl.String),
            "dst": pl.Series(named[pairs % count], dtype=pl.String),
            "src_port": np.full(len(pairs), FIRST_PORT),
            "dst_port": np.full(len(pairs), SERVER_PORT),
            "bytes": sizes,
            "reverse_flow_id": pl.Series([None] * len(pairs), dtype=pl.Int64),
        }
    )
    packets = pl.DataFrame({"flow_id": np.arange(len(pairs)), "tcp_flags": np.full(len(pairs), SYN)})
    names = host_names(flows, scenario.steering.hosts)
    spread = scenario.unassigned == "spread" and fabric.deals
    ends = ends_of(packets, flows, fabric, names, spread=spread)
    place = np.full(count, NOWHERE, np.int64)
    place[pairs // count], place[pairs % count] = ends.source, ends.target
    for column, end in (("src", workload.source), ("dst", workload.target)):
        missing = place[end] == NOWHERE
        if missing.any():
            row = int(np.argmax(missing))
            host = workload.host(int(end[row]))
            raise workload.wrong(row, column, f"{host} is in no prefix of an attachment of {scenario.source}")
    return _Hosts(workload.source, workload.target, workload.addresses, place, ends.sides, ends.dealt)


def _check_crossing(workload: Workload, hosts: _Hosts, fabric: Fabric) -> None:
    if fabric.hosts is not None:
        return
    within = hosts.place[hosts.source] == hosts.place[hosts.target]
    if within.any():
        row = int(np.argmax(within))
        at = fabric.attachments[int(hosts.place[hosts.source[row]])].name
        a, b = hosts.addresses[int(hosts.source[row])], hosts.addresses[int(hosts.target[row])]
        raise workload.wrong(
            row, "dst", f"{a} and {b} are both at {at}, so this would cross no link; give network.host_links"
        )


def _ports(client: NDArray[np.int64], server: NDArray[np.int64], hosts: int) -> NDArray[np.int64]:
    """Ports of each connection: from 10000 on by running number among those of its two hosts, to 5001."""
    pair = client * hosts + server
    order = np.argsort(pair, kind="stable")
    begins = np.flatnonzero(np.diff(pair[order], prepend=-1))
    running = np.empty(len(pair), np.int64)
    running[order] = np.arange(len(pair)) - np.repeat(begins, np.diff(np.append(begins, len(pair))))
    return np.stack([FIRST_PORT + running % _PORTS, SERVER_PORT + running // _PORTS], axis=1)


def _words(addresses: tuple[str, ...], ends: NDArray[np.int64], ports: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Five-tuples of both flows of each connection, uint64[flows, 5], as `flow_keys` folds them."""
    values = [int(ipaddress.ip_address(text)) for text in addresses]
    halves = np.array([[value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF] for value in values], np.uint64)
    words = np.empty((2 * len(ends), 5), np.uint64)
    for side in (0, 1):
        words[side::2, 0:2] = halves[ends[:, side]]
        words[side::2, 2:4] = halves[ends[:, 1 - side]]
        words[side::2, 4] = (TCP << 32) + (ports[:, side] << 16) + ports[:, 1 - side]
    return words


def _groups(fabric: Fabric, place: NDArray[np.int64]) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Pairs of attachments in the order of their groups, and the group of each flow; `place` int64[connections, 2]."""
    count = len(fabric.attachments)
    code = np.stack([place[:, 0] * count + place[:, 1], place[:, 1] * count + place[:, 0]], axis=1).reshape(-1)
    used, inverse = np.unique(code, return_inverse=True)
    found = {(int(pair) // count, int(pair) % count) for pair in used}
    pairs = sorted(found | set(fabric.always), key=lambda pair: (pair[0] == pair[1], pair))
    number = {pair: group for group, pair in enumerate(pairs)}
    groups = np.array([number[int(pair) // count, int(pair) % count] for pair in used], np.int64)
    return pairs, groups[inverse]


def _numbered_names(names: list[str], host: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names in order of their first flow, and the number of each flow's; `names` by host, `host` by flow."""
    number: dict[str, int] = {}
    used, begins = np.unique(host, return_index=True)
    of_host = np.zeros(len(names), np.int64)
    for place in used[np.argsort(begins)].tolist():
        of_host[place] = number.setdefault(names[place], len(number))
    return tuple(number), of_host[host]


def _host_links(
    fabric: Fabric, at: Ends, own_hosts: int
) -> tuple[tuple[tuple[str, int], ...], NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """The hosts (name, attachment) that have links, if links are modelled, and each flow's uplink and downlink."""
    if fabric.hosts is None:
        return (), None, None
    named = [(at.names[address], place) for address, place in zip(at.addresses, at.place.tolist(), strict=True)]
    # The links of copies' hosts come after those of the list's own.
    own, copied = set(named[:own_hosts]), set(named[own_hosts:])
    number = {host: place for place, host in enumerate([*in_order(own), *in_order(copied - own)])}
    of_host = np.array([number[host] for host in named], np.int64)
    first = len(fabric.links)
    sends, receives = of_host[at.ends].reshape(-1), of_host[at.ends[:, ::-1]].reshape(-1)
    return tuple(number), first + 2 * sends, first + 2 * receives + 1


def _pins(
    workload: Workload, network: Network, group: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The slot that each flow is pinned to: that of its connection, both ways. Raises InputError if there is none."""
    slots = np.array([len(each) for each in network.group_slots()], np.int64)
    path = workload.path[first]
    there = np.minimum(slots[group[::2]], slots[group[1::2]])
    if (path >= there).any():
        row = int(first[np.argmax(path >= there)])
        most = int(there[np.argmax(path >= there)])
        raise workload.wrong(
            row, "path", f"there is no slot {workload.path[row]}: {most} paths lead there, numbered from 0"
        )
    assert path.min(initial=UNPINNED) >= UNPINNED
    return np.repeat(path, 2)
