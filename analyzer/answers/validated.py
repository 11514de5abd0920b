"""What replays measured of the model's error, where that was done: said beside intervals, and never put into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcast.analyzer.answers.wording import change


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation: its name, whether it held, and by policy how far the model's p99 delay is above the measured one.

    The model is asked of packets as they were sent.
    """

    name: str
    holds: bool
    p99: Mapping[str, float]

    @property
    def words(self) -> str:
        """The error in words: `off by -1.2 % to +3 % at p99 (3 policies of bed.validation, which held)`."""
        held = "held" if self.holds else "did not hold"
        if not self.p99:
            return f"measured ({self.name}, which {held}), but of no p99"
        low, high = change(min(self.p99.values())), change(max(self.p99.values()))
        far = low if low == high else f"{low} to {high}"
        policies = f"{len(self.p99)} policies" if len(self.p99) > 1 else f"{next(iter(self.p99))}"
        return f"off by {far} at p99 where it was measured ({policies} of {self.name}, which {held})"


def say_covers(resampled: str = "", validated: Validated | None = None) -> str:
    """What the 95 % intervals cover, and what no interval does."""
    model = "the model's error" if validated is None else f"the model's error: {validated.words}"
    if not resampled:
        return f"95 % intervals cover the policies' draws over seeds: not other traffic, nor {model}."
    return (
        "95 % intervals cover the policies' draws over seeds; those of other traffic cover that too, as far as "
        f"{resampled}, tell. None covers {model}."
    )
