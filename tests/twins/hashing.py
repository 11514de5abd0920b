"""The mixing function, the flow key and the random draws of `docs/model.md`, line by line."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

_64_BITS = 2**64


def finish(x: int) -> int:
    """The last three steps of `mix`."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % _64_BITS
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % _64_BITS
    return x ^ (x >> 31)


def mix(x: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014) of one unsigned 64-bit integer."""
    return finish((x + 0x9E3779B97F4A7C15) % _64_BITS)


def scale(h: int, k: int) -> int:
    """The upper half of a 64-bit `h`, scaled to 0 .. k - 1."""
    return ((h >> 32) * k) >> 32


def flow_key(src: str, dst: str, protocol: int, src_port: int | None, dst_port: int | None) -> int:
    """The 64-bit key of a five-tuple with addresses as text; absent ports are 0."""
    source = int(ipaddress.ip_address(src))
    destination = int(ipaddress.ip_address(dst))
    words = [
        source >> 64,
        source % _64_BITS,
        destination >> 64,
        destination % _64_BITS,
        (protocol << 32) | ((src_port or 0) << 16) | (dst_port or 0),
    ]
    return fold(words)


def fold(words: Sequence[int]) -> int:
    """The flow key of the five words."""
    h = 0
    for word in words:
        h = mix(h ^ word)
    return h


def is_lost(send_ns: int, flow: int, seed: int, millionths: int) -> bool:
    """Whether the acknowledgement of a packet is one of so many that get lost."""
    draw = mix(mix(send_ns % 2**63 ^ mix(flow)) ^ seed % 2**63)
    return draw >> 32 < millionths * 2**32 // 10**6


class Draws:
    """The scenario's one generator; it starts with `state = mix(seed)`."""

    def __init__(self, seed: int) -> None:
        self.state = mix(seed)

    def draw(self, k: int) -> int:
        """The next number of 0 .. k - 1."""
        self.state = (self.state + 0x9E3779B97F4A7C15) % _64_BITS
        return scale(finish(self.state), k)
