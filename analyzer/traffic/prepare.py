"""From a trace's tables to what the engine sends: packets in order; each flow's host, ends and hash; the network."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import LATEST_NS, MAX_IP_BYTES
from segcast.analyzer.network.attachments import NOWHERE, Ends, ends_of, host_names, in_order
from segcast.analyzer.network.fabric import Edge, Fabric, Pair
from segcast.analyzer.network.model import Network
from segcast.analyzer.network.sides import Sides
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.fresh import FreshAddresses
from segcast.analyzer.traffic.growth import Growth, Spans, fitting, grow
from segcast.analyzer.traffic.selection import Selection, select
from segcast.traces.errors import InputError
from segcast.traces.hashing import flow_keys
from segcast.traces.units import write_size

TRAFFIC_COLUMNS: Final = ["time_ns", "flow_id", "ip_bytes", "tcp_flags", "file", "frame_number"]


class Extent(NamedTuple):
    """What enters the network: how much, and from when to when."""

    packets: int
    flows: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What enters the network, what does not, and the network as far as it is needed.

    `packets` are in send order; `file` uint16[n] and `frame_number` uint64[n] say where each was captured, `row`
    int64[n] where it is in PACKETS. `hosts` names the steering hosts that `plan.host` numbers. `placed` bool[flows]:
    whether both ends of a flow have an attachment. `selection` says which flows are not to enter; `excluded` counts
    packets left out, by reason. `groups` names the attachments between which the paths of each group lead; `sides` says
    how hosts were put at two, if no prefix did; `edges` are the network's links with those of hosts. With `growth` the
    plan also has the flows of copied connections, which `at_growth` sends; `packets` are those of the trace. `dealt`
    counts hosts that were given one of `attachments` in turn. `pairs` are those of `groups` by number, `host_ends` the
    hosts that have links of their own (name, attachment): what the network is assembled for.
    """

    packets: Packets
    file: NDArray[np.uint16]
    frame_number: NDArray[np.uint64]
    row: NDArray[np.int64]
    plan: FlowPlan
    hosts: tuple[str, ...]
    placed: NDArray[np.bool_]
    excluded: dict[str, int]
    network: Network
    groups: tuple[tuple[str, str], ...]
    selection: Selection
    sides: Sides | None = None
    edges: tuple[Edge, ...] = ()
    dealt: int = 0
    attachments: int = 0
    growth: Growth | None = None
    pairs: tuple[Pair, ...] = ()
    host_ends: tuple[tuple[str, int], ...] = ()

    def at_growth(self, factor: Fraction) -> Traffic:
        """The traffic with the connections and copies that are sent at a factor of growth by flows."""
        if self.growth is None:
            return self
        packets, row = self.growth.packets(self.packets, factor)
        return replace(
            self, packets=packets, file=self.file[row], frame_number=self.frame_number[row], row=self.row[row]
        )

    @property
    def extent(self) -> Extent:
        """What enters, and from when to when."""
        send_ns = self.packets.send_ns
        return Extent(len(send_ns), len(np.unique(self.packets.flow)), int(send_ns[0]), int(send_ns[-1]))

    @property
    def flow_bytes(self) -> NDArray[np.int64]:
        """IP bytes that each flow sends, int64[flows]; each copy's are those of its whole."""
        counts = np.bincount(self.packets.flow, self.packets.ip_bytes, len(self.plan.keys)).astype(np.int64)
        return counts if self.growth is None else counts[self.growth.origin]


