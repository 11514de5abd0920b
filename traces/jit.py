"""How Segcast compiles kernels: one alias fixes the flags and the cache on disk (see `kernels.cache`).

To import this module, or to define a kernel, touches neither the disk nor Numba's own settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

try:
    from segcast.traces.kernels.cache import KernelCache
except (ImportError, AttributeError):  # a Numba whose inside is another: kernels compile in each process
    KernelCache = None  # type: ignore[assignment, misc]

F = TypeVar("F", bound=Callable[..., Any])

# In a kernel: to a signed 64-bit integer. Mixing signed and unsigned would make a float of both.
int64: Callable[[Any], int] = cast(Any, np.int64)

# In a kernel: an index that is never below 0. Numba else tests every index for counting from the end, which costs the
# engine a sixth of its time.
at: Callable[[Any], int] = cast(Any, np.uint64)

# Arrays belong to the caller, so kernels do not count references to them. Numba else counts, by atomic instructions, in
# every call that is not made part of the caller: half the time of a loop that calls a kernel for each packet.
UNCOUNTED: Final[dict[str, Any]] = {"_nrt": False}
_FLAGS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"} | UNCOUNTED


def kernel(function: F) -> F:
    """Compile a kernel: no Python objects, no new arrays, no GIL, C division, cached on disk."""
    return compiled(function, ())


def allocating(function: F) -> F:
    """Compile a kernel that makes arrays."""
    return compiled(function, (), _nrt=True)


def inlined(function: F) -> F:
    """Compile a kernel that becomes part of those that call it: where a call for each packet would be felt.

    LLVM does it, after each has been typed and lowered once; Numba's own way types it anew in every caller.
    """
    return compiled(function, (), forceinline=True)


def inlined_by_type(function: F) -> F:
    """The same for a kernel that calls functions chosen by the types of its arguments, kept on disk only inside others.

    Those are told of the functions (`kernel_of`); in a place of its own an edited one could not be told from the old.
    """
    return cast(F, cast(Any, numba.njit)(**_FLAGS, forceinline=True)(function))


def kernel_of(parts: tuple[Callable[..., Any] | None, ...], function: F) -> F:
    """Compile a kernel into which functions go that its module does not import: those chosen by the type of a state."""
    return compiled(function, parts)


def compiled(function: F, parts: tuple[Callable[..., Any] | None, ...], apart: str = "", **flags: Any) -> F:
    """Compile a kernel with further `flags` of Numba; its cache is not shared with kernels of another `apart`."""
    flags = _FLAGS | flags
    dispatcher = cast(Any, numba.njit)(**flags)(function)
    if KernelCache is not None and hasattr(dispatcher, "_cache"):  # with compilation turned off it is the function
        dispatcher._cache = KernelCache(function, parts, f"{apart} {sorted(flags.items())}")
    return cast(F, dispatcher)
