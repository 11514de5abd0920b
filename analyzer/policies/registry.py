"""The registry of policies and the one function the engine calls to ask for a path.

A policy is a NamedTuple of arrays (its state) and a function `choose(state, decision, inflight) -> slot`, compiled into
the engine by its state's type. `register` joins the two; nothing else needs to know the policy.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from traces.errors import InputError


class Decision(NamedTuple):
    """What a policy is asked: a flowlet of `flow` starts at `time_ns` and may take any of `path_count` paths.

    `inflight[first_counter + slot]` is the host's in-flight count, in bytes, of the path in that slot.
    """

    time_ns: int
    flow: int
    first_counter: int
    path_count: int


class Draws(NamedTuple):
    """What a policy's state is made from, once per cell: `flow_keys` is uint64[flows]."""

    flow_keys: NDArray[np.uint64]
    seed: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as the registry knows it; `digest` changes whenever the file that registered it does."""

    name: str
    summary: str
    source: str
    granularity: Literal["flow", "flowlet", "packet"]
    steered: bool
    counts_inflight: bool
    state: type
    make_state: Callable[[Draws], Any]
    choose: Callable[[Any, Decision, NDArray[np.int64]], int]
    digest: int


_POLICIES: dict[str, Policy] = {}
_BY_STATE: dict[type, Policy] = {}


def choose(state: Any, decision: Decision, inflight: NDArray[np.int64]) -> int:
    """Slot of the path a new flowlet takes: the registered function of the state's type."""
    return _BY_STATE[type(state)].choose(state, decision, inflight)


@overload(choose, strict=False)  # strict also compares annotations, which differ by state
def _compiled_choose(state: Any, decision: Any, inflight: Any) -> Any:
    # The policy's function itself must be returned: a wrapper that passes the tuples on ran 18 times slower.
    if isinstance(state, types.NamedTuple | types.NamedUniTuple):
        owner = _BY_STATE.get(state.instance_class)
        return None if owner is None else owner.choose
    return None


def register(
    *,
    name: str,
    summary: str,
    source: str,
    granularity: Literal["flow", "flowlet", "packet"],
    steered: bool,
    counts_inflight: bool,
    make_state: Callable[[Draws], Any],
    state: type,
    choose: Callable[[Any, Decision, NDArray[np.int64]], int],
) -> Policy:
    """Add a policy.

    `state` is a NamedTuple class that no other policy uses; `choose` must compile in Numba's nopython mode and name its
    arguments `state, decision, inflight`. Registering a name again replaces the policy, if its state class is new.
    Raises InputError if the state class already belongs to another policy or function: the compiler has bound it.
    """
    file = inspect.getsourcefile(inspect.unwrap(choose))
    text = Path(file).read_bytes() if file and Path(file).is_file() else inspect.getsource(choose).encode()
    digest = int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
    owner = _BY_STATE.get(state)
    if owner is not None and (owner.name != name or owner.choose is not choose):
        raise InputError(
            f"policy {name!r}: the state class {state.__name__} already belongs to {owner.name!r}; define a new class"
        )
    policy = Policy(name, summary, source, granularity, steered, counts_inflight, state, make_state, choose, digest)
    _POLICIES[name] = policy
    _BY_STATE[state] = policy
    return policy


def policies() -> dict[str, Policy]:
    """All policies by name, those of this package included."""
    package = importlib.import_module("analyzer.policies")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"analyzer.policies.{module.name}")
    return dict(sorted(_POLICIES.items()))


def find_policy(name: str) -> Policy:
    """The policy of that name. Raises InputError naming those there are."""
    known = policies()
    if name not in known:
        raise InputError(f"unknown policy {name!r}; known: {', '.join(known)}")
    return known[name]
