"""The load that a link measures of itself, as CONGA's switches do (docs/model.md, conga).

CONGA's estimator (Alizadeh et al., SIGCOMM 2014, section 3.2) is a register that every frame raises by its bytes and
that loses an eighth each period: over its time constant of 8 periods that is the rate. Registers lie in `state.LINK`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import at, int64, kernel

PERIOD_NS: Final = 20_000
LEVELS: Final = 8
_SHIFT: Final = 3
_FORGOTTEN_PERIODS: Final = 400  # after which nothing is left of a register


@kernel
def load_bytes(links: NDArray[np.void], link: int, now_ns: int) -> int:
    """The register of a link as decayed to `now_ns`; LINK rows are not changed."""
    passed = now_ns // PERIOD_NS - links[at(link)].estimate_period
    if passed >= _FORGOTTEN_PERIODS:
        return int64(0)
    register = int64(links[at(link)].estimate_bytes)
    for _ in range(passed):
        register -= register >> _SHIFT
    return register


@kernel
def load_level(links: NDArray[np.void], link: int, register: int) -> int:
    """A register as a share of what the link can carry in its time constant, in eighths: 0 to 7."""
    capacity_bits = links[at(link)].rate_bps * (PERIOD_NS << _SHIFT) // 1_000_000_000
    return min(LEVELS - 1, int64(register * 8 * LEVELS // max(capacity_bits, 1)))


@kernel
def add_load(links: NDArray[np.void], link: int, now_ns: int, size: int) -> int:
    """Add a frame of `size` bytes, overhead included, to a link's register; its level then."""
    register = load_bytes(links, link, now_ns) + size
    links[at(link)].estimate_bytes = register
    links[at(link)].estimate_period = now_ns // PERIOD_NS
    return load_level(links, link, register)
