"""How a link transmits: when a frame that reaches it has left, in exact fractions of a nanosecond.

The rules are those of docs/model.md, Links. This is the one place of the arithmetic: the event loop,
changes of rates, the unloaded network behind slowdown and the forecast of packets as sent all call it, so that they
agree to the nanosecond.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import at, int64, kernel
from segcast.traces.units import NANOSECOND_BITS


class Transmitter(NamedTuple):
    """A link's transmitter, and when it has sent what it was given.

    `per_bit` is 1 / `rate_bps`. `burst_ns` is the time in which a token bucket fills, 0 for a plain transmitter. It is
    free at `free_ns` + `free_rest` / `rate_bps` nanoseconds, where `free_rest` < `rate_bps`.
    """

    rate_bps: int
    per_bit: float
    burst_ns: int
    free_ns: int
    free_rest: int


class Transmission(NamedTuple):
    """What one frame does: when the transmitter is free after it, when its last bit leaves, how long it waited."""

    free_ns: int
    free_rest: int
    departs_ns: int
    waited_ns: int


@kernel
def transmit(transmitter: Transmitter, now_ns: int, size_bytes: int) -> Transmission:
    """Transmit a frame that arrives at `now_ns` and takes `size_bytes`, the link's overhead included."""
    rate, burst_ns = transmitter.rate_bps, transmitter.burst_ns
    free_ns, rest = transmitter.free_ns, transmitter.free_rest
    # Whether it is idle follows no pattern: choices without a branch are twice as fast here.
    idle = now_ns - burst_ns > free_ns
    waited_ns = int64(0) if idle else free_ns + (rest > 0) - now_ns
    free_ns = now_ns - burst_ns if idle else free_ns
    rest = int64(0) if idle else rest
    # The fraction of a nanosecond is carried as `rest` / rate, so that a busy link keeps its exact rate. The quotient
    # by multiplication is at most one off.
    bits = size_bytes * NANOSECOND_BITS + rest
    whole = int64(np.float64(bits) * transmitter.per_bit)
    rest = bits - whole * rate
    if rest < 0:
        whole -= 1
        rest += rate
    elif rest >= rate:
        whole += 1
        rest -= rate
    free_ns += whole
    departs_ns = free_ns + (rest > 0)
    if burst_ns > 0:
        departs_ns = max(departs_ns, now_ns)
        waited_ns = departs_ns - now_ns
    return Transmission(free_ns, rest, departs_ns, waited_ns)


@kernel
def transmit_on(links: NDArray[np.void], link: int, now_ns: int, size_bytes: int) -> Transmission:
    """Transmit a frame on a link that is a row of LINK, and note there when it is free."""
    row = links[at(link)]
    sent = transmit(
        Transmitter(row.rate_bps, row.per_bit, row.burst_ns, row.free_ns, row.free_rest), now_ns, size_bytes
    )
    links[at(link)].free_ns = sent.free_ns
    links[at(link)].free_rest = sent.free_rest
    return sent
