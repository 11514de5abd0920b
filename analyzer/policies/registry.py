"""The registry of policies, and the two functions by which the engine calls them.

A policy is a NamedTuple of arrays (its state), a function `choose(state, decision, inflight, fabric) -> slot`, and, if
it learns from what returns, `learn(state, feedback)`. Both are compiled into the engine by the state's type. `register`
joins them; nothing else needs to know the policy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from segcast.analyzer.registry import Registry
from segcast.traces.errors import InputError
from segcast.traces.jit import UNCOUNTED
from segcast.traces.sources import code_digest, functions_digest

Granularity = Literal["flow", "flowlet", "packet", "asked"]
"""When a policy is asked: once per flow, at each flowlet, at each packet (each a flowlet), or at each packet with a
flowlet only where its answer changes."""


class Decision(NamedTuple):
    """What a policy is asked: `flow` sends a packet at `time_ns` and may take any of `path_count` slots.

    `inflight[first_counter + slot]` is the host's in-flight count, in bytes, of the path in that slot, which is path
    `first_path + slot`. `slot` is the flow's present slot (-1: it has none), `sent_bytes` the IP bytes that the flow
    sent before this packet, `gap_ns` the time since its previous one (-1: none). If some slots are not usable, a policy
    by slot sees `path_count` less them, and a policy by counter sees them with PENALTY_BYTES more in flight.
    """

    time_ns: int
    flow: int
    first_counter: int
    first_path: int
    path_count: int
    slot: int
    sent_bytes: int
    gap_ns: int


class Feedback(NamedTuple):
    """What a host learns of its packet at `time_ns`: the acknowledgement returned, or (`lost`) the timeout expired.

    `delay_ns` is its one-way delay and -1 if lost, `round_trip_ns` the time since it was sent, `congestion` the highest
    level (0 to 7) that the links on its way noted, if the policy measures.
    """

    time_ns: int
    flow: int
    first_counter: int
    first_path: int
    path_count: int
    slot: int
    frame_bytes: int
    marked: bool
    lost: bool
    delay_ns: int
    round_trip_ns: int
    congestion: int


class NetworkState(NamedTuple):
    """The present state of the network, which only oracles and switches may look at; see `state.State`."""

    links: NDArray[np.void]
    paths: NDArray[np.void]
    hops: NDArray[np.int32]


Fabric = NetworkState
"""Its former name, which policies outside this package may import; a fabric is what a topology makes."""


class Parameters(BaseModel):
    """Base of the parameters of a policy or detector: names, types, defaults and meaning (`Field(description=)`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def limits(self, **more_ns: int) -> NDArray[np.void]:
        """The parameters as kernels read them: one row, an int64 field for each, and for each of `more_ns`."""
        values = self.model_dump() | more_ns
        record = np.dtype([(name, np.int64) for name in values], align=True)
        return np.array([tuple(values.values())], record)


class NoParameters(Parameters):
    """The parameters of a policy that has none."""


@dataclass(frozen=True)
class Setting:
    """What the state of a policy or detector is made from, once per cell.

    By flow: `flow_keys` uint64, `flow_words` uint64[flows, 5] (the five-tuple as `hashing.flow_keys` takes it, zeros if
    unknown), `flow_host`, `flow_group`, `flow_attachment` (where it enters), `flow_counter` int64 (its first counter).
    `counters` is the number of in-flight counters. By path: `path_rate_bps` int64 (its slowest link), `path_delay_ns`
    int64, `path_group` int64. `tiers[group]` are the choices that switches make one after the other on the way to a
    slot: their product is the number of slots, and slots are numbered by them, the first slowest. `timeout_ns` is the
    fixed flowlet timeout of the cell, -1 if it has none.
    """

    flow_keys: NDArray[np.uint64]
    flow_words: NDArray[np.uint64]
    flow_host: NDArray[np.int64]
    flow_group: NDArray[np.int64]
    flow_attachment: NDArray[np.int64]
    flow_counter: NDArray[np.int64]
    counters: int
    path_rate_bps: NDArray[np.int64]
    path_delay_ns: NDArray[np.int64]
    path_group: NDArray[np.int64]
    tiers: tuple[tuple[int, ...], ...]
    seed: int
    timeout_ns: int = -1
    parameters: Any = field(default_factory=NoParameters)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy and its facts."""

    name: str
    summary: str
    source: str
    granularity: Granularity
    steered: bool
    counts_inflight: bool
    by: Literal["slot", "counter"]
    measures: bool
    timed: bool
    state: type
    make_state: Callable[[Setting], Any]
    choose: Callable[..., int]
    learn: Callable[[Any, Feedback], None] | None
    parameters: type[Parameters]

    @property
    def digest(self) -> str:
        """A text that changes with the sources of its functions and all that they can reach."""
        return digest_of(self.make_state, self.choose, self.learn)

    @property
    def learns(self) -> bool:
        """Whether it is told of what returns."""
        return self.learn is not None


PENALTY_BYTES: Final = 1 << 50

_POLICIES: Final[Registry[Policy]] = Registry("segcast.analyzer.policies", "policy")
_BY_STATE: dict[type, Policy] = {}


def choose(state: Any, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """Slot of the path that the packet takes: the registered function of the state's type."""
    return _BY_STATE[type(state)].choose(state, decision, inflight, fabric)


# Strict would compare annotations, too, which differ by state.
@overload(choose, strict=False, jit_options=UNCOUNTED)  # type: ignore[arg-type]
def _compiled_choose(state: Any, decision: Any, inflight: Any, fabric: Any) -> Any:
    # The policy's function itself must be returned: a wrapper that passes the tuples on ran 18 times slower.
    owner = _owner(state)
    return None if owner is None else owner.choose


def learn(state: Any, feedback: Feedback) -> None:
    """Tell a policy what its host learned; nothing if it does not care."""
    told = _BY_STATE[type(state)].learn
    if told is not None:
        told(state, feedback)


def _deaf(state: Any, feedback: Feedback) -> None:
    """What `learn` is for policies that do not learn."""


@overload(learn, strict=False, jit_options=UNCOUNTED)  # type: ignore[arg-type]
def _compiled_learn(state: Any, feedback: Any) -> Any:
    owner = _owner(state)
    if owner is None:
        return None
    return _deaf if owner.learn is None else owner.learn


def state_class(state: Any) -> type | None:
    """The NamedTuple class of a state as the compiler sees it; None if it is no NamedTuple."""
    return state.instance_class if isinstance(state, types.NamedTuple | types.NamedUniTuple) else None


def _owner(state: Any) -> Policy | None:
    kind = state_class(state)
    return None if kind is None else _BY_STATE.get(kind)


@functools.cache
def digest_of(*functions: Callable[..., Any] | None) -> str:
    """A text that changes with the sources of the functions and all that they can reach."""
    return functions_digest(functions) or code_digest(functions)


def register(
    *,
    name: str,
    summary: str,
    source: str,
    granularity: Granularity,
    steered: bool,
    counts_inflight: bool,
    make_state: Callable[[Setting], Any],
    state: type,
    choose: Callable[..., int],
    learn: Callable[[Any, Feedback], None] | None = None,
    by: Literal["slot", "counter"] = "slot",
    measures: bool = False,
    timed: bool = False,
    parameters: type[Parameters] = NoParameters,
) -> Policy:
    """Add a policy.

    `state` is a NamedTuple class that no other policy uses; `choose` must compile in Numba's nopython mode and name its
    arguments `state, decision, inflight, fabric`, and `learn` `state, feedback`. `timed` says that a policy of
    granularity `asked` looks at the cell's fixed timeout, and so runs once for each. Registering a name again replaces
    the policy, if its state class is new. Raises InputError if the state class already belongs to another policy or
    function: the compiler has bound it.
    """
    owner = _BY_STATE.get(state)
    if owner is not None and (owner.name != name or owner.choose is not choose or owner.learn is not learn):
        raise InputError(
            f"policy {name!r}: the state class {state.__name__} already belongs to {owner.name!r}; define a new class"
        )
    policy = Policy(
        name,
        summary,
        source,
        granularity,
        steered,
        counts_inflight,
        by,
        measures,
        timed,
        state,
        make_state,
        choose,
        learn,
        parameters,
    )
    _POLICIES.add(name, policy)
    _BY_STATE[state] = policy
    return policy


def policies() -> dict[str, Policy]:
    """All policies, in the order of their names."""
    return _POLICIES.all()


def find_policy(name: str) -> Policy:
    """The policy of that name. Raises InputError naming those there are."""
    return _POLICIES.find(name)
