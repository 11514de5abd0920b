"""`segcast steer plan`, `attach`, `status` and `detach`: from a scenario and a machine to a host that steers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.steer import clsact
from segcast.replay.steer.attach import By, Steered, pin_folder, unpin
from segcast.replay.steer.layout import Flag
from segcast.replay.steer.plan import SteerPlan, plan_steering, rules_of
from segcast.replay.steer.program import digest
from segcast.replay.steer.surroundings import (
    OWN_NAMES,
    addresses_of,
    hooks,
    interface_number,
    mtu_of,
    own_filters,
    refusals,
    route_mtu,
    ways_out,
    why_no_bpf,
)
from segcast.replay.steer.tables import Rules
from segcast.traces.errors import InputError

_TURN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of the host: where it is attached to the network, and what its addresses are.

    `at` and `sources`: None and none for what its own addresses say. `number`: that of its first steering host.
    """

    interface: str
    at: str | None = None
    sources: tuple[str, ...] = ()
    number: int = 0


def plan_of(scenario: ValidScenario, wanted: Wanted) -> SteerPlan:
    """What the host is to do. Raises InputError."""
    interface_number(wanted.interface)
    own = list(wanted.sources) or addresses_of()
    here = wanted.at or place_of(scenario, own)
    prefixes = [
        ipaddress.ip_network(prefix)
        for attachment in scenario.fabric().attachments
        if attachment.name == here
        for prefix in attachment.prefixes
    ]
    if not wanted.sources:
        own = [address for address in own if any(ipaddress.ip_address(address) in prefix for prefix in prefixes)]
    hosts = grouped(own, scenario.steering.hosts)
    plan = plan_steering(scenario, here, hosts, first_number=wanted.number)
    carriers = [
        (path.ipv6[0], prefix) for path in plan.paths.values() for prefix, name in plan.targets if name == path.target
    ]
    if found := ways_out(carriers):
        plan = plan_steering(scenario, here, hosts, first_number=wanted.number, ways_out=found)
    return plan


def place_of(scenario: ValidScenario, own: Sequence[str]) -> str:
    """The attachment in whose prefixes these addresses are."""
    found: dict[str, str] = {}
    for text in own:
        network = ipaddress.ip_network(text, strict=False)
        holding = [
            (prefix.prefixlen, attachment.name)
            for attachment in scenario.fabric().attachments
            for prefix in map(ipaddress.ip_network, attachment.prefixes)
            if prefix.version == network.version and network.network_address in prefix
        ]
        if holding:
            found.setdefault(max(holding)[1], text)
    if not found:
        raise InputError("no address of this host is in a prefix of an attachment; give --at and --from")
    if len(found) > 1:
        (a, x), (b, y) = list(found.items())[:2]
        raise InputError(f"this host has addresses at several attachments, {x} at {a} and {y} at {b}; give --at")
    return next(iter(found))


