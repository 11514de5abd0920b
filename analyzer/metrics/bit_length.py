"""The length of a number in binary digits, by the processor's own count of leading zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic

_BITS: Final = 64


def _counted(typing_context: Any, value: Any) -> Any:
    """The types of `bit_length`, and what writes its instructions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(_BITS), _BITS), zeros)

    return types.int64(types.int64), generate


def _python(value: int) -> int:
    """Stand in where compilation is turned off."""
    return int(value).bit_length()


# In a kernel: how many binary digits an int64 of at least 0 has.
bit_length: Final[Callable[[int], int]] = (
    _python if getattr(config, "DISABLE_JIT", 0) else cast(Any, intrinsic(_counted))
)
