"""Addresses as text, many at a time."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def address_texts(
    version: npt.NDArray[np.uint8], high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> pa.Array:
    """Text of n addresses (IPv4 dotted; IPv6 as RFC 5952); `version` 4 or 6, the halves as `Headers` has them."""
    words = np.empty(len(version), [("version", np.uint8), ("high", np.uint64), ("low", np.uint64)])
    words["version"], words["high"], words["low"] = version, high, low
    distinct, place = np.unique(words, return_inverse=True)
    texts: list[Any] = [_text(*word) for word in distinct.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(place))


def _text(version: int, high: int, low: int) -> str:
    if version == 4:
        return str(ipaddress.IPv4Address(low))
    return str(ipaddress.IPv6Address(high << 64 | low))
