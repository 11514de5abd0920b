"""From a forecast to its rewrite: the schedule, the captures and the segment lists, if they belong together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from analyzer.scenario import Scenario, read_scenario
from analyzer.schedule import Origin, find_cell, groups_of, origin_of, read_schedule
from analyzer.sids import on_the_wire
from analyzer.traffic import steering_hosts
from replay.rewrite import Hosts, RewriteSummary, rewrite_schedule
from replay.srv6 import Encapsulation, Mode
from traces.bytesource import STDIN
from traces.errors import InputError
from traces.folders import KINDS, real_target, refuse_inputs
from traces.store import is_pipe, open_trace
from traces.trace import Trace


def rewrite_forecast(
    folder: Path,
    out: Path,
    *,
    policy: str,
    timeout: str | None = None,
    seed: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> RewriteSummary:
    """Write the schedule of one policy of a forecast as captures, one per steering host, into `out`.

    `policy` and `timeout` are labels. Without a timeout or seed the first cell of the policy whose packets were kept is
    taken; the summary names it.
    Raises InputError if there is no such cell, the trace or its captures are gone or have changed since, or `out` is a
    forecast, a trace, or holds one of the captures.
    """
    _refuse_own_folders(out)
    origin = origin_of(folder)
    scenario = read_scenario(folder / "scenario.toml")
    cell = find_cell(folder, policy, timeout, seed)
    trace = trace_of(origin, folder)
    sources = [source.path for source in trace.sources]
    refuse_inputs(out, sources)
    flows = trace.flow_table()
    hosts, of_flow = steering_hosts(flows, scenario.steering.hosts)
    steered = next(choice.policy.steered for choice in scenario.policies if choice.label == cell["policy"])
    return rewrite_schedule(
        read_schedule(folder, cell["cell"]),
        flows,
        sources,
        encapsulation(scenario, len(hosts), steered=steered, groups=groups_of(folder)),
        Hosts(hosts, of_flow),
        out,
        cell=cell["cell"],
        layer=trace.layer,
        resumed=trace.resumed_files,
        progress=progress,
    )


def _refuse_own_folders(out: Path) -> None:
    """Raise InputError if `out` is a forecast or a trace, or the folder of packets in one."""
    real = real_target(out)
    for kind in KINDS.values():
        if kind.made(real) or (kind.within(real.name) and kind.made(real.parent)):
            raise InputError(f"{out}: is, or belongs to, a {kind.name}; give captures a folder of their own")


def trace_of(origin: Origin, folder: Path) -> Trace:
    """The trace a forecast was made from, unchanged; a capture that was ingested on the way is so again if need be."""
    for source in origin.sources:
        if source.path == STDIN or is_pipe(source.path):
            raise InputError(
                f"{folder}: its trace was read from a pipe ({source.path}), so its packets cannot be read again; "
                "save the capture to a file, ingest that, and run segcast forecast on it"
            )
    kept = Path(origin.folder)
    where = kept if kept.is_dir() or len(origin.sources) != 1 else origin.sources[0].path
    trace = open_trace(where, layer=origin.layer)
    if [source.xxh128 for source in trace.sources] != [source.xxh128 for source in origin.sources]:
        raise InputError(f"{trace.folder}: is not the trace of {folder} any more; run segcast forecast again")
    for fact, flag in (("anonymized", "--anonymize"), ("offload_split", "--split-offload")):
        if trace.info[fact]:
            raise InputError(
                f"{trace.folder}: was ingested with {flag}, so its packets are not those of the captures that a "
                f"rewrite copies; ingest without {flag} and forecast again"
            )
    return trace


_BOTH_WAYS: Final = (("left", "right"), ("right", "left"))


def encapsulation(
    scenario: Scenario, hosts: int, *, steered: bool, groups: Sequence[tuple[str, str]] = _BOTH_WAYS
) -> Encapsulation:
    """The encapsulation a scenario asks for: host n sends from the n-th address of `source_prefix`.

    `groups` are the attachments between which paths lead, by name. Raises InputError if the prefix is too small for the
    hosts, or a group has no path that SRv6 could name.
    """
    spec = scenario.srv6
    prefix = ipaddress.IPv6Network(spec.source_prefix)
    if hosts >= prefix.num_addresses:
        raise InputError(f"srv6.source_prefix {prefix} has no room for {hosts} hosts; give a shorter one")
    first = int(prefix.network_address) + 1
    numbers = {attachment.name: number for number, attachment in enumerate(scenario.fabric().attachments)}
    if missing := [name for pair in groups for name in pair if name not in numbers]:
        raise InputError(f"scenario.toml: has no attachment {missing[0]!r}, which the forecast names; forecast again")
    if steered and any(a == b for a, b in groups):
        raise InputError(
            "packets between hosts of one attachment have no path with segments, so this forecast cannot be rewritten; "
            "forecast again without network.host_links"
        )
    assembled = scenario.assembled([(numbers[a], numbers[b]) for a, b in groups])

    def lists(family: int) -> tuple[tuple[bytes, ...], ...]:
        return tuple(
            _packed(on_the_wire((*path.segments, assembled.decapsulate[path.group][family]), spec.mode, spec.block))
            for path in assembled.network.paths
        )

    # Carriers of uSIDs go on the wire as a reduced list does.
    mode: Mode = "reduced" if spec.mode == "usid" else spec.mode
    return Encapsulation(
        mode=mode if steered else "none",
        source=tuple((first + host).to_bytes(16, "big") for host in range(hosts)),
        hop_limit=spec.hop_limit,
        segments4=lists(0),
        segments6=lists(1),
        source_mac=_mac(spec.source_mac),
        destination_mac=_mac(spec.destination_mac),
    )


def _packed(sids: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(ipaddress.IPv6Address(sid).packed for sid in sids)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
