"""The flowlet timeouts of `docs/model.md` for the slow engine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.twins.policies import Feedback, smoothed


@dataclass(frozen=True)
class Gap:
    """A packet that is not its flow's first is sent. `in_network`: another of its flow is under way; `awaited`: its
    host awaits an acknowledgement of another.
    """

    gap_ns: int
    flow: int
    sharers: Hashable
    slots: int
    in_network: bool
    awaited: bool


def clamp(value: int, low: int, high: int) -> int:
    """Held between the two."""
    return max(low, min(high, value))


class Detector:
    """A timeout; `OPTIONS` are its parameters, for each values to try, the default first."""

    OPTIONS: ClassVar[dict[str, tuple[Any, ...]]] = {}
    learns = False
    awaits = False

    def __init__(self, timeout_ns: int, **parameters: Any) -> None:
        self.timeout_ns = timeout_ns
        values = {name: options[0] for name, options in self.OPTIONS.items()} | parameters
        assert set(values) == set(self.OPTIONS)
        self.values = values

    def starts(self, gap: Gap) -> bool:
        """Whether the packet starts a flowlet."""
        return gap.gap_ns > self.in_force_ns(gap)

    def in_force_ns(self, gap: Gap) -> int:
        """The timeout in force."""
        raise NotImplementedError

    def observe(self, feedback: Feedback) -> None:
        """A host learned of a packet."""


class Fixed(Detector):
    """A constant."""

    def in_force_ns(self, gap: Gap) -> int:
        return self.timeout_ns


class RoundTrips(Detector):
    """A share of the round trip."""

    OPTIONS: ClassVar = {"times": (500, 1, 1000, 1700), "low": (10_000, 0, 1), "high": (10_000_000, 10_000, 30_000)}
    learns = True

    def __init__(self, timeout_ns: int, **parameters: Any) -> None:
        super().__init__(timeout_ns, **parameters)
        self.of_flow: dict[int, int] = {}
        self.of_sharers: dict[Hashable, int] = {}

    def observe(self, feedback: Feedback) -> None:
        if feedback.lost:
            return
        sample = feedback.round_trip_ns
        self.of_flow[feedback.flow] = smoothed(self.of_flow.get(feedback.flow), sample)
        self.of_sharers[feedback.sharers] = smoothed(self.of_sharers.get(feedback.sharers), sample)

    def in_force_ns(self, gap: Gap) -> int:
        known = self.of_flow.get(gap.flow, self.of_sharers.get(gap.sharers))
        low, high = self.values["low"], self.values["high"]
        return high if known is None else clamp(known * self.values["times"] // 1000, low, high)


class Spread(Detector):
    """The present spread of path delays."""

    OPTIONS: ClassVar = {"margin": (1000, 0, 7), "low": (1000, 0, 1), "high": (1_000_000, 1000, 50_000)}
    learns = True

    def __init__(self, timeout_ns: int, **parameters: Any) -> None:
        super().__init__(timeout_ns, **parameters)
        self.delay_ns: dict[tuple[Hashable, int], int] = {}

    def observe(self, feedback: Feedback) -> None:
        if feedback.delay_ns is None:
            return
        counter = feedback.sharers, feedback.slot
        self.delay_ns[counter] = smoothed(self.delay_ns.get(counter), feedback.delay_ns)

    def in_force_ns(self, gap: Gap) -> int:
        counters = [(gap.sharers, slot) for slot in range(gap.slots)]
        known = [self.delay_ns[counter] for counter in counters if counter in self.delay_ns]
        low, high = self.values["low"], self.values["high"]
        if len(known) < 2:
            return high
        return clamp(max(known) - min(known) + self.values["margin"], low, high)


class RunningQuantile(Detector):
    """A quantile of the gaps, moved by each."""

    OPTIONS: ClassVar = {
        "start": (100_000, 1000, 20_000),
        "share": (900, 1, 500, 999),
        "low": (1000, 1, 700),
        "high": (100_000_000, 100_000, 1_000_000),
    }

    def __init__(self, timeout_ns: int, **parameters: Any) -> None:
        super().__init__(timeout_ns, **parameters)
        self.quantile: dict[Hashable, int] = {}

    def in_force_ns(self, gap: Gap) -> int:
        return self.quantile.get(gap.sharers, self.values["start"])

    def starts(self, gap: Gap) -> bool:
        q = self.in_force_ns(gap)
        share = self.values["share"]
        if gap.gap_ns > q:
            moved = q + max(1, (q * share) >> 18)
        else:
            moved = q - max(1, (q * (1000 - share)) >> 18)
        self.quantile[gap.sharers] = clamp(moved, self.values["low"], self.values["high"])
        return gap.gap_ns > q


class Safe(Detector):
    """A flowlet whenever nothing of the flow is under way."""

    def starts(self, gap: Gap) -> bool:
        return not gap.in_network


class Drained(Detector):
    """A flowlet whenever nothing of the flow is awaited, or after a long gap."""

    OPTIONS: ClassVar = {"gap": (10**12, 0, 1000, 20_000)}
    awaits = True

    def starts(self, gap: Gap) -> bool:
        return not gap.awaited or gap.gap_ns > self.values["gap"]


DETECTORS: dict[str, type[Detector]] = {
    "fixed": Fixed,
    "rtt": RoundTrips,
    "spread": Spread,
    "quantile": RunningQuantile,
    "safe": Safe,
    "drained": Drained,
}
