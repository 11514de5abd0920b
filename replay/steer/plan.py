"""What a scenario means for a steering host: to whom, by which segment lists, with which headers and rules."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from segcast.analyzer.engine.steering import Scope
from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.of_forecast import encapsulation
from segcast.replay.srv6.signing import hmac_of
from segcast.replay.srv6.templates import HMAC_BYTES, IPV6_BYTES, Encapsulation, Templates, templates
from segcast.replay.steer.layout import MOST_HEADER_BYTES, MOST_SLOTS, NO_FLAGS, Flag, Granularity, PolicyCode
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant
from segcast.traces.units import duration_ns

POLICIES: Final[Mapping[str, tuple[PolicyCode, Granularity]]] = {
    "host-ecmp": (PolicyCode.HOST_ECMP, Granularity.FLOW),
    "random": (PolicyCode.RANDOM, Granularity.FLOWLET),
    "inflight": (PolicyCode.INFLIGHT, Granularity.FLOWLET),
    "round-robin": (PolicyCode.ROUND_ROBIN, Granularity.FLOWLET),
    "two-choices": (PolicyCode.TWO_CHOICES, Granularity.FLOWLET),
    "spray": (PolicyCode.RANDOM, Granularity.PACKET),
}
"""The policies of a forecast that the kernel's program has."""

_NEVER_NS: Final = 10**12
_DRAINED: Final = "drained"
_RTT: Final = "rtt"


@dataclass(frozen=True, slots=True)
class SteerPlan:
    """What a host is to do.

    `here` is the attachment where it sends from; `hosts` are its steering hosts, an address or a prefix each, with the
    outer source of each in `outer`; `paths` names the target and the segment list of each path by its number.
    """

    here: str
    hosts: tuple[str, ...]
    outer: tuple[str, ...]
    targets: tuple[tuple[str, str], ...]
    paths: dict[int, SteeredPath]
    tables: Tables
    most_header_bytes: int
    copies_hops: bool


class SteeredPath(NamedTuple):
    """A path: where it leads, its slot, and the addresses in the headers of IPv4 and of IPv6 packets."""

    target: str
    slot: int
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


def plan_steering(
    scenario: ValidScenario,
    here: str,
    hosts: Sequence[str],
    *,
    first_number: int = 0,
    assembled: Assembled | None = None,
    ways_out: Mapping[str, int] | None = None,
) -> SteerPlan:
    """The plan of a host at the attachment `here` that sends from `hosts`, addresses or prefixes.

    `first_number` is that of the first of them among all steering hosts, by which outer sources are numbered;
    `assembled`: the network as a forecast has it, so that paths have its numbers. `ways_out`: by the first address of a
    header, another interface that leads there. Raises InputError if the scenario cannot be steered by headers alone, or
    does not say who is behind the attachments.
    """
    mode = scenario.srv6.mode
    if mode.inserts or mode.layer_2:
        raise InputError(f"srv6.mode {mode}: a host pushes headers before its packets; give encaps, reduced or usid")
    fabric = scenario.fabric()
    names = [attachment.name for attachment in fabric.attachments]
    if here not in names:
        raise InputError(f"--at {here}: is no attachment{meant(here, names)}; there are {', '.join(names[:20])}")
    if any(not attachment.prefixes for attachment in fabric.attachments):
        raise scenario.wrong(("attachments",), "steering goes by prefixes: give every attachment its own")
    if not hosts:
        raise InputError(f"no address of this host is in a prefix of attachment {here}; give --from")
    place = names.index(here)
    if assembled is None:
        assembled = scenario.assembled([(place, other) for other in range(len(names)) if other != place])
    around = encapsulation(scenario, assembled, first_number + len(hosts), steered=True)
    outer = around.source[first_number:]
    pairs, paths, counters = _pairs(scenario, assembled, around, here, names, first_number, len(hosts), ways_out or {})
    targets = [(prefix, name) for name, at in zip(names, fabric.attachments, strict=True) for prefix in at.prefixes]
    # What carries the packets is never steered itself, whatever prefix of a target it is in.
    own = [scenario.srv6.source_prefix, scenario.srv6.block, *(f"{ipaddress.IPv6Address(a)}/128" for a in outer)]
    numbered = {_prefix(prefix): names.index(name) for prefix, name in targets} | dict.fromkeys(own, place)
    numbered |= {f"{sid}/128": place for path in paths.values() for sid in (*path.ipv4, *path.ipv6)}
    sources = tuple((_prefix(host), number) for number, host in enumerate(hosts))
    if len({prefix for prefix, _ in sources}) < len(sources):
        raise InputError("--from: an address is given twice")
    tables = Tables(sources, tuple(numbered.items()), pairs, counters)
    most = max(len(header) for pair in pairs for way in pair.ways for header in way[:2])
    return SteerPlan(
        here,
        tuple(hosts),
        tuple(str(ipaddress.IPv6Address(address)) for address in outer),
        tuple((prefix, name) for prefix, name in targets if name != here),
        paths,
        tables,
        most,
        scenario.srv6.copy_hop_limit,
    )


