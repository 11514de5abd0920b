"""Policies and flowlet timeouts from a user's own files, and what is wrong in them, said in a line."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from pathlib import Path
from typing import Final

from segcast.analyzer.detectors.registry import detectors
from segcast.analyzer.policies.registry import policies
from segcast.traces.errors import InputError

_LOADED: Final[list[Path]] = []
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_PLACE: Final = re.compile(r'File "([^"]+)", line (\d+)')


def load_plugin(file: str | Path) -> None:
    """Import a Python file that registers policies or flowlet timeouts; see docs/policies.md.

    What it imports may lie beside it. It is code, and runs with the rights of who runs Segcast. A file that was loaded
    before is not again. Raises InputError with the file and the line.
    """
    path = Path(file).absolute()
    if path in _LOADED:
        return
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"{file}: is no Python file" if path.exists() else f"{file}: not found")
    name = path.stem
    taken = importlib.util.find_spec(name) if name.isidentifier() and name not in sys.modules else None
    # A worker process begins with the path of the one that began it, on which the file itself is found.
    other = taken is not None and taken.origin != str(path)
    if name in sys.modules or not name.isidentifier() or other:
        raise InputError(f"{file}: a module called {name!r} is there already; give the file another name")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    before = {**policies()}, {**detectors()}
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(path.parent))
    _LOADED.append(path)
    try:
        spec.loader.exec_module(module)
        if (policies(), detectors()) == before:
            raise InputError(f"{file}: registers no policy and no flowlet timeout; see docs/policies.md")
    except BaseException as error:
        del sys.modules[name]
        _LOADED.remove(path)
        sys.path.remove(str(path.parent))
        if isinstance(error, KeyboardInterrupt | InputError):
            raise
        raise InputError(_said(error, [path]) or f"{file}: {type(error).__name__}: {error}") from None


def loaded_plugins() -> list[Path]:
    """The files that were loaded, in their order."""
    return list(_LOADED)


def fault_of(error: BaseException) -> str | None:
    """The line of a loaded file where an error comes from, and what is wrong there; None if it comes from elsewhere."""
    return _said(error, _LOADED) if _LOADED else None


def _said(error: BaseException, files: list[Path]) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) in files:
        return f"{error.filename}:{error.lineno}: {error.msg}"
    if type(error).__module__.startswith("numba"):
        return _uncompiled(_COLOURS.sub("", str(error)).splitlines(), files)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {type(error).__name__}: {error}" if frames else None


def _uncompiled(lines: list[str], files: list[Path]) -> str | None:
    """What Numba says above the first place of these files that it names, and that place."""
    for number, line in enumerate(lines):
        found = _PLACE.search(line)
        if found and Path(found[1]).resolve() in files:
            above = [text.strip() for text in lines[:number] if text.strip()]
            return f"{Path(found[1]).resolve()}:{found[2]}: does not compile: {above[-1] if above else 'see Numba'}"
    return None
