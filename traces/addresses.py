"""Addresses as text, many at a time."""

from __future__ import annotations

import ipaddress

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def address_texts(
    version: npt.NDArray[np.uint8], high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> pa.Array:
    """Text of n addresses (IPv4 dotted; IPv6 as RFC 5952); `version` 4 or 6, the halves as `Headers` has them."""
    texts = np.empty(len(version), object)
    (four,), (six,) = np.nonzero(version == 4), np.nonzero(version == 6)
    numbers, place = np.unique(low[four], return_inverse=True)
    texts[four] = np.array([str(ipaddress.IPv4Address(n)) for n in numbers.tolist()], object)[place]
    words = np.stack([high[six], low[six]], axis=1).astype(">u8")
    packed, place = np.unique(words.view("S16")[:, 0] if len(six) else np.empty(0, "S16"), return_inverse=True)
    texts[six] = np.array([str(ipaddress.IPv6Address(p.ljust(16, b"\0"))) for p in packed.tolist()], object)[place]
    return pa.array(texts, pa.string())
