"""Integers out of bytes, for kernels: any alignment, either byte order, no bounds checked."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from segcast.traces.jit import kernel

Bytes: TypeAlias = npt.NDArray[np.uint8]
Word: TypeAlias = Any  # int64 in kernels, whose arithmetic with int the type checker does not know


@kernel
def be16(data: Bytes, at: int) -> Word:
    """Big-endian 16 bits at `at`."""
    i = np.uint64(at)
    return (np.int64(data[i]) << 8) | np.int64(data[i + np.uint64(1)])


@kernel
def be32(data: Bytes, at: int) -> Word:
    """Big-endian 32 bits at `at`."""
    i = np.uint64(at)
    return (
        (np.int64(data[i]) << 24)
        | (np.int64(data[i + np.uint64(1)]) << 16)
        | (np.int64(data[i + np.uint64(2)]) << 8)
        | np.int64(data[i + np.uint64(3)])
    )


@kernel
def le32(data: Bytes, at: int) -> Word:
    """Little-endian 32 bits at `at`."""
    i = np.uint64(at)
    return (
        np.int64(data[i])
        | (np.int64(data[i + np.uint64(1)]) << 8)
        | (np.int64(data[i + np.uint64(2)]) << 16)
        | (np.int64(data[i + np.uint64(3)]) << 24)
    )


@kernel
def u16(data: Bytes, at: int, big: bool) -> Word:
    """16 bits at `at`, big-endian if `big`."""
    i = np.uint64(at)
    first, second = np.int64(data[i]), np.int64(data[i + np.uint64(1)])
    return (first << 8 | second) if big else (second << 8 | first)


@kernel
def u32(data: Bytes, at: int, big: bool) -> Word:
    """32 bits at `at`, big-endian if `big`."""
    return be32(data, at) if big else le32(data, at)


@kernel
def be64(data: Bytes, at: int) -> np.uint64:
    """Big-endian 64 bits at `at`."""
    return (np.uint64(be32(data, at)) << np.uint64(32)) | np.uint64(be32(data, at + 4))
