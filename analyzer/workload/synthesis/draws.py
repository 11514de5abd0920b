"""Random numbers by purpose: another pattern, or more flows, never moves what is drawn for something else."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What numbers are drawn for; its number is part of the seed, so it never changes."""

    SIZES = 1
    ARRIVALS = 2
    SOURCES = 3
    TARGETS = 4
    PATTERN = 5
    JITTER = 6


def stream(seed: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one purpose. What is drawn for the first n flows does not depend on how many there are."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose.value])))
