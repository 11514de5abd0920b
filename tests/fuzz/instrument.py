"""Compiles `traces` so that it counts where it goes: an import hook for its sources, and another `kernel` alias.

Every branch of every function, Python or kernel, gets a counter. The counters are at a fixed address, so that compiled
kernels can be cached. Kernels also check every index: what would read or write beyond an array raises IndexError.
"""

from __future__ import annotations
import __future__

import ast
import ctypes
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import mmap
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "segcast.traces"
POINTS: Final = 1 << 13
_ADDRESS: Final = 0x6000_0000_0000  # far from where Linux puts programs, heaps and libraries
_FIXED_NOREPLACE: Final = 0x100000
_HIT, _SEE, _EDGES = "_fuzz_hit", "_fuzz_see", "_fuzz_edges"


def _map_counters() -> npt.NDArray[np.uint32]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED_NOREPLACE
    got = libc.mmap(_ADDRESS, 4 * POINTS, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if got != _ADDRESS:
        raise OSError(ctypes.get_errno(), f"no memory at {_ADDRESS:#x} for the counters")
    return np.frombuffer((ctypes.c_uint32 * POINTS).from_address(_ADDRESS), np.uint32)


def _count(builder: Any, place: Any) -> None:
    pointer = builder.inttoptr(
        builder.add(builder.mul(place, ir.Constant(place.type, 4)), ir.Constant(place.type, _ADDRESS)),
        ir.IntType(32).as_pointer(),
    )
    builder.store(builder.add(builder.load(pointer), ir.Constant(ir.IntType(32), 1)), pointer)


@intrinsic
def _hit(typing: Any, point: Any) -> Any:
    """Count the point."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _count(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _see(typing: Any, point: Any, condition: Any) -> Any:
    """The condition; counts the point, or the one after it if the condition holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _count(builder, builder.add(arguments[0], builder.zext(arguments[1], arguments[0].type)))
        return arguments[1]

    return types.boolean(types.int64, types.boolean), generate


class _Counting(ast.NodeTransformer):
    """Puts a counter at the beginning of every function, branch, loop body and handler; in kernels also at every
    comparison of a compound condition.
    """

    def __init__(self, first: int) -> None:
        self.next = first
        self.lines: list[int] = []
        self._kernel = False

    def pad(self, upto: int) -> None:
        """Take the points below `upto` that are not taken yet."""
        self.lines += [0] * (upto - self.next)
        self.next = max(self.next, upto)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        before = self._kernel
        self._kernel = any(isinstance(d, ast.Name) and d.id in _COMPILERS for d in node.decorator_list)
        self._within(node)
        documented = int(ast.get_docstring(node) is not None)
        node.body.insert(documented, self._counter(node))
        self._kernel = before
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self._within(node)
        node.body.insert(0, self._counter(node))
        node.orelse.insert(0, self._counter(node))
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._begin(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._begin(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        return self._begin(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        node.values = [self._seen(value) for value in node.values]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.test = self._seen(node.test)
        return node

    def _begin(self, node: Any) -> ast.AST:
        self._within(node)
        node.body.insert(0, self._counter(node))
        return node  # type: ignore[no-any-return]

    def _within(self, node: ast.AST) -> None:
        """The parts of a statement, but not what stands outside functions' bodies: annotations, decorators."""
        for name, field in ast.iter_fields(node):
            if name not in ("args", "returns", "decorator_list") and isinstance(field, list):
                field[:] = [self.visit(item) if isinstance(item, ast.AST) else item for item in field]
            elif name == "test":
                node.test = self.visit(field)  # type: ignore[attr-defined]

    def _point(self, line: int, taken: int = 1) -> ast.expr:
        self.next += taken
        self.lines += [line] * taken
        return ast.Constant(self.next - taken)

    def _counter(self, node: Any) -> ast.stmt:
        if self._kernel:
            return ast.Expr(ast.Call(ast.Name(_HIT, ast.Load()), [self._point(node.lineno)], []))
        place = ast.Subscript(ast.Name(_EDGES, ast.Load()), self._point(node.lineno), ast.Store())
        return ast.AugAssign(place, ast.Add(), ast.Constant(1))

    def _seen(self, value: ast.expr) -> ast.expr:
        if not self._kernel or not isinstance(value, ast.Compare):
            return value
        return ast.Call(ast.Name(_SEE, ast.Load()), [self._point(value.lineno, 2), value], [])


_COMPILERS = ("kernel", "inlined", "allocating")
_PLAIN = frozenset(f"segcast.traces.{name}" for name in ("jit", "kernels.cache", "sources"))
"""What compiles kernels is not looked into."""


class Instrument(importlib.abc.MetaPathFinder):
    """Imports the modules of `traces` with counters; make one before anything of `traces` is imported."""

    def __init__(self, edits: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> None:
        """`edits`, by module, are texts to replace in its source: faults planted to see that they are found."""
        already = [name for name in sys.modules if name.startswith(PACKAGE)]
        assert not already, already
        self.counters = _map_counters()
        self.points = 0
        self.places: list[str] = []  # of the points: module and line
        self._edits = dict(edits or {})
        self._shown = memoryview(self.counters).cast("B").cast("I")
        # What the code of a kernel depends on beside its sources: this file, and of its module and those that it can
        # reach by imports, the planted faults and the number that their points begin with.
        self._own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self._modules: dict[str, tuple[set[str], Any]] = {}  # what each imports, and what matters of it
        sys.meta_path.insert(0, self)
        jit: Any = importlib.import_module("segcast.traces.jit")
        self._compiled: Callable[..., Any] = jit.compiled
        jit.kernel = jit.inlined = jit.allocating = self.kernel

    def kernel(self, function: Callable[..., Any]) -> Any:
        """As `segcast.traces.jit.kernel`, with every index checked."""
        matter = [(name, self._modules[name][1]) for name in sorted(self._reached(function.__module__))]
        made_of = hashlib.sha256(repr((self._own, matter)).encode()).hexdigest()
        return self._compiled(function, (), made_of, boundscheck=True, _nrt=True)

    def _reached(self, module: str) -> set[str]:
        """The instrumented modules that a module imports, directly or not, and itself."""
        reached: set[str] = set()
        waiting = {module}
        while waiting:
            name = waiting.pop()
            if name in self._modules and name not in reached:
                reached.add(name)
                waiting |= self._modules[name][0]
        return reached

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module with a loader that instruments it, if it is ours."""
        if not fullname.startswith(PACKAGE) or fullname in _PLAIN:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path or [str(ROOT)], target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(self, spec.loader.name, spec.loader.path)
        return spec

    def compiled(self, name: str, source: str, path: str) -> CodeType:
        """The code of a module, with counters."""
        sound = source
        for old, new in self._edits.get(name, ()):
            assert source.count(old) == 1, (name, old)
            source = source.replace(old, new)
        parsed = ast.parse(source)
        planted = self._edits.get(name, ()) if "@kernel" in source else ()
        self._modules[name] = _imports(parsed), (self.points, planted)
        counting = _Counting(self.points)
        tree = ast.fix_missing_locations(counting.visit(parsed))
        if source != sound:  # a fault must not give the modules behind it other numbers, and their kernels other code
            without = _Counting(self.points)
            without.visit(ast.parse(sound))
            counting.pad(without.next)
        self.points = counting.next
        self.places += [f"{name.split('.')[-1]}:{line}" for line in counting.lines]
        assert self.points <= POINTS
        code: CodeType = compile(tree, path, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
        return code

    def names(self) -> dict[str, Any]:
        """What the instrumented modules refer to."""
        return {_HIT: _hit, _SEE: _see, _EDGES: self._shown}


def _imports(tree: ast.Module) -> set[str]:
    """The names of what a source imports that can be modules."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module} | {f"{node.module}.{each.name}" for each in node.names}
    return names


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, instrument: Instrument, name: str, path: str) -> None:
        super().__init__(name, path)
        self._instrument = instrument

    def get_code(self, fullname: str) -> CodeType:
        """Never from a .pyc file."""
        return self._instrument.compiled(fullname, self.get_data(self.path).decode(), self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with the counters' names in it."""
        vars(module).update(self._instrument.names())
        super().exec_module(module)


@numba.njit(cache=True)
def _novelty(counters: Any, seen: Any) -> Any:
    fresh = 0
    for i in range(counters.size):
        count = counters[i]
        if count != 0:
            counters[i] = 0
            bucket = 0
            while bucket < 7 and count >= 1 << (bucket + 1):
                bucket += 1
            bit = np.uint8(1 << bucket)
            if seen[i] & bit == 0:
                seen[i] |= bit
                fresh += 1
    return fresh


def take_novelty(counters: npt.NDArray[np.uint32], seen: npt.NDArray[np.uint8]) -> int:
    """How many counters have a value of a magnitude (1, 2-3, 4-7, ... 128 on) that they never had; they go back to 0.

    `seen` uint8[n] holds the magnitudes so far, a bit each.
    """
    return int(_novelty(counters, seen))
