"""How evenly a hash spreads the bytes of flows over links, against a perfect hash of the same flows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.advice.document import Hash
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.policies.ecmp import EcmpParameters, hashed_words, make_state
from segcast.analyzer.policies.registry import Setting

UNEVEN: Final = 1.1
"""So many times a perfect hash's unevenness is a hash at fault."""
_LUCKY_SEEDS: Final = 64
_MOST_DRAWN: Final = 20_000_000
_GROUPS: Final = (40, 200)

Mend = dict[str, str]


class Spread:
    """Bytes of flows on the links of a network."""

    def __init__(self, network: Network, plan: FlowPlan, flow_bytes: NDArray[np.int64]) -> None:
        self._network = network
        sizes = [len(slots) for slots in network.group_slots()]
        sent = np.flatnonzero((flow_bytes > 0) & (np.array(sizes)[plan.group] > 1))
        self.flow_bytes = flow_bytes[sent].astype(np.float64)
        first = np.array([slots[0] for slots in network.group_slots()])
        self.group = plan.group[sent]
        self._first, self._choices = first[self.group], np.array(sizes)[self.group]
        self._plan = FlowPlan._make(None if column is None else column[sent] for column in plan)
        self._tiers = network.tiers or tuple((size,) for size in sizes)
        path = np.repeat(np.arange(len(network.paths)), [len(each.links) for each in network.paths])
        self._path = path
        self._link = np.array([link for each in network.paths for link in each.links], np.int64)
        self._rate = np.array([link.rate_bps for link in network.links], np.float64)
        bytes_of_group = np.bincount(self.group, self.flow_bytes, len(sizes))
        even = np.concatenate([np.full(size, total / size) for size, total in zip(sizes, bytes_of_group, strict=True)])
        self._even = self._busiest(even)

    def uneven(self, slot: NDArray[np.integer]) -> float:
        """The busiest link's bytes for its rate, over those under an even split, if flows take these slots."""
        if self._even == 0:
            return 1.0
        paths = np.bincount(self._first + slot, self.flow_bytes, len(self._network.paths)).astype(np.float64)
        return self._busiest(paths) / self._even

    def hashed(self, parameters: EcmpParameters, seeds: Sequence[int]) -> list[float]:
        """The unevenness of ecmp with each seed."""
        return [self.uneven(make_state(self._setting(parameters, seed)).slot) for seed in seeds]

    def perfect(self, together: int) -> list[float]:
        """Means of the unevenness of so many perfect hashes each, in ascending order."""
        least, most = _GROUPS
        groups = min(max(_MOST_DRAWN // max(len(self.flow_bytes) * together, 1), least), most)
        generator = np.random.default_rng(1)
        draws = [self.uneven(generator.integers(0, self._choices)) for _ in range(groups * together)]
        return sorted(np.array(draws).reshape(groups, together).mean(axis=1).tolist())

    def inputs(self, parameters: EcmpParameters) -> tuple[int, float]:
        """How many different values are hashed, and their effective number by bytes."""
        words = hashed_words(self._setting(parameters, 1))
        place = np.unique(words, axis=0, return_inverse=True)[1].ravel()
        share = np.bincount(place, self.flow_bytes)
        total = share.sum()
        return len(share), float(total**2 / (share**2).sum()) if total else 0.0

    def _busiest(self, path_bytes: NDArray[np.float64]) -> float:
        used = np.bincount(self._link, path_bytes[self._path], len(self._rate)) / self._rate
        return float(used.max(initial=0))

    def _setting(self, parameters: EcmpParameters, seed: int) -> Setting:
        plan, paths = self._plan, self._network.paths
        none = np.zeros(len(plan.keys), np.int64)
        words = np.zeros((len(plan.keys), 5), np.uint64) if plan.words is None else plan.words
        return Setting(
            flow_keys=plan.keys,
            flow_words=words,
            flow_host=none,
            flow_group=plan.group,
            flow_attachment=none,
            flow_counter=none,
            counters=1,
            path_rate_bps=np.ones(len(paths), np.int64),
            path_delay_ns=np.zeros(len(paths), np.int64),
            path_group=np.array([path.group for path in paths], np.int64),
            tiers=self._tiers,
            seed=seed,
            parameters=parameters,
        )


def look_at_hash(spread: Spread, parameters: dict[str, Any], seeds: Sequence[int]) -> tuple[Hash, Mend | None]:
    """How uneven the hash is, and which of its parameters to change if it is at fault, as they would be written."""
    now = EcmpParameters.model_validate(parameters)
    own = math.fsum(spread.hashed(now, seeds)) / len(seeds)
    perfect = spread.perfect(len(seeds))
    mean, high = math.fsum(perfect) / len(perfect), perfect[int(0.95 * (len(perfect) - 1))]
    inputs, effective = spread.inputs(now)
    mend, mended = None, None
    if is_uneven(own, mean, high):
        for change in _changes(now):
            found = spread.hashed(EcmpParameters.model_validate({**now.model_dump(), **change}), seeds)
            mended = math.fsum(found) / len(found)
            if not is_uneven(mended, mean, high):
                mend = change
                break
    document = Hash(
        fields=now.fields,
        function=now.hash,
        seeds=now.seeds,
        inputs=inputs,
        effective=effective,
        flows=len(spread.flow_bytes),
        uneven=own,
        perfect=mean,
        perfect_high=high,
        lucky=min(spread.hashed(now, range(1, _LUCKY_SEEDS + 1))),
        mend=mend,
        mended=mended if mend is not None else None,
    )
    return document, mend


def is_uneven(own: float, perfect: float, perfect_high: float) -> bool:
    """Whether a hash is clearly worse than a perfect one, and by enough to matter."""
    return own > perfect_high and own > UNEVEN * perfect


def _changes(now: EcmpParameters) -> list[Mend]:
    """Single changes first, then all at once."""
    wanted = {"fields": "five-tuple", "seeds": "different", "hash": "splitmix"}
    single = [{name: value} for name, value in wanted.items() if getattr(now, name) != value]
    both = {name: value for change in single for name, value in change.items()}
    return [*single, both] if len(single) > 1 else single
