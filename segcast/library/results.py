"""What results have in common: a folder that stays, or goes with the object, and tables as Polars frames."""

from __future__ import annotations

import html
import shutil
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Protocol

from segcast.traces.errors import InputError

if TYPE_CHECKING:
    import polars as pl


class Result(ABC):
    """A folder that a verb wrote, and what it says."""

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Of this folder; the folder `kept`, if any, goes with this object."""
        self.folder = Path(folder)
        if kept is not None:
            weakref.finalize(self, shutil.rmtree, kept, ignore_errors=True)

    @property
    @abstractmethod
    def answer(self) -> str:
        """What came of it, in a sentence or two."""

    def _frame(self, name: str, absent: str) -> pl.DataFrame:
        """The table in the file `name` of the folder. Raises InputError that ends in `absent` if there is none."""
        import polars as pl

        file = self.folder / name
        if not file.is_file():
            raise InputError(f"{file}: {absent}")
        return pl.read_parquet(file.absolute(), glob=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.answer}>"

    def _shown(self, frame: pl.DataFrame) -> str:
        """The answer and a table, as notebooks show them."""
        return f"<p><b>{html.escape(self.answer)}</b></p>{frame._repr_html_()}"


class _Document(Protocol):
    answer: str
    but: list[str]

    def as_dict(self) -> dict[str, Any]: ...


class StatedResult(Result):
    """A result that one document of its folder states."""

    @property
    @abstractmethod
    def _stated(self) -> _Document: ...

    @property
    def answer(self) -> str:
        """What came of it, in a sentence or two."""
        return self._stated.answer

    @property
    def but(self) -> list[str]:
        """What limits it, worst first."""
        return self._stated.but

    @property
    def document(self) -> dict[str, Any]:
        """The content of the folder's `.json`."""
        return self._stated.as_dict()


@contextmanager
def folder_for(out: str | Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Where to write, and what keeps it if it has no name of the user's: removed if nothing comes of it."""
    if out is not None:
        yield Path(out), None
        return
    kept = Path(mkdtemp(prefix="segcast-"))
    try:
        yield kept / "result", kept
    except BaseException:
        shutil.rmtree(kept, ignore_errors=True)
        raise