def prepare(
    packets: pa.Table,
    flows: pa.Table,
    scenario: ValidScenario,
    *,
    rows_are: str = "packets",
    as_captured: bool = True,
    spans: Spans | None = None,
) -> Traffic:
    """Traffic of a trace (tables PACKETS and FLOWS) under a scenario, at the rate of the trace.

    `rows_are` names in errors what is counted, where a packet stands for each flow. Raises InputError if nothing is
    left to send, or the network cannot carry it. Unless all packets leave `as_captured` sizes are not looked at, and
    hosts' links are numbered in the order of hosts, not of flows. `spans` are what flows send, if the packets only
    stand for them.
    """
    rows = pl.from_arrow(packets.select(TRAFFIC_COLUMNS))
    table = pl.from_arrow(flows)
    assert isinstance(rows, pl.DataFrame)
    assert isinstance(table, pl.DataFrame)
    rows = rows.with_row_index("row")
    with_ip = rows.filter(pl.col("flow_id").is_not_null() & pl.col("ip_bytes").is_not_null())
    if not with_ip["time_ns"].is_sorted():
        with_ip = with_ip.sort("time_ns", maintain_order=True)
    words = flow_words(table)
    selection = select(words, table["ip_version"].fill_null(0).to_numpy(), scenario.traffic)
    of_packet = with_ip["flow_id"].to_numpy()
    left_out = {why: int(of_flow[of_packet].sum()) for why, of_flow in selection._asdict().items()}
    with_ip, no_ip = with_ip.filter(pl.Series(selection.taken[of_packet])), len(rows) - len(with_ip)
    fitting = with_ip.filter(pl.col("ip_bytes") <= MAX_IP_BYTES)
    fabric = scenario.fabric()
    names = host_names(table, scenario.steering.hosts)
    ends = ends_of(with_ip, table, fabric, names, spread=scenario.unassigned == "spread" and fabric.deals)
    placed = (ends.source != NOWHERE) & (ends.target != NOWHERE)
    crosses = placed & ((ends.source != ends.target) | (fabric.hosts is not None))
    of_packet = fitting["flow_id"].to_numpy()
    chosen = fitting.filter(pl.Series(crosses[of_packet]))
    unassigned = len(fitting) - int(placed[of_packet].sum())
    excluded = {
        "no_ip": no_ip,
        **left_out,
        "too_large": len(with_ip) - len(fitting),
        "unassigned": unassigned,
        "same_attachment": len(fitting) - len(chosen) - unassigned,
    }
    if len(chosen) == 0:
        raise InputError(
            f"no packet of the trace enters the network; of its {rows_are} {excluded['no_ip']} are without IP, "
            f"{excluded['link_scope']} of link scope, {excluded['deselected']} not of the traffic that was chosen, "
            f"{excluded['too_large']} too large, {unassigned} of addresses without attachment, and "
            f"{excluded['same_attachment']} do not cross between the attachments"
        )
    used = np.unique(chosen["flow_id"].to_numpy())
    pairs = _pairs(fabric, ends, used)
    group = np.zeros(len(table), np.int64)
    number = {pair: place for place, pair in enumerate(pairs)}
    group[used] = [number[int(ends.source[flow]), int(ends.target[flow])] for flow in used]
    links = _HostLinks(table, names, ends, used, sort=not as_captured) if fabric.hosts is not None else None
    # Kernels are compiled anew for arrays that may not be written, so those of polars would cost seconds per policy.
    send_ns, flow, ip_bytes = (chosen[name].to_numpy(writable=True) for name in ("time_ns", "flow_id", "ip_bytes"))
    hosts, host = steering_hosts(flows, scenario.steering.hosts)
    plan = FlowPlan(flow_keys(words), host, group, words, np.maximum(ends.source, 0))
    growth = None
    if scenario.grows:
        crossing = np.zeros(len(table), np.bool_)
        crossing[used] = True
        growth = _growth(Packets(send_ns, flow, ip_bytes), table, words, scenario, spans, crossing)
        fresh = FreshAddresses(names, int(growth.population.max()), scenario.growth_spec.seed)
        plan, hosts = _grown_plan(plan, hosts, table, growth, fresh)
        links = links and links.grown(growth, fresh)
    assembled = scenario.assembled(pairs, links.hosts if links else ())
    network = scenario.changed(assembled, int(send_ns[0]))
    if links is not None:
        first = len(fabric.links)
        plan = plan._replace(uplink=first + 2 * links.source, downlink=first + 2 * links.target + 1)
    traffic = Traffic(
        Packets(send_ns, flow, ip_bytes),
        chosen["file"].to_numpy(),
        chosen["frame_number"].to_numpy(),
        chosen["row"].cast(pl.Int64).to_numpy(),
        plan,
        hosts,
        placed,
        excluded,
        network,
        assembled.groups,
        selection,
        ends.sides,
        assembled.edges,
        ends.dealt,
        len(fabric.attachments),
        growth,
        tuple(pairs),
        links.hosts if links else (),
    )
    if as_captured:
        check_mtu(network, group[flow], ip_bytes, scenario, rows_are)
    return traffic


