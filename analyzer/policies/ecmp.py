"""ecmp: a flow stays on the path that switches hash it to."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import group_sizes
from segcast.analyzer.policies.registry import Decision, NetworkState, Parameters, Setting, register
from segcast.traces.hashing import flow_keys, mix, mix_each, reduce_to
from segcast.traces.jit import int64

_CRC32_POLYNOMIAL: Final = 0xEDB88320
_FLOW_LABEL: Final = np.uint64(0xFFFFF)
_HALF: Final = np.uint64(32)
_PORTS: Final = 4  # the word that holds protocol and ports


class EcmpParameters(Parameters):
    """How switches hash."""

    hash: Literal["splitmix", "crc32", "xor"] = Field(
        "splitmix", description="hash function of the switches; crc32 and xor are taken modulo the number of choices"
    )
    seeds: Literal["different", "same"] = Field(
        "different", description="seeds of the switches' tiers; the same everywhere makes later tiers repeat the first"
    )
    fields: Literal["five-tuple", "addresses", "flow-label"] = Field(
        "five-tuple", description="what is hashed: the five-tuple, the addresses alone, or these with the flow label"
    )


class EcmpState(NamedTuple):
    """By flow `slot` int32 by all tiers and `first_hash` uint64, that of the first; by path `sizes` int64 of its group.

    `scaled` bool[1] says whether a hash is scaled to the number of choices, else it is taken modulo.
    """

    slot: NDArray[np.int32]
    first_hash: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    scaled: NDArray[np.bool_]


def make_state(setting: Setting) -> EcmpState:
    """Send every flow through the tiers of its group."""
    chosen = setting.parameters
    scaled = chosen.hash == "splitmix"
    words = hashed_words(setting)
    depth = max(map(len, setting.tiers), default=1)
    tiers = np.array([[*tier, *[1] * (depth - len(tier))] for tier in setting.tiers], np.int64)
    slot = np.zeros(len(setting.flow_keys), np.int64)
    first_hash = np.empty(0, np.uint64)
    for number in range(depth):
        seed = mix(np.uint64((setting.seed + (number if chosen.seeds == "different" else 0)) % (1 << 64)))
        if scaled:
            hashes = mix_each((setting.flow_keys if chosen.fields == "five-tuple" else flow_keys(words)) ^ seed)
        else:
            hashes = crc32(words, seed) if chosen.hash == "crc32" else fold_xor(words, seed)
        if number == 0:
            first_hash = hashes
        choices = tiers[setting.flow_group, number]
        slot = slot * choices + _digits(hashes, choices.astype(np.uint64), scaled).astype(np.int64)
    return EcmpState(slot.astype(np.int32), first_hash, group_sizes(setting), np.array([scaled]))


def choose(state: EcmpState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot that the flow's digits make; while slots are not usable, that of one tier of the others."""
    if decision.path_count == state.sizes[decision.first_path]:
        return int64(state.slot[decision.flow])
    if state.scaled[0]:
        return reduce_to(state.first_hash[decision.flow], decision.path_count)
    return int64(state.first_hash[decision.flow] % np.uint64(decision.path_count))


def _digits(hashes: NDArray[np.uint64], choices: NDArray[np.uint64], scaled: bool) -> NDArray[np.uint64]:
    return ((hashes >> _HALF) * choices) >> _HALF if scaled else hashes % choices


def hashed_words(setting: Setting) -> NDArray[np.uint64]:
    """Words of each flow that switches look at, uint64[flows, 5]."""
    if setting.parameters.fields == "five-tuple":
        return setting.flow_words
    words = setting.flow_words.copy()
    words[:, _PORTS] = 0
    if setting.parameters.fields == "flow-label":
        words[:, _PORTS] = mix_each(setting.flow_keys) & _FLOW_LABEL
    return words


def crc32(words: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """CRC-32 (IEEE 802.3) of each row's words as big-endian bytes, begun from the low half of `seed`; uint64[rows]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_CRC32_POLYNOMIAL), table >> 1).astype(np.uint32)
    data = np.ascontiguousarray(words).astype(">u8").view(np.uint8).reshape(len(words), -1)
    register = np.full(len(words), ~np.uint32(int(seed) & 0xFFFFFFFF), np.uint32)
    for column in range(data.shape[1]):
        register = table[(register ^ data[:, column]) & 0xFF] ^ (register >> np.uint32(8))
    return (~register).astype(np.uint64)


def fold_xor(words: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """All words of each row and `seed` xored, and the 16-bit parts of that; uint64[rows]."""
    folded: NDArray[np.uint64] = np.bitwise_xor.reduce(words, axis=1) ^ seed
    folded ^= folded >> np.uint64(32)
    folded ^= folded >> np.uint64(16)
    return folded & np.uint64(0xFFFF)


register(
    name="ecmp",
    summary="hash of the five-tuple: one path per flow, by the switches, without SRv6",
    source="RFC 2992; hash and seed as in docs/model.md",
    granularity="flow",
    steered=False,
    counts_inflight=False,
    state=EcmpState,
    make_state=make_state,
    choose=choose,
    parameters=EcmpParameters,
)
