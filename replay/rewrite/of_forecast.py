"""From a forecast to its rewrite: the schedule, the captures and the segment lists, if they belong together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.forecast.reading import captured_origin, find_cell, read_schedule, trace_of
from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.network.sids import Flavor
from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.srv6 import HmacSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import steering_hosts
from segcast.replay.rewrite.admit import Mtu, Oversize
from segcast.replay.rewrite.interfaces import by_host, by_interface
from segcast.replay.rewrite.run import Hosts, RewriteChoices, rewrite_schedule
from segcast.replay.rewrite.summary import Resolution, RewriteSummary
from segcast.replay.srv6.ethernet import Vlan, parse_macs
from segcast.replay.srv6.remap import parse_prefixes
from segcast.replay.srv6.signing import read_key
from segcast.replay.srv6.templates import Encapsulation, Key
from segcast.traces.disk.folders import KINDS, real_target, refuse_inputs
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace

_MOST_SPEED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the captures of a rewrite are to differ from the forecast's packets, as the command line says it.

    `mtu`: the largest IP packet, SRv6 included, instead of `network.mtu`; `oversize`: what happens to larger ones.
    `map` and `map_mac`: `OLD=NEW` prefixes and MAC addresses. `vlan`: keep, strip, an ID, or OUTER.INNER. `speed`: how
    much faster packets are sent. `interfaces`: a file that groups hosts by the interface they inject at. `steer_all`:
    write the segment lists of their paths for policies that do not steer, too. `pcap`: resolution of the files' times.
    """

    mtu: int | None = None
    oversize: Oversize = "refuse"
    map: tuple[str, ...] = ()
    map_mac: tuple[str, ...] = ()
    vlan: str = "strip"
    speed: str = "1"
    pcap: Resolution = "ns"
    interfaces: Path | None = None
    steer_all: bool = False

    def choices(self, scenario: ValidScenario) -> RewriteChoices:
        """Parse the flags into choices. Raises InputError naming the flag."""
        mtu = self.mtu if self.mtu is not None else scenario.network.mtu
        if mtu is None and self.oversize != "refuse":
            raise InputError(f"--oversize {self.oversize} needs an MTU: give --mtu, or network.mtu in the scenario")
        return RewriteChoices(
            mtu=None if mtu is None else Mtu(mtu, self.oversize),
            prefixes=parse_prefixes(self.map) if self.map else None,
            macs=parse_macs(self.map_mac),
            vlan=Vlan.parse(self.vlan),
            speed=_speed(self.speed),
            pcap=self.pcap,
        )


def _speed(text: str) -> Fraction:
    try:
        speed = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--speed {text!r} is not a number, such as 2 or 0.5") from None
    if not Fraction(1, _MOST_SPEED) <= speed <= _MOST_SPEED or speed.denominator > _MOST_SPEED:
        raise InputError(f"--speed {text}: give {1 / _MOST_SPEED:f} to {_MOST_SPEED}, with at most six decimals")
    return speed


def rewrite_forecast(
    folder: Path,
    out: Path,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    load: float | None = None,
    wanted: Wanted | None = None,
    progress: Callable[[int], None] | None = None,
) -> RewriteSummary:
    """Write the schedule of one policy of a forecast as captures, one per steering host or interface, into `out`.

    `policy` and `timeout` are labels. Without a timeout, load or seed the first cell of the policy whose packets were
    kept is taken; the summary names it.
    Raises InputError if there is no such cell, the trace or its captures are gone or have changed since, what is
    `wanted` cannot be, or `out` is a forecast, a trace, or holds one of the captures.
    """
    _refuse_own_folders(out)
    captured_origin(folder)
    scenario = read_scenario(folder / "scenario.toml")
    if scenario.srv6.mode.inserts and scenario.traffic.link_scope == "include":
        raise scenario.wrong(
            ("traffic", "link_scope"),
            f"mode {scenario.srv6.mode} would steer packets of link scope by their own addresses, which no router "
            "forwards; exclude them",
        )
    wanted = wanted or Wanted()
    choices = wanted.choices(scenario)
    cell = find_cell(folder, policy, timeout, seed, load)
    trace = trace_of(folder)
    sources = captures_of(trace)
    refuse_inputs(out, sources)
    flows = trace.flow_table()
    hosts, of_flow = steering_hosts(flows, scenario.steering.hosts)
    steered = next(choice.policy.steered for choice in scenario.policies if choice.label == cell["policy"])
    network = network_of(folder, scenario)
    around = encapsulation(scenario, network, len(hosts), steered=steered or wanted.steer_all)
    macs = around.source_mac, around.destination_mac
    return rewrite_schedule(
        read_schedule(folder, cell["cell"]),
        flows,
        sources,
        around,
        Hosts(hosts, of_flow),
        out,
        cell=cell["cell"],
        forecast=folder,
        layer=trace.layer,
        sids=scenario.sid_table(network),
        resumed=trace.resumed_files,
        choices=replace(choices, last_node=arrival(around.mode, scenario.srv6.flavors)),
        outputs=by_host(hosts, *macs) if wanted.interfaces is None else by_interface(wanted.interfaces, hosts, *macs),
        progress=progress,
    )


