"""The command line does nothing that the library does not offer, and what the library offers is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import segcast

ROOT = Path(__file__).parents[2]
LIBRARY_PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
PACKAGES = ("traces", "analyzer", "replay", "reports")
NAMESPACES = ("lab", "steer", "testbed")
COMMAND_LINE = sorted(
    file
    for file in [*(ROOT / "segcast").glob("*.py"), *(ROOT / "segcast" / "commands").glob("*.py")]
    if file.name != "__init__.py"
)

OF_THE_TERMINAL: Final = {
    "segcast.reports.text.echo": "prints a line",
    "segcast.traces.disk.names.visible": "how a name is shown in a line",
    "segcast.traces.units.write_duration": "how a duration is written in a command that is proposed",
    "segcast.traces.kernels.compiling.COMPILING": "tells the progress bar that kernels are compiled",
    "segcast.traces.captures.remote.waiting": "whether the process may end without its threads",
}
"""What the command line alone has a use for: it shows what goes on, or ends the process; it does no work."""


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a file imports from Segcast, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "segcast":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("segcast."))


def used(file: Path) -> Iterator[tuple[str, ...]]:
    """What a file uses of `sc`: `("forecast",)` of `sc.forecast`, `("steer", "check")` of `sc.steer.check`."""
    tree = ast.parse(file.read_text("utf-8"))
    outer = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id == "sc":
            if node.attr not in NAMESPACES or id(node) not in outer:
                yield (node.attr,)
        elif ast.unparse(node.value) in {f"sc.{space}" for space in NAMESPACES}:
            yield node.value.attr, node.attr  # type: ignore[attr-defined]


def public() -> dict[str, object]:
    """All that is offered, by the name that a user writes behind `sc.`"""
    found = {name: getattr(segcast, name) for name in segcast.__all__}
    for space in NAMESPACES:
        module = getattr(segcast, space)
        found |= {f"{space}.{name}": getattr(module, name) for name in module.__all__}
    return found


@pytest.mark.parametrize("file", COMMAND_LINE, ids=lambda file: file.stem)
def test_the_command_line_imports_nothing_that_the_library_does_not_offer(file: Path) -> None:
    offered = {id(value) for value in public().values()}
    for module, name in imports(file):
        parts = module.split(".")
        assert parts[1:2] != ["library"], f"{file.name} goes behind the library: {module}"
        if parts[1:2] == [] or parts[1] not in PACKAGES:
            continue  # the command line's own
        full = f"{module}.{name}"
        if full in OF_THE_TERMINAL or (parts[1] == "reports" and name.startswith("print_")):
            continue
        assert id(getattr(importlib.import_module(module), name)) in offered, f"{file.name} imports {full}"


@pytest.mark.parametrize("file", COMMAND_LINE, ids=lambda file: file.stem)
def test_what_it_calls_is_what_the_library_names(file: Path) -> None:
    offered = set(public())
    for names in used(file):
        assert ".".join(names) in offered, f"{file.name} uses sc.{'.'.join(names)}"


def test_no_exception_is_left_over() -> None:
    imported = {f"{module}.{name}" for file in COMMAND_LINE for module, name in imports(file)}
    assert set(OF_THE_TERMINAL) <= imported


def test_every_command_calls_the_library() -> None:
    """Else it would do something by itself, or nothing."""
    for file in (ROOT / "segcast" / "commands").glob("*.py"):
        if file.name not in ("__init__.py", "registry.py"):
            verbs = [names for names in used(file) if not names[-1][0].isupper()]
            assert verbs, f"{file.name} calls no verb of the library"


def test_what_is_printed_is_printed_only() -> None:
    """A printer of reports gives nothing back, so no work can hide behind the name."""
    for file in COMMAND_LINE:
        for module, name in imports(file):
            if module.startswith("segcast.reports") and name.startswith("print_"):
                made = getattr(importlib.import_module(module), name)
                assert inspect.signature(made).return_annotation == "None", f"{module}.{name}"


def test_all_that_is_offered_is_documented_and_typed() -> None:
    for name, value in public().items():
        if name == "__version__":
            continue
        assert re.search(rf"`(\w+\.)*{re.escape(name)}\b", LIBRARY_PAGE), f"docs/python.md lacks {name}"
        if isinstance(value, ModuleType):
            assert value.__doc__
            continue
        assert (inspect.getdoc(value) or "").strip(), name
        if inspect.isfunction(value):
            annotations = inspect.get_annotations(value)
            missing = {*inspect.signature(value).parameters, "return"} - set(annotations)
            assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("space", NAMESPACES)
def test_a_namespace_names_all_of_its_functions(space: str) -> None:
    module = getattr(segcast, space)
    own = {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    assert module.__all__ == sorted(module.__all__)
    assert set(module.__all__) == {name for name in own if not name.startswith("_")}
