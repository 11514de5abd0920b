"""What a flow list is in the testbed: a connection for each of the list's, its ends, and the paths it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.policies.choosing import keyed_hashes
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.table import UNPINNED, Workload
from segcast.traces.errors import InputError
from segcast.traces.hashing import reduce_to

POLICIES: Final = ("ecmp", "host-ecmp")
"""Policies that routes of the kernel can follow: the hash of the network's nodes, and a segment list for each flow."""

End = tuple[str, int]
"""An address and a port."""


class Connection(NamedTuple):
    """A TCP connection: its two ends, the one that opens it first; at which attachments they are, by number; and the
    path of the packets that each sends, by `path_id`, or -1 where the network's own hash decides.
    """

    ends: tuple[End, End]
    places: tuple[int, int]
    paths: tuple[int, int]


class SegmentList(NamedTuple):
    """The addresses that a host writes around the packets of a path, in the order of travel."""

    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


class LivePlan(NamedTuple):
    """A flow list as real TCP sends it. `half_of_row` int64[rows]: twice the connection, 1 more from its second end.

    `lists` has the segment list of each path that connections are held to; `reduced`: whether their first SID is left
    out of the SRH. `assembled` is the network, with the forecast's numbers of paths.
    """

    workload: Workload
    connections: list[Connection]
    half_of_row: NDArray[np.int64]
    lists: dict[int, SegmentList]
    reduced: bool
    assembled: Assembled


def plan_live(
    workload: Workload, scenario: ValidScenario, policy: str, seed: int, *, by_program: bool = False
) -> LivePlan:
    """The connections of a list, with the five-tuples and, where hosts choose, the paths of a forecast with that seed.

    `by_program`: a program at the hosts' interfaces follows the policy, so only what the list pins is held to paths.
    Raises InputError if routes cannot follow the policy, or the network cannot carry the list.
    """
    if policy not in POLICIES and not by_program:
        raise InputError(f"policy {policy}: routes of the kernel can follow {' and '.join(POLICIES)} only")
    mode = scenario.srv6.mode
    if mode.inserts or mode.layer_2:
        raise InputError(f"srv6.mode {mode}: hosts' routes encapsulate IP packets; give encaps, reduced or usid")
    attached = attach(workload, scenario)
    places = attached.plan.attachment
    assert places is not None
    slots = attached.pin.copy() if by_program else _slots(attached, policy, seed)
    first = np.array([range_.start for range_ in attached.network.group_slots()], np.int64)
    paths = np.where(slots == UNPINNED, -1, first[attached.plan.group] + slots).tolist()
    connections = [
        Connection(
            ((attached.addresses[a], int(ports[0])), (attached.addresses[b], int(ports[1]))),
            (int(places[2 * number]), int(places[2 * number + 1])),
            (paths[2 * number], paths[2 * number + 1]),
        )
        for number, ((a, b), ports) in enumerate(zip(attached.ends.tolist(), attached.ports, strict=True))
    ]
    lists = _lists(scenario, attached, sorted({path for path in paths if path >= 0}))
    return LivePlan(workload, connections, attached.flow_of_row, lists, mode.reduced, attached.assembled)


def _slots(attached: AttachedWorkload, policy: str, seed: int) -> NDArray[np.int64]:
    """The slot of each flow, or UNPINNED."""
    slots = attached.pin.copy()
    if policy == "host-ecmp":
        counts = np.array([len(range_) for range_ in attached.network.group_slots()], np.int64)[attached.plan.group]
        for flow in np.flatnonzero(slots == UNPINNED).tolist():
            hashed = keyed_hashes(attached.plan.keys[flow : flow + 1], seed)[0]
            slots[flow] = reduce_to(hashed, counts[flow])
    return slots


def _lists(scenario: ValidScenario, attached: AttachedWorkload, paths: Sequence[int]) -> dict[int, SegmentList]:
    table = {entry.path_id: entry for entry in scenario.sid_table(attached.assembled).lists} if paths else {}
    return {path: SegmentList(tuple(table[path].ipv4), tuple(table[path].ipv6)) for path in paths}
