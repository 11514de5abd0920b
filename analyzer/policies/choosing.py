"""What several policies share: the lowest of some numbers, the slots of a group, hashes, and rounds of a flow."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.registry import Feedback, Setting
from segcast.traces.hashing import draw, mix, mix_each
from segcast.traces.jit import int64, kernel

ROUND: Final = np.dtype(
    [("start_ns", np.int64), ("acks", np.int64), ("marks", np.int64), ("congested", np.int64), ("version", np.uint64)],
    align=True,
)
"""A flow's round: when it began, what was acknowledged and what of it marked, how many congested rounds in a row lie
before it, and the number that is hashed with the flow's key."""


@kernel
def lowest(values: NDArray[np.int64], first: int, count: int, generator: NDArray[np.uint64]) -> int:
    """Place (0 to count - 1) of the lowest of `values[first : first + count]`; among equals, one drawn at random."""
    least = values[first]
    equals = 1
    best = 0
    for slot in range(1, count):
        value = values[first + slot]
        if value < least:
            least = value
            best = slot
            equals = 1
        elif value == least:
            equals += 1
    if equals == 1:
        return best
    skip = draw(generator, equals)
    for slot in range(best, count):
        if values[first + slot] == least:
            if skip == 0:
                return slot
            skip -= 1
    return best


@kernel
def least(values: NDArray[np.int64], first: int, count: int) -> int:
    """The least of `values[first : first + count]`."""
    found = values[first]
    for slot in range(1, count):
        found = min(found, values[first + slot])
    return int64(found)


def keyed_hashes(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """What a switch makes of each flow's key, uint64[flows]: mix(flow_key ^ mix(seed))."""
    return mix_each(keys ^ mix(np.uint64(seed)))


def flow_hashes(setting: Setting) -> NDArray[np.uint64]:
    """The keyed hashes of the setting's flows, uint64[flows]."""
    return keyed_hashes(setting.flow_keys, setting.seed)


def group_sizes(setting: Setting) -> NDArray[np.int64]:
    """By path, the number of slots of its group, int64[paths]."""
    return np.bincount(setting.path_group)[setting.path_group].astype(np.int64)


def room_for_slots(setting: Setting) -> NDArray[np.int64]:
    """Room for a number per slot of the largest group, int64[slots]."""
    return np.zeros(int(group_sizes(setting).max()), np.int64)


@kernel
def ends_round(rounds: NDArray[np.void], feedback: Feedback) -> bool:
    """Count an acknowledgement; whether its packet was sent in the round, which then ends."""
    flow = feedback.flow
    rounds[flow].acks += 1
    rounds[flow].marks += feedback.marked
    return bool(feedback.time_ns - feedback.round_trip_ns >= rounds[flow].start_ns)


@kernel
def begin_round(rounds: NDArray[np.void], flow: int, now_ns: int) -> None:
    """Start the flow's next round."""
    rounds[flow].start_ns = now_ns
    rounds[flow].acks = 0
    rounds[flow].marks = 0


@kernel
def version_hash(key: np.uint64, seed: np.uint64, version: np.uint64) -> np.uint64:
    """Hash of a flow's key that is new with every version: mix(key ^ mix(seed + version))."""
    return mix(key ^ mix(np.uint64(seed + version)))