def grouped(own: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Steering hosts: the longest prefix of the scenario's that an address is in, else the address."""
    networks = sorted(map(ipaddress.ip_network, groups), key=lambda network: -network.prefixlen)
    found: dict[str, None] = {}
    for text in own:
        network = ipaddress.ip_network(text, strict=False)
        holding = next(
            (group for group in networks if group.version == network.version and network.network_address in group), None
        )
        found[str(holding or network)] = None
    return list(found)


def plan_document(plan: SteerPlan, wanted: Wanted, *, allow_default_route: bool = False) -> dict[str, Any]:
    """A plan as JSON values, with what speaks against it."""
    by_path = {
        pair.first_path + slot: way for pair in reversed(plan.tables.pairs) for slot, way in enumerate(pair.ways)
    }
    room = mtu_of(wanted.interface)
    return {
        "interface": wanted.interface,
        "at": plan.here,
        "hosts": [
            {"source": source, "outer_source": outer} for source, outer in zip(plan.hosts, plan.outer, strict=True)
        ],
        "targets": [
            {"prefix": prefix, "attachment": name, "route_mtu": route_mtu(wanted.interface, prefix)}
            for prefix, name in plan.targets
        ],
        "paths": [
            {
                "path_id": number,
                "to": path.target,
                "slot": path.slot,
                "ipv4": list(path.ipv4),
                "ipv6": list(path.ipv6),
                "header_ipv4": by_path[number].ipv4.hex(),
                "header_ipv6": by_path[number].ipv6.hex(),
            }
            for number, path in plan.paths.items()
        ],
        "header_bytes": plan.most_header_bytes,
        "mtu": room,
        "largest_packet_bytes": room - plan.most_header_bytes,
        "program_sha256": digest(),
        "refused": refusals(
            wanted.interface, plan.targets, plan.most_header_bytes, allow_default_route=allow_default_route
        ),
    }


def rules_for(
    scenario: ValidScenario,
    plan: SteerPlan,
    wanted: Wanted,
    *,
    policy: str,
    timeout: str | None,
    seed: int,
    ack_timeout_ns: int | None,
) -> Rules:
    """The rules of an attachment to the wanted interface, whose MTU bounds what leaves."""
    return rules_of(
        plan,
        scenario.steering,
        policy=policy,
        timeout=timeout,
        seed=seed,
        mtu_bytes=mtu_of(wanted.interface),
        minimum_frame_bytes=scenario.fabric().minimum_frame_bytes,
        ack_timeout_ns=ack_timeout_ns,
    )


def hold(
    plan: SteerPlan,
    rules: Rules,
    wanted: Wanted,
    *,
    for_ns: int | None,
    log: Path | None,
    allow_default_route: bool,
    pins: bool = False,
    by: By = "auto",
    progress: Callable[[dict[str, int]], None] = lambda tally: None,
) -> dict[str, Any]:
    """Steer until the time is over or the process is told to end; what was done, as JSON values.

    With `pins` it stays attached afterwards, and this returns at once. Raises InputError if somebody takes it off, or
    the interface goes, meanwhile.
    """
    if log is None:
        rules = replace(rules, flags=rules.flags & ~Flag.LOGS)  # whatever is read of it is kept
    elif not log.parent.is_dir():
        raise InputError(f"{log}: there is no folder {log.parent}")
    with Steered(wanted.interface, plan, rules, allow_default_route=allow_default_route, by=by) as steered:
        how = steered.by
        if pins:
            return {"interface": wanted.interface, "by": how, "pinned": str(steered.pin())}
        end = None if for_ns is None else time.monotonic() + for_ns / 1e9
        try:
            # Who asked for no end gives it so, and wants to know what was done.
            with contextlib.suppress(KeyboardInterrupt):
                while end is None or time.monotonic() < end:
                    turn = time.monotonic() + _TURN_S
                    steered.wait(turn if end is None else min(turn, end))
                    progress(steered.tally())
                    _still_there(wanted.interface)
        finally:
            if log is not None:
                _write(steered, log)
        return {
            "interface": wanted.interface,
            "by": how,
            "tally": steered.tally(),
            "sent_bytes": {str(path): count for path, count in steered.sent_bytes().items()},
            "inflight_bytes": int(steered.inflight_bytes().sum()),
            "log": None if log is None else str(log),
        }


def _still_there(interface: str) -> None:
    """Raise InputError if the programs are not at the interface any more."""
    if not any(name == interface for _, name in socket.if_nameindex()):
        raise InputError(f"{interface}: is gone, and what steered there with it")
    if sum(hook.own for hook in hooks(interface)) < len(OWN_NAMES):
        raise InputError(f"{interface}: somebody has taken off what steered there")


def _write(steered: Steered, log: Path) -> None:
    part = log.with_name(f".{log.name}.part")
    try:
        pq.write_table(steered.flowlets(), part, compression="zstd")
        part.replace(log)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{log}: cannot be written: {error.strerror or error}") from None


def status(interfaces: Sequence[str]) -> dict[str, Any]:
    """What is attached to interfaces of this namespace, as JSON values; all of them if none is named."""
    found = []
    for name in interfaces or [name for _, name in socket.if_nameindex()]:
        interface_number(name)
        try:
            programs = hooks(name)
        except OSError as error:
            raise InputError(why_no_bpf(error)) from None
        found += [
            {
                "interface": name,
                "hook": hook.where,
                "program_id": hook.program_id,
                "name": hook.name,
                "own": hook.own,
                "by": hook.by,
                "pinned": hook.own and pin_folder(name).is_dir(),
            }
            for hook in programs
        ]
    return {"programs": found}


def detach(interface: str) -> dict[str, Any]:
    """Detach what was pinned to an interface, or left behind in a clsact qdisc.

    Raises InputError where another process holds it. One that steers by clsact then finds it gone, and ends.
    """
    number = interface_number(interface)
    removed = unpin(interface)
    try:
        left = [hook for hook in hooks(interface) if hook.own]
        if any(hook.by == "clsact" for hook in left):
            clsact.remove(number, own_filters(number))
            removed = True
    except OSError as error:
        raise InputError(why_no_bpf(error)) from None
    if left and not removed:
        raise InputError(
            f"{interface}: is steered by a process that holds it (program {left[0].program_id}); end that process"
        )
    return {"interface": interface, "detached": removed}
