"""The registry of an extension point: its own members are imported once, others are added, and errors name them all."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from segcast.analyzer.registry import Registry
from segcast.analyzer.scenario.short import short_scenario
from segcast.traces.errors import InputError

_MODULE = "from members import REGISTRY\nREGISTRY.add({name!r}, {name!r})\n"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """A registry whose package holds a member called `own`."""
    package = tmp_path / "members"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from segcast.analyzer.registry import Registry\nREGISTRY = Registry('members', 'member')\n"
    )
    (package / "own.py").write_text(_MODULE.format(name="own"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("members", "members.own"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from members import REGISTRY  # type: ignore[import-not-found]

    made: Registry[str] = REGISTRY
    return made


def test_members_of_the_package_and_others_are_found_by_name(registry: Registry[str]) -> None:
    registry.add("another", "added")
    assert list(registry.all().items()) == [("another", "added"), ("own", "own")]
    assert registry.find("own") == "own"
    registry.add("own", "replaced")
    assert registry.find("own") == "replaced"
    with pytest.raises(InputError, match=r"^unknown member 'wish'; known: another, own$"):
        registry.find("wish")


def test_the_package_is_searched_once(registry: Registry[str], tmp_path: Path) -> None:
    assert list(registry.all()) == ["own"]
    (tmp_path / "members" / "late.py").write_text(_MODULE.format(name="late"))
    assert list(registry.all()) == ["own"]


def test_a_module_that_cannot_be_imported_is_met_again(registry: Registry[str], tmp_path: Path) -> None:
    (tmp_path / "members" / "broken.py").write_text("raise RuntimeError('broken')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            registry.find("own")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"policies": ["inflght"]}, "unknown policy 'inflght'; did you mean 'inflight'?; known: clove-ecn, conga"),
        ({"timeouts": ["rrt"]}, "unknown flowlet timeout 'rrt'; did you mean 'rtt'?; known: a duration, drained"),
        ({"timeouts": ["yesterday"]}, "unknown flowlet timeout 'yesterday'; known: a duration"),
    ],
)
def test_a_name_nearly_right_is_asked_for(paths: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        short_scenario(paths="2x1Gbps", **paths)