def _pairs(fabric: Fabric, ends: Ends, used: NDArray[np.int64]) -> list[Pair]:
    """The pairs of attachments between which the trace has packets, and those that the fabric always has."""
    found = {(int(ends.source[flow]), int(ends.target[flow])) for flow in used}
    return sorted(found | set(fabric.always), key=lambda pair: (pair[0] == pair[1], pair))


def _growth(
    packets: Packets,
    flows: pl.DataFrame,
    words: NDArray[np.uint64],
    scenario: ValidScenario,
    spans: Spans | None,
    crosses: NDArray[np.bool_],
) -> Growth:
    """The growth of these packets, the trace's, up to the highest factor of the scenario."""
    if spans is None:
        first_ns, last_ns = np.zeros(len(flows), np.int64), np.zeros(len(flows), np.int64)
        first_ns[packets.flow[::-1]], last_ns[packets.flow] = packets.send_ns[::-1], packets.send_ns
        spans = Spans(np.bincount(packets.flow, packets.ip_bytes, len(flows)).astype(np.int64), first_ns, last_ns)
    spans = spans._replace(bytes=np.where(crosses, spans.bytes, 0))
    reverse = flows["reverse_flow_id"].cast(pl.Int64).fill_null(-1).to_numpy()
    spec = scenario.growth_spec
    grows = fitting(spec.groups, words, flows["ip_version"].fill_null(0).to_numpy())
    if not (grows & crosses).any():
        raise scenario.wrong(("growth", "groups"), "no connection of the trace that crosses the network is of them")
    return grow(spec, max(one.flows for one in scenario.offered), spans, reverse, grows)


