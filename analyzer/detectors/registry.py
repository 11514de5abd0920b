"""The registry of detectors, which say whether a packet starts a flowlet, and the functions by which the engine asks.

A detector is a NamedTuple of arrays (its state), a function `starts(state, gap) -> bool`, and, if it learns from what
returns, `observe(state, feedback)`; compiled into the engine by the state's type, as policies are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from numba.extending import overload

from segcast.analyzer.policies.registry import Feedback, NoParameters, Parameters, Setting, digest_of, state_class
from segcast.analyzer.registry import Registry
from segcast.traces.errors import InputError
from segcast.traces.jit import UNCOUNTED


class Gap(NamedTuple):
    """`flow` sends a packet at `time_ns`, `gap_ns` after its previous one; it has the counters from `first_counter` on.

    `in_network` says whether any packet of the flow is still on its way: for an oracle. `awaited` says whether its host
    awaits an acknowledgement of any.
    """

    time_ns: int
    gap_ns: int
    flow: int
    first_counter: int
    path_count: int
    slot: int
    in_network: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector and its facts."""

    name: str
    summary: str
    source: str
    tracks: bool
    awaits: bool
    state: type
    make_state: Callable[[Setting], Any]
    starts: Callable[[Any, Gap], bool]
    observe: Callable[[Any, Feedback], None] | None
    parameters: type[Parameters]

    @property
    def digest(self) -> str:
        """A text that changes with the sources of its functions and all that they can reach."""
        return digest_of(self.make_state, self.starts, self.observe)

    @property
    def learns(self) -> bool:
        """Whether it is told of what returns."""
        return self.observe is not None


_DETECTORS: Final[Registry[Detector]] = Registry("segcast.analyzer.detectors", "flowlet timeout")
_BY_STATE: dict[type, Detector] = {}


def starts(state: Any, gap: Gap) -> bool:
    """Whether the packet starts a flowlet: the registered function of the state's type."""
    return _BY_STATE[type(state)].starts(state, gap)


@overload(starts, strict=False, jit_options=UNCOUNTED)  # type: ignore[arg-type]
def _compiled_starts(state: Any, gap: Any) -> Any:
    owner = _owner(state)
    return None if owner is None else owner.starts


def observe(state: Any, feedback: Feedback) -> None:
    """Tell a detector what a host learned; nothing if it does not care."""
    told = _BY_STATE[type(state)].observe
    if told is not None:
        told(state, feedback)


def _blind(state: Any, feedback: Feedback) -> None:
    """What `observe` is for detectors that do not learn."""


@overload(observe, strict=False, jit_options=UNCOUNTED)  # type: ignore[arg-type]
def _compiled_observe(state: Any, feedback: Any) -> Any:
    owner = _owner(state)
    if owner is None:
        return None
    return _blind if owner.observe is None else owner.observe


def _owner(state: Any) -> Detector | None:
    kind = state_class(state)
    return None if kind is None else _BY_STATE.get(kind)


def register(
    *,
    name: str,
    summary: str,
    source: str,
    state: type,
    make_state: Callable[[Setting], Any],
    starts: Callable[[Any, Gap], bool],
    observe: Callable[[Any, Feedback], None] | None = None,
    tracks: bool = False,
    awaits: bool = False,
    parameters: type[Parameters] = NoParameters,
) -> Detector:
    """Add a detector; `tracks` if it looks at `in_network`, `awaits` if at `awaited`.

    The rules are those of `policies.registry.register`.
    """
    owner = _BY_STATE.get(state)
    if owner is not None and (owner.name != name or owner.starts is not starts or owner.observe is not observe):
        raise InputError(
            f"detector {name!r}: the state class {state.__name__} already belongs to {owner.name!r}; define a new class"
        )
    detector = Detector(name, summary, source, tracks, awaits, state, make_state, starts, observe, parameters)
    _DETECTORS.add(name, detector)
    _BY_STATE[state] = detector
    return detector


def detectors() -> dict[str, Detector]:
    """All detectors, in the order of their names."""
    return _DETECTORS.all()


def find_detector(name: str) -> Detector:
    """The detector of that name. Raises InputError naming those there are."""
    return _DETECTORS.find(name)
