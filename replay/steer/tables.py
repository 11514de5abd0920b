"""What the program is told: whom it steers, onto which paths with which headers, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from segcast.replay.steer.layout import MOST_HEADER_BYTES, MOST_SLOTS, NO_FLAGS, Flag, Granularity, PolicyCode
from segcast.replay.steer.program import Program, Room
from segcast.traces.errors import InputError
from segcast.traces.hashing import mix

UNBOUNDED_NS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Rules:
    """How it steers (docs/model.md). Times in ns; `mtu_bytes` bounds the IP packet that leaves."""

    policy: PolicyCode
    granularity: Granularity
    timeout_ns: int = 0
    flags: Flag = NO_FLAGS
    low_ns: int = 10_000
    high_ns: int = 10_000_000
    times_permille: int = 500
    loss_timeout_ns: int = 10_000_000
    suspect_after: int = 0
    suspect_for_ns: int = 10_000_000
    seed: int = 0
    mtu_bytes: int = 65535
    minimum_frame_bytes: int = 60


class Way(NamedTuple):
    """A slot: its outer header for IPv4 and for IPv6 inside; `leaves_by`: the interface, if it is another one."""

    ipv4: bytes
    ipv6: bytes
    leaves_by: int = 0


class SteeredPair(NamedTuple):
    """A host, a target, and what is between them."""

    host: int
    target: int
    first_counter: int
    first_path: int
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """Prefixes of sources with the number of their host, of destinations with the number of their target; pairs."""

    sources: tuple[tuple[str, int], ...]
    targets: tuple[tuple[str, int], ...]
    pairs: tuple[SteeredPair, ...]
    counters: int

    @property
    def target_count(self) -> int:
        """Targets by number."""
        return 1 + max((number for _, number in self.targets), default=0)

    def room(self, **sizes: int) -> Room:
        """The maps that hold them."""
        hosts = 1 + max((number for _, number in self.sources), default=0)
        return Room(
            counters=max(1, self.counters),
            pairs=hosts * self.target_count,
            headers=max(1, sum(2 * len(pair.ways) for pair in self.pairs)),
            prefixes=max(64, len(self.sources), len(self.targets)),
            **sizes,
        )


def install(program: Program, tables: Tables, rules: Rules) -> None:
    """Have the program steer so; from then on it does where it is attached. Raises InputError for what has no room."""
    pairs, headers = program.tables["pairs"], program.tables["headers"]
    at = 0
    for pair in tables.pairs:
        if not 1 <= len(pair.ways) <= MOST_SLOTS:
            raise InputError(f"{len(pair.ways)} paths from host {pair.host}: give 1 to {MOST_SLOTS}")
        row = pairs[pair.host * tables.target_count + pair.target]
        row["first_counter"], row["first_path"], row["first_header"] = pair.first_counter, pair.first_path, at
        for way in pair.ways:
            for header in (way.ipv4, way.ipv6):
                if len(header) > MOST_HEADER_BYTES:
                    raise InputError(f"a header of {len(header)} bytes: at most {MOST_HEADER_BYTES} can be pushed")
                headers[at]["bytes"][: len(header)] = np.frombuffer(header, np.uint8)
                headers[at]["size"] = len(header)
                headers[at]["leaves_by"] = way.leaves_by
                at += 1
        row["most_bytes"] = max(len(header) for way in pair.ways for header in way[:2])
        row["slots"] = len(pair.ways)
    for which, prefixes in (("sources", tables.sources), ("targets", tables.targets)):
        for prefix, number in prefixes:
            program.direct(which, prefix, number)
    program.tables["counters"]["round_trip_ns"] = -1
    turn_to(program, tables, rules)


def turn_to(program: Program, tables: Tables, rules: Rules) -> None:
    """Have it steer by other rules, from a fresh generator."""
    config, room = program.config, program.room
    config["enabled"] = 0
    for name in ("timeout_ns", "low_ns", "high_ns", "times_permille", "loss_timeout_ns", "suspect_for_ns"):
        config[name] = getattr(rules, name)
    for name in ("suspect_after", "policy", "granularity", "flags", "mtu_bytes", "minimum_frame_bytes"):
        config[name] = int(getattr(rules, name))
    mixed = mix(np.uint64(rules.seed % (1 << 64)))
    config["mixed_seed"] = mixed
    config["targets"] = tables.target_count
    config["bucket_mask"] = room.flows // 8 - 1
    config["outstanding_mask"] = room.outstanding - 1
    config["log_mask"] = room.records - 1
    program.state["generator"] = mixed
    config["enabled"] = 1


def clear(program: Program) -> None:
    """Forget all flows, counts and records, as if it had just been loaded; tables and rules stay."""
    for name in ("states", "counters", "flows", "outstandings", "records"):
        program.tables[name][:] = np.zeros(1, program.tables[name].dtype)
    program.tables["counters"]["round_trip_ns"] = -1
    program.state["generator"] = program.config["mixed_seed"]