def _grown_plan(
    plan: FlowPlan, hosts: tuple[str, ...], flows: pl.DataFrame, growth: Growth, fresh: FreshAddresses
) -> tuple[FlowPlan, tuple[str, ...]]:
    """The plan and the steering hosts with those of copies, whose addresses are fresh."""
    population, origin = growth.population, growth.origin
    copies = np.flatnonzero(population > 0)
    assert plan.words is not None
    words = plan.words[origin]
    for column, end in ((0, "src"), (2, "dst")):
        number = np.array([fresh.number[address] for address in flows[end]], np.int64)
        words[copies, column : column + 2] = fresh.words(population[copies], number[origin[copies]])
    host = plan.host[origin]
    used, place = np.unique(population[copies] * len(hosts) + host[copies], return_inverse=True)
    host[copies] = len(hosts) + place
    of_host = np.array([fresh.number[name] for name in hosts], np.int64)
    names = fresh.texts(used // len(hosts), of_host[used % len(hosts)])
    attachment = None if plan.attachment is None else plan.attachment[origin]
    return FlowPlan(flow_keys(words), host, plan.group[origin], words, attachment), (*hosts, *names)


class _HostLinks:
    """The hosts' links that are needed: `hosts` (name, attachment), and of each flow the place of its ends among them.

    A host that sits at several attachments, by its addresses or by its conversations, has a link at each.
    """

    def __init__(
        self, flows: pl.DataFrame, names: dict[str, str], ends: Ends, used: NDArray[np.int64], *, sort: bool
    ) -> None:
        numbers: dict[tuple[str, int], int] = {}
        found: list[NDArray[np.int64]] = []
        for side, places in (("src", ends.source), ("dst", ends.target)):
            addresses = flows[side]
            numbered = np.zeros(len(flows), np.int64)
            for flow in used:
                host = (names[addresses[int(flow)]], int(places[flow]))
                numbered[flow] = numbers.setdefault(host, len(numbers))
            found.append(numbered)
        self.hosts = tuple(in_order(numbers)) if sort else tuple(numbers)
        place = np.zeros(len(numbers), np.int64)
        place[[numbers[host] for host in self.hosts]] = np.arange(len(numbers))
        self.source, self.target = (place[numbered] for numbered in found)
        self._sort = sort

    def grown(self, growth: Growth, fresh: FreshAddresses) -> _HostLinks:
        """The same with a link for each host of a copy."""
        count, population = len(self.hosts), growth.population
        codes = [population * count + ends[growth.origin] for ends in (self.source, self.target)]
        copied = np.unique(np.concatenate([code[population > 0] for code in codes]))
        number = np.array([fresh.number[name] for name, _ in self.hosts], np.int64)
        texts = fresh.texts(copied // count, number[copied % count])
        more = [(text, self.hosts[code % count][1]) for text, code in zip(texts, copied.tolist(), strict=True)]
        hosts = [*self.hosts, *more]
        order = (
            [*self.hosts, *in_order(more)] if self._sort else hosts
        )  # the links of the trace's own stay what they are
        rank = {host: place for place, host in enumerate(order)}
        place = np.array([rank[host] for host in hosts], np.int64)
        used = np.concatenate([np.arange(count), copied])
        found = copy(self)
        found.hosts = tuple(order)
        found.source, found.target = (place[np.searchsorted(used, code)] for code in codes)
        return found


def srv6_overhead(traffic: Traffic) -> tuple[int, int]:
    """The largest packet of the traffic in IP bytes, without SRv6 and with it on the path that adds most."""
    largest = int(traffic.packets.ip_bytes.max())
    return largest, largest + max(path.srv6_bytes for path in traffic.network.paths)


def check_mtu(
    network: Network,
    group: NDArray[np.int64],
    ip_bytes: NDArray[np.uint32] | NDArray[np.int64],
    scenario: ValidScenario,
    rows_are: str,
) -> None:
    """Raise InputError if packets of `ip_bytes` between the ends of `group`, both [n], would be too large when steered.

    `rows_are` says what they are. Nothing is checked without an MTU.
    """
    mtu = scenario.network.mtu
    if mtu is None:
        return
    extra = np.array([max(network.paths[path].srv6_bytes for path in slots) for slots in network.group_slots()])
    sizes = ip_bytes.astype(np.int64) + extra[group]
    over = int((sizes > mtu).sum())
    if over:
        raise scenario.wrong(
            ("network", "mtu"),
            f"of {len(sizes)} {rows_are} {over} are larger than {write_size(mtu)} with SRv6 around them; "
            f"{int(sizes.max())}B would do",
        )


def at_load(packets: Packets, load: Fraction, first_ns: int) -> Packets:
    """The packets at `load` times their rate: times scaled about `first_ns`. Raises InputError beyond 64 bits."""
    if load == 1 or len(packets.send_ns) == 0:
        return packets
    if first_ns + (int(packets.send_ns[-1]) - first_ns) / load >= LATEST_NS:
        raise InputError(f"load {float(load):g} would stretch the trace beyond what 64 bits of nanoseconds hold")
    return packets._replace(send_ns=scaled_ns(packets.send_ns, first_ns, load))


def scaled_ns(time_ns: NDArray[np.int64], first_ns: int, load: Fraction) -> NDArray[np.int64]:
    """Times, int64[n], compressed by `load` about `first_ns`: first + (t - first) // load."""
    # In parts, so that no product exceeds 64 bits.
    whole, rest = np.divmod(time_ns - first_ns, load.numerator)
    compressed: NDArray[np.int64] = first_ns + whole * load.denominator + rest * load.denominator // load.numerator
    return compressed


def steering_hosts(flows: pa.Table, prefixes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the steering hosts in order of their first flow, and the host of each flow."""
    table = pl.from_arrow(flows.select(["src", "dst"]))
    assert isinstance(table, pl.DataFrame)
    names = host_names(table, prefixes)
    numbers: dict[str, int] = {}
    host = [numbers.setdefault(names[address], len(numbers)) for address in table["src"]]
    return tuple(numbers), np.array(host, np.int64)


def flow_words(flows: pl.DataFrame) -> NDArray[np.uint64]:
    """Five-tuples as uint64[n, 5]: the words that `flow_keys` folds."""
    packed: dict[str, tuple[int, int]] = {}
    for text in pl.concat([flows["src"], flows["dst"]]).unique():
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        value = int.from_bytes(socket.inet_pton(family, text), "big")
        packed[text] = (value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)
    words = np.zeros((len(flows), 5), np.uint64)
    for column, name in ((0, "src"), (2, "dst")):
        values = [packed[address] for address in flows[name]]
        words[:, column : column + 2] = np.array(values, np.uint64).reshape(-1, 2)
    ports = (flows["src_port"].fill_null(0).cast(pl.UInt64) * 65536) + flows["dst_port"].fill_null(0)
    words[:, 4] = ((flows["protocol"].cast(pl.UInt64) * 2**32) + ports).to_numpy()
    return words
