"""Registries: where the members of an extension point, such as policies, register themselves and are found by name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Generic, TypeVar

from segcast.traces.errors import InputError
from segcast.traces.refusals import meant

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """The members of one extension point by name: those of its package, and those that others add.

    `package` is where the members of Segcast are: each module of it adds its own when it is imported, which happens
    once, when members are first asked for. `what` is what errors call a member.
    """

    def __init__(self, package: str, what: str) -> None:
        self._package = package
        self._what = what
        self._entries: dict[str, Entry] = {}
        self._imported = False

    def add(self, name: str, entry: Entry) -> None:
        """Add a member; it replaces another of that name."""
        self._entries[name] = entry

    def all(self) -> dict[str, Entry]:
        """All members, in the order of their names."""
        if not self._imported:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._imported = True
        return dict(sorted(self._entries.items()))

    def find(self, name: str) -> Entry:
        """The member of that name. Raises InputError naming those there are."""
        known = self.all()
        if name not in known:
            raise InputError(f"unknown {self._what} {name!r}{meant(name, known)}; known: {', '.join(known)}")
        return known[name]
