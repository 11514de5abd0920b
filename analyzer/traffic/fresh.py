"""Addresses for hosts that no capture has: those of copied connections (docs/model.md, Growth).

They are of ranges that no host of the Internet uses, so that a reader sees at once that they are made up: 240.0.0.0/4
(RFC 1112 section 4) and 100::/64 (RFC 6666). They are drawn at random, as hashes of five-tuples would else repeat those
of the addresses they were made from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.errors import InputError
from segcast.traces.hashing import mix, mix_each

_BITS: Final = 28
_MASK: Final = np.uint64((1 << _BITS) - 1)
_RANGE4: Final = 0xF000_0000
_RANGE6: Final = 0x0100 << 48
_BROADCAST: Final = (1 << _BITS) - 1
_ODD: Final = tuple(np.uint64(odd) for odd in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D))
_SHIFTS: Final = tuple(np.uint64(bits) for bits in (14, 15, 14))


class FreshAddresses:
    """An address for each name of hosts in each population, of the IP version of the name, different from all others.

    `names` gives the host of every address of the trace. Names are numbered as they come: addresses, then hosts that
    are prefixes. Population p >= 1 has number (p - 1) * names + the name's.
    """

    def __init__(self, names: Mapping[str, str], populations: int, seed: int) -> None:
        """Raises InputError if there are not enough addresses for so many populations."""
        listed = dict.fromkeys([*names, *names.values()])
        self.number = {name: place for place, name in enumerate(listed)}
        self.of4 = np.array([ipaddress.ip_network(name).version == 4 for name in listed], np.bool_)
        self._salt = np.uint64(mix(np.uint64(seed)))
        used = (int(ipaddress.ip_address(name)) for name in names if ":" not in name)
        self._taken = np.unique([_BROADCAST, *(value - _RANGE4 for value in used if value >= _RANGE4)]).astype(np.int64)
        if populations * len(listed) >= (1 << _BITS) - len(self._taken):
            raise InputError(
                f"growth: {populations // 2:,} copies of {len(listed):,} addresses are more than 240.0.0.0/4 has room "
                "for; give a smaller factor, or traffic.only"
            )

    def words(self, population: NDArray[np.int64], name: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The addresses of these names (by number) in these populations, uint64[n, 2]: high and low half."""
        number = (population - 1) * len(self.of4) + name
        of4 = self.of4[name]
        found = np.empty((len(number), 2), np.uint64)
        found[:, 0] = np.where(of4, np.uint64(0), np.uint64(_RANGE6))
        wide = mix_each(number.astype(np.uint64) ^ self._salt)
        found[:, 1] = np.where(of4, self._short(number) | np.uint64(_RANGE4), wide)
        return found

    def texts(self, population: NDArray[np.int64], name: NDArray[np.int64]) -> list[str]:
        """The same as text."""
        halves = self.words(population, name).tolist()
        return [
            str(ipaddress.IPv6Address(high << 64 | low) if high else ipaddress.IPv4Address(low)) for high, low in halves
        ]

    def _short(self, number: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Numbers of _BITS bits, all different and none taken: a walk along a permutation until one is free."""
        number = number + np.searchsorted(self._taken - np.arange(len(self._taken)), number, side="right")
        value = self._permuted(number.astype(np.uint64))
        while (again := np.isin(value, self._taken.astype(np.uint64))).any():
            value[again] = self._permuted(value[again])
        return value

    def _permuted(self, value: NDArray[np.uint64]) -> NDArray[np.uint64]:
        value = (value + self._salt) & _MASK
        for odd, shift in zip(_ODD, _SHIFTS, strict=True):
            value = (value * odd) & _MASK
            value ^= value >> shift
        return value
