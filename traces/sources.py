"""What code is made of: a digest of every source that a module can reach by its imports.

Two digests are equal if the modules and all they import say the same; docstrings, comments and layout do not count, so
that an edit of prose changes nothing. Modules of the standard library and installed packages are left out: their
versions answer for them. An import that the text does not name (`import_module`) is not seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import os
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

_OURS: Final = __name__.partition(".")[0]
_FORMAT: Final = f"1 {sys.version_info[:2]}"  # the text of a tree differs between versions of Python
_MAX_REMEMBERED: Final = 4000  # sources


def source_digest(folder: Path | None = None) -> str:
    """Hex digest of all sources in a folder, byte by byte; by default of this package: what an ingest depends on."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent if folder is None else folder
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def functions_digest(functions: Iterable[Callable[..., Any] | None]) -> str | None:
    """Hex digest of the sources that functions can reach by their globals, closures and their modules' imports.

    None if the source of one is not in a file (a notebook's cell), or its file has changed since the process began:
    what runs is then not what the file says.
    """
    roots: set[str] = set()
    for function in _reached(functions):
        module = function.__module__
        file = _origin(module)
        if file is None or Path(function.__code__.co_filename).resolve() != file:
            return None
        roots.add(module)
    return _modules_digest(frozenset(roots))


def code_digest(functions: Iterable[Callable[..., Any] | None]) -> str:
    """Hex digest of the compiled code of functions and those they reach, for want of their sources."""
    text = sorted(f"{function.__module__} {_code(function.__code__)}" for function in _reached(functions))
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def place_in_file(function: Callable[..., Any]) -> int:
    """How many functions its file defines above this one: unlike the line, no edit of prose changes it."""
    read = _read(function.__module__)
    return 0 if read is None else sum(line < function.__code__.co_firstlineno for line in read.definitions)


def remember(file: Path) -> None:
    """Keep what was found of each source in `file`, for later processes; nothing where there is no such folder."""
    if not _MEMORY.news or not file.parent.is_dir():
        return
    known = dict(list(_MEMORY.known.items())[-_MAX_REMEMBERED:])
    aside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps({"format": _FORMAT, "sources": known}))
        aside.replace(file)
    except OSError:
        return
    _MEMORY.news = False


def recall(file: Path) -> None:
    """Take over what `remember` kept in `file`; nothing if there is none or it is damaged."""
    try:
        kept = json.loads(file.read_text())
        if kept["format"] == _FORMAT:
            sources = {key: _Source(*values) for key, values in kept["sources"].items()}
            _MEMORY.known = {**sources, **_MEMORY.known}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return


class _Source(NamedTuple):
    """Of one file: a digest of what it says, the modules it imports as written, the lines where functions begin."""

    digest: str
    imports: list[str]
    definitions: list[int]


class _Memory:
    """What was found of sources, by the digest of their bytes; `news` if some of it is not kept on disk."""

    def __init__(self) -> None:
        self.known: dict[str, _Source] = {}
        self.news = False


_MEMORY: Final = _Memory()


def _began() -> float:
    """When this process began, in Unix seconds; or else when this module was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + (ticks + 1) * tick_s
    except (OSError, AttributeError, ValueError, IndexError):
        return time.time()


_BEGAN: Final = _began()


def _reached(functions: Iterable[Callable[..., Any] | None]) -> list[FunctionType]:
    """The functions, and all that they reach by name, beyond installed packages."""
    found: dict[int, FunctionType] = {}
    waiting: list[Any] = list(functions)
    own: set[str] = {_OURS}
    first = len(waiting)
    while waiting:
        first -= 1
        value = waiting.pop(0)
        function = inspect.unwrap(getattr(value, "py_func", value)) if callable(value) else value
        if not isinstance(function, FunctionType) or id(function) in found:
            continue
        top = (function.__module__ or "").partition(".")[0]
        if first >= 0:
            own.add(top)
        elif top not in own and (top in sys.stdlib_module_names or _installed(function.__code__.co_filename)):
            continue
        found[id(function)] = function
        waiting += _named(function)
    return list(found.values())


def _named(function: FunctionType) -> Iterator[Any]:
    """The values that a function's code names: globals, attributes of modules, and what it closes over."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (value.__dict__[each] for each in names if each in value.__dict__)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # it is empty
            continue


