"""Has memory fetched before it is needed: what is known of a flow lies anywhere in tables larger than caches.

Kernels look some rows ahead, so that the processor waits for many flows at once instead of for each alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

_ANY: Any = cgutils  # Numba's inside, which has no types
_LINE_BYTES: Final = 64
_WHOLE: Final = 1 << 20
_BEGIN_BYTES: Final = 512
_READ, _KEEP, _DATA = 0, 3, 1


def _fetch(typing_context: Any, rows: Any, row: Any) -> Any:
    """The types of `prefetch`, and what writes its instructions."""
    return _fetching(rows, row, _WHOLE)


def _fetch_begin(typing_context: Any, rows: Any, row: Any) -> Any:
    """The same of `prefetch_begin`."""
    return _fetching(rows, row, _BEGIN_BYTES)


def _fetching(rows: Any, row: Any, most_bytes: int) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        fetch = _ANY.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0i8"
        )
        begin = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        last = min(context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype)), most_bytes) - 1
        for place in [*range(0, last + 1, _LINE_BYTES), *([last] if last >= 8 else [])]:  # rows may begin within a line
            builder.call(fetch, [builder.gep(begin, [word(place)]), word(_READ), word(_KEEP), word(_DATA)])
        return context.get_dummy_value()

    return types.void(rows, row), generate


def _nothing(rows: Any, row: Any) -> None:
    """Stand in where compilation is turned off."""


# In a kernel: have row `row` of an array fetched, or of one of several dimensions the element that lies so far from the
# first; that changes nothing but when it is there.
prefetch: Final[Callable[[Any, Any], None]] = (
    _nothing if getattr(config, "DISABLE_JIT", 0) else cast(Any, intrinsic(_fetch))
)

# The same for the first 512 bytes of a row, where long rows keep what is used most.
prefetch_begin: Final[Callable[[Any, Any], None]] = (
    _nothing if getattr(config, "DISABLE_JIT", 0) else cast(Any, intrinsic(_fetch_begin))
)