def _refuse_own_folders(out: Path) -> None:
    """Raise InputError if `out` is a forecast or a trace, or the folder of packets in one."""
    real = real_target(out)
    for kind in KINDS.values():
        if kind.made(real) or (kind.within(real.name) and kind.made(real.parent)):
            raise InputError(f"{out}: is, or belongs to, a {kind.name}; give captures a folder of their own")


def captures_of(trace: Trace) -> list[Path | str]:
    """The captures of a trace, by `file`. Raises InputError if the trace does not have their packets as they are."""
    for fact, flag in (("anonymized", "--anonymize"), ("offload_split", "--split-offload")):
        if trace.info[fact]:
            raise InputError(
                f"{trace.folder}: was ingested with {flag}, so its packets are not those of the captures that a "
                f"rewrite copies; ingest without {flag} and forecast again"
            )
    return [source.path for source in trace.sources]


def encapsulation(scenario: ValidScenario, assembled: Assembled, hosts: int, *, steered: bool) -> Encapsulation:
    """The encapsulation a scenario asks for: host n sends from the n-th address of `source_prefix`.

    `assembled` is the scenario's network. Raises InputError if the prefix is too small for the hosts, or a group has no
    path that SRv6 could name.
    """
    spec = scenario.srv6
    layout = spec.layout()
    prefix = ipaddress.IPv6Network(spec.source_prefix)
    if hosts >= prefix.num_addresses:
        raise InputError(f"srv6.source_prefix {prefix} has no room for {hosts} hosts; give a shorter one")
    first = int(prefix.network_address) + 1
    if steered and any(a == b for a, b in assembled.groups):
        raise InputError(
            "packets between hosts of one attachment have no path with segments, so this forecast cannot be rewritten; "
            "forecast again without network.host_links"
        )

    def lists(family: int) -> tuple[tuple[bytes, ...], ...]:
        if spec.mode.inserts:
            return tuple(_packed(path.segments) for path in assembled.network.paths)
        return tuple(
            _packed(layout.on_the_wire((*path.segments, assembled.decapsulate[path.group][family])))
            for path in assembled.network.paths
        )

    return Encapsulation(
        mode=spec.mode.on_the_wire if steered else Mode.NONE,
        source=tuple((first + host).to_bytes(16, "big") for host in range(hosts)),
        hop_limit=None if spec.copy_hop_limit else spec.hop_limit,
        segments4=lists(0),
        segments6=lists(1),
        source_mac=_mac(spec.source_mac),
        destination_mac=_mac(spec.destination_mac),
        tag=spec.tag,
        key=_key(spec.hmac) if spec.hmac is not None and steered else None,
        named=spec.mode if steered else None,
    )


def arrival(mode: Mode, flavors: Sequence[Flavor]) -> str:
    """In words, what is around a packet where it leaves the network (RFC 8986 sections 4.16.1 to 4.16.3)."""
    if not mode.steers:
        return "nothing"
    popped = "psp" in flavors
    if mode.inserts:
        if popped:
            return "nothing: psp has taken the SRH out at the last SID"
        return "an SRH with no segments left, which the receiving host has to accept"
    srh = (
        "no SRH, which psp has taken off at the SID before, if there is one" if popped else "an SRH, if one was written"
    )
    return f"an IPv6 header and {srh}; the last SID takes them off"


def _key(spec: HmacSpec) -> Key:
    return read_key(spec.key_id, Path(spec.key_file), spec.flag)


def _packed(sids: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(ipaddress.IPv6Address(sid).packed for sid in sids)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