def _codes(code: Any) -> Iterator[Any]:
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from _codes(constant)


def _code(code: Any) -> str:
    constants = [_code(each) if hasattr(each, "co_code") else repr(each) for each in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


@functools.cache
def _modules_digest(roots: frozenset[str]) -> str | None:
    """Hex digest of the modules and all they import; None as in `functions_digest`."""
    own = {_OURS} | {root.partition(".")[0] for root in roots}
    waiting = sorted(roots)
    says: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        if module in says:
            continue
        read = _read(module)
        if read is None:
            return None
        says[module] = read.digest
        for name in imports_of(module):
            file = _origin(name)
            if file is not None and (name.partition(".")[0] in own or not _installed(str(file))):
                waiting.append(name)
    text = "\n".join(f"{module} {digest}" for module, digest in sorted(says.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _read(module: str) -> _Source | None:
    """What there is to know of a module's file; None if what runs may not be what the file says."""
    file = _origin(module)
    try:
        if file is None or _BEGAN < file.stat().st_mtime <= time.time():
            return None
        content = file.read_bytes()
    except OSError:
        return None
    key = hashlib.sha256(content).hexdigest()
    if file.suffix != ".py":
        return _Source(key, [], [])
    if key not in _MEMORY.known:
        try:
            _MEMORY.known[key] = _parsed(content)
        except (SyntaxError, ValueError):
            return None
        _MEMORY.news = True
    return _MEMORY.known[key]


def _parsed(content: bytes) -> _Source:
    tree = ast.parse(content)
    imports: set[str] = set()
    _gather(tree.body, imports)
    definitions: list[int] = []
    # A file that names `__doc__` may compute with its docstrings.
    bodies = () if b"__doc__" in content else (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            definitions.append(min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]))
        if isinstance(node, bodies):
            node.body = [each for each in node.body if not _is_prose(each)] or [ast.Pass()]
    return _Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), sorted(imports), sorted(definitions))


def _is_prose(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _gather(nodes: Iterable[ast.AST], imports: set[str]) -> None:
    """Add what the nodes import, but for what is there for type checkers only."""
    for node in nodes:
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            imports.add(base)
            imports.update(base + ("" if base.endswith(".") else ".") + alias.name for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            _gather(node.orelse, imports)
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            _gather(ast.iter_child_nodes(node), imports)


@functools.cache
def imports_of(module: str) -> Sequence[str]:
    """The modules with sources that a module imports, packages on the way to them included."""
    read = _read(module)
    file = _origin(module)
    assert read is not None and file is not None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for written in read.imports:
        name = written
        if written.startswith("."):
            level = len(written) - len(written.lstrip("."))
            base = package.split(".")[: len(package.split(".")) - level + 1]
            name = ".".join([*base, *filter(None, [written.lstrip(".")])])
        if name and name.partition(".")[0] not in sys.stdlib_module_names:
            parts = name.split(".")
            found.update(".".join(parts[: count + 1]) for count in range(len(parts)))
    return sorted(name for name in found if _origin(name) is not None)


@functools.cache
def _origin(module: str) -> Path | None:
    """The file of a module, found without importing it; None if there is none."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return Path(loaded).resolve() if Path(loaded).is_file() else None
    top, _, rest = module.partition(".")
    roots: Iterable[str] = getattr(sys.modules.get(top), "__path__", ())
    if top not in sys.modules:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if not rest:
            return Path(spec.origin).resolve() if spec.origin and Path(spec.origin).is_file() else None
        roots = spec.submodule_search_locations or ()
    if rest:
        for root in roots:
            place = Path(root, *rest.split("."))
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    return file.resolve()
    return None


@functools.cache
def _installed(file: str) -> bool:
    """Whether a file belongs to the standard library or to an installed package."""
    path = Path(file).resolve()
    return any(path.is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    names = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({Path(name).resolve() for name in names})
