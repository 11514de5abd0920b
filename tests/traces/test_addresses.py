"""Addresses as text, against the standard library."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.traces.addresses import address_texts
from tests.support.strategies import Seeded

IPv4 = st.integers(0, 2**32 - 1)
GROUP = st.sampled_from([0, 0, 0, 1, 0x10, 0xABC, 0xFFFF]) | st.integers(0, 0xFFFF)


def texts(addresses: list[tuple[int, int]]) -> list[str]:
    version = np.array([version for version, _ in addresses], np.uint8)
    high = np.array([address >> 64 for _, address in addresses], np.uint64)
    low = np.array([address & (2**64 - 1) for _, address in addresses], np.uint64)
    found: list[str] = address_texts(version, high, low).to_pylist()
    return found


def standard(version: int, address: int) -> str:
    """As the standard library of Python 3.11 writes it; later ones write mapped IPv4 addresses with dots."""
    if version == 4:
        return str(ipaddress.IPv4Address(address))
    if address >> 32 == 0xFFFF:
        return f"::ffff:{address >> 16 & 0xFFFF:x}:{address & 0xFFFF:x}"
    return str(ipaddress.IPv6Address(address))


@settings(deadline=None)
@given(st.lists(st.tuples(st.just(4), IPv4) | st.tuples(st.just(6), st.lists(GROUP, min_size=8, max_size=8))))
def test_as_the_standard_library(drawn: list[tuple[int, int | list[int]]]) -> None:
    addresses = []
    for version, value in drawn:
        number = value if isinstance(value, int) else int("".join(f"{group:04x}" for group in value), 16)
        addresses.append((version, number))
    assert texts(addresses) == [standard(*address) for address in addresses]


def test_seeded_and_edge_addresses() -> None:
    c = Seeded(7)
    edges = [(4, n) for n in (0, 9, 10, 99, 100, 255, 2**32 - 1)]
    edges += [(6, n) for n in (0, 1, 2**16, 2**112, 2**128 - 1, 0xFFFF << 32, 1 << 64, (1 << 96) + 1)]
    edges += [(6, sum(c.pick((0, 0, 1, 0xFFFF)) << 16 * n for n in range(8))) for _ in range(2000)]
    edges += [(4, c.integer(0, 2**32 - 1)) for _ in range(1000)]
    assert texts(edges) == [standard(*address) for address in edges]
    assert texts([]) == []