def _prefix(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def _pairs(
    scenario: ValidScenario,
    assembled: Assembled,
    around: Encapsulation,
    here: str,
    names: Sequence[str],
    first_number: int,
    hosts: int,
    ways_out: Mapping[str, int],
) -> tuple[tuple[SteeredPair, ...], dict[int, SteeredPath], int]:
    """The pairs of hosts and targets, the paths by number, and how many counters there are."""
    slots = assembled.network.group_slots()
    groups = [(group, b) for group, (a, b) in enumerate(assembled.groups) if a == here and b != here]
    first_counter, counters = _counters(scenario.steering.scope, hosts, [len(slots[group]) for group, _ in groups])
    laid_out = templates(around)
    pairs: list[SteeredPair] = []
    paths: dict[int, SteeredPath] = {}
    for number, (group, target) in enumerate(groups):
        if len(slots[group]) > MOST_SLOTS:
            raise InputError(
                f"{here} to {target}: has {len(slots[group])} paths; the program chooses among {MOST_SLOTS}"
            )
        for slot, path in enumerate(slots[group]):
            four, six = (
                tuple(str(ipaddress.IPv6Address(sid)) for sid in lists[path])
                for lists in (around.segments4, around.segments6)
            )
            paths[path] = SteeredPath(target, slot, four, six)
        for host in range(hosts):
            ways = tuple(
                Way(
                    headers_of(around, laid_out, first_number + host, path, family=0),
                    headers_of(around, laid_out, first_number + host, path, family=1),
                    ways_out.get(paths[path].ipv6[0], 0),
                )
                for path in slots[group]
            )
            pairs.append(SteeredPair(host, names.index(target), first_counter[host, number], slots[group].start, ways))
    return tuple(pairs), paths, counters


def _counters(scope: Scope, hosts: int, sizes: Sequence[int]) -> tuple[dict[tuple[int, int], int], int]:
    """The first counter of each host and target, and how many there are (docs/model.md, In-flight bytes)."""
    first: dict[tuple[int, int], int] = {}
    count = 0
    of: dict[tuple[int, int], int] = {}
    for host in range(hosts):
        for target, size in enumerate(sizes):
            owner = {"pair": (host, target), "host": (host, -1), "fabric": (-1, target)}[scope]
            if owner not in of:
                of[owner] = count
                count += max(sizes) if scope == "host" else size
            first[host, target] = of[owner]
    return first, count


def headers_of(around: Encapsulation, laid_out: Templates, host: int, path: int, *, family: int) -> bytes:
    """The outer header of a path with the host's source, for IPv4 inside or (`family` 1) IPv6.

    What differs between packets is 0 in it: traffic class, flow label, payload length.
    """
    header = bytearray(laid_out.headers[family, path, : laid_out.header_bytes[family, path]].tobytes())
    header[8:24] = around.source[host]
    if around.key is not None:
        header[-HMAC_BYTES:] = hmac_of(around.key, around.source[host], bytes(header[IPV6_BYTES:]))
    if len(header) > MOST_HEADER_BYTES:
        raise InputError(
            f"path {path}: its header takes {len(header)} bytes; the program pushes at most {MOST_HEADER_BYTES}"
        )
    return bytes(header)


def rules_of(
    plan: SteerPlan,
    steering: SteeringSpec,
    *,
    policy: str,
    timeout: str | None,
    seed: int,
    mtu_bytes: int,
    minimum_frame_bytes: int,
    ack_timeout_ns: int | None = None,
    counts_bare: bool = False,
) -> Rules:
    """The rules for a policy and a flowlet timeout, `3ms`, `rtt`, `drained`, or one of the first two `+drained`.

    `ack_timeout_ns`: after which a packet without acknowledgement counts as lost, instead of `steering.loss_timeout`.
    Raises InputError for what the program cannot do.
    """
    if policy not in POLICIES:
        raise InputError(
            f"--policy {policy}: the kernel's program has {', '.join(POLICIES)}{meant(policy, list(POLICIES))}"
        )
    code, granularity = POLICIES[policy]
    flags = Flag.LOGS | Flag.READS_SACK | (Flag.COUNTS_BARE if counts_bare else NO_FLAGS)
    flags |= Flag.COPIES_HOPS if plan.copies_hops else NO_FLAGS
    timeout_ns = 0
    if granularity == Granularity.FLOWLET:
        timeout_ns, more = _timeout(timeout)
        flags |= more
    return Rules(
        code,
        granularity,
        timeout_ns,
        flags,
        loss_timeout_ns=steering.loss_timeout if ack_timeout_ns is None else ack_timeout_ns,
        suspect_after=steering.suspect_after,
        suspect_for_ns=steering.suspect_for,
        seed=seed,
        mtu_bytes=mtu_bytes,
        minimum_frame_bytes=minimum_frame_bytes,
    )


def _timeout(text: str | None) -> tuple[int, Flag]:
    """The fixed part of a flowlet timeout, and what else starts flowlets."""
    if text is None:
        raise InputError("--timeout: the policy steers flowlets; give their timeout, such as 3ms, rtt or drained")
    parts = text.split("+")
    if len(parts) > 2 or (len(parts) == 2 and (parts[1] != _DRAINED or parts[0] == _DRAINED)):
        raise InputError(f"--timeout {text}: give one such as 3ms, rtt, drained, 3ms+drained or rtt+drained")
    flags = Flag.DRAINED if parts[-1] == _DRAINED else NO_FLAGS
    if parts[0] == _DRAINED:
        return _NEVER_NS, flags
    if parts[0] == _RTT:
        return 0, flags | Flag.BY_RTT
    if not re.match(r"\d", parts[0]):
        raise InputError(f"--timeout {text}: give one such as 3ms, rtt, drained, 3ms+drained or rtt+drained")
    return duration_ns(parts[0]), flags
