"""A scenario that has been validated: whoever has one need not check it, nor build its fabric, again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from pydantic import PrivateAttr

from segcast.analyzer.network.events import with_events
from segcast.analyzer.network.fabric import Assembled, Fabric, Pair, Segments, assemble, pairs_named
from segcast.analyzer.network.model import Network
from segcast.analyzer.network.sid_table import SidTable, sid_table
from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.scenario.growth import KnownLoad
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.toml_keys import Origin, Place, WrongKey
from segcast.analyzer.topologies.registry import build_fabric
from segcast.traces.errors import InputError

_MOST_LISTS: Final = 1024


class ValidScenario(Scenario):
    """A scenario as `read_scenario` and `short_scenario` return it.

    All policies and timeouts have their labels and parameters. Errors that are found later still name the file and
    the line that a key was read from. The fabric is built when it is first asked for, and then kept.
    """

    _origin: Origin = PrivateAttr(default=Origin())
    _known: dict[str, KnownLoad] = PrivateAttr(default={})

    @classmethod
    def of(
        cls, scenario: Scenario, policies: Sequence[PolicyChoice], timeouts: Sequence[TimeoutChoice], origin: Origin
    ) -> ValidScenario:
        """The scenario with its policies and timeouts as `settled_policies` and `settled_timeouts` return them."""
        fields = {name: getattr(scenario, name) for name in Scenario.model_fields}
        valid = cls.model_construct(**fields | {"policies": tuple(policies), "timeouts": tuple(timeouts)})
        valid._origin = origin
        return valid

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> ValidScenario:
        """The scenario with other values, which must be valid; its fabric is built anew if they are the network's."""
        copy = super().model_copy(update=update, deep=deep)
        if update is not None and ("network" in update or "attachments" in update):
            copy.__dict__.pop("_fabric", None)
        return copy

    @property
    def unknown_shares(self) -> tuple[str, ...]:
        """The loads that are shares of the network's whose factors are not known yet, each once."""
        shares = dict.fromkeys(load for load in self.load if isinstance(load, str))
        return tuple(share for share in shares if share not in self._known)

    @property
    def known_loads(self) -> dict[str, KnownLoad]:
        """What the loads that are shares of the network's came to, those that it still has."""
        return {load: self._known[load] for load in self.load if isinstance(load, str) and load in self._known}

    def with_known(self, known: Mapping[str, KnownLoad]) -> ValidScenario:
        """The scenario that knows what these loads come to over what it is run over."""
        copy = self.model_copy()
        copy._known = {**self._known, **known}
        return copy

    def factor_of(self, load: str) -> Fraction:
        """The factor that brings the busiest link to a share like `50%`. Raises InputError if it is not known."""
        if load not in self._known:
            raise self.wrong(("load",), f"{load} is known only of a trace or a flow list on the network; give a factor")
        return self._known[load].factor

    def fabric(self) -> Fabric:
        """The nodes, links and attachments. Raises InputError if they cannot be built."""
        return self._fabric

    @functools.cached_property
    def _fabric(self) -> Fabric:
        with self._located():
            return build_fabric(self.network, self.attachments)

    def check_sids(self) -> None:
        """Raise InputError if the SIDs of nodes, links and attachments cannot be as the scenario says."""
        fabric = self.fabric()
        with self._located():
            Segments(fabric, self.srv6.assembly())

    def assembled(self, pairs: Sequence[Pair], hosts: Sequence[tuple[str, int]] = ()) -> Assembled:
        """The network for these pairs of attachments, before anything happens to it. Raises InputError."""
        fabric = self.fabric()
        with self._located():
            return assemble(fabric, self.srv6.assembly(), pairs, hosts)

    def between(self, groups: Sequence[tuple[str, str]]) -> Assembled:
        """The network for these pairs of attachments, given by name. Raises InputError."""
        return self.assembled(pairs_named(self.fabric(), groups))

    def sid_table(self, assembled: Assembled) -> SidTable:
        """All SIDs of the network, and the segment lists of the paths that are assembled. Raises InputError."""
        fabric = self.fabric()
        with self._located():
            return sid_table(fabric, self.srv6.assembly(), assembled)

    def whole_sid_table(self) -> SidTable:
        """All SIDs of the network, and the segment lists of all pairs of attachments, or of the first of many."""
        fabric = self.fabric()
        ends = range(len(fabric.attachments))
        pairs, shown, lists = [(a, b) for a in ends for b in ends if a != b], 0, 0
        for a, b in pairs:
            lists += len(fabric.routes(a, b).paths)
            if lists > _MOST_LISTS:
                break
            shown += 1
        with self._located():
            assembly = self.srv6.assembly()
            return sid_table(fabric, assembly, assemble(fabric, assembly, pairs[:shown]), len(pairs) - shown)

    def to_toml_with(self, sids: SidTable, elsewhere: str) -> str:
        """The scenario as text that `read_scenario` reads back, and its SIDs as comments at the end of it.

        `elsewhere`: where those are that are too many for a comment.
        """
        return f"{self.to_toml()}\n{sids.as_comment(elsewhere)}"

    def changed(self, assembled: Assembled, first_ns: int) -> Network:
        """The network with what happens to it, if its first packet is sent at `first_ns`. Raises InputError."""
        events = [(number, event) for number, spec in enumerate(self.events) for event in spec.events()]
        with self._located():
            return with_events(assembled, events, first_ns, self.detection, self.groups)

    @property
    def source(self) -> str:
        """What errors call the scenario: the file that it was read from."""
        return "the scenario" if self._origin.file is None else str(self._origin.file)

    def place_of(self, place: Place) -> str:
        """A place of the scenario in words, with the file and the line that it was read from."""
        return self._origin.where(place)

    def with_origin_of(self, other: ValidScenario) -> ValidScenario:
        """The other scenario, errors in which name the file and the lines of this one."""
        other._origin = self._origin
        return other

    def wrong(self, place: Place, message: str) -> InputError:
        """An error about a key of the scenario, with the file and the line that it was read from."""
        return self._origin.located(WrongKey(place, message))

    @contextlib.contextmanager
    def _located(self) -> Iterator[None]:
        """Adds the file and the line to errors about keys."""
        try:
            yield
        except InputError as error:
            raise self._origin.located(error) from None
