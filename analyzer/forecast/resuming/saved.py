"""Runs that stop and go on: what they hold in one file, from which they go on to the same results.

The file is an archive of NumPy's plain arrays (no pickles) and a JSON document that says what they belong to. What a
run is made of (network, flows, policy, parameters) is not in the file: whoever goes on builds the same again, and a
fingerprint tells whether it is the same.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.traces.disk.documents import Count, Shape
from segcast.traces.disk.folders import new_file
from segcast.traces.errors import InputError

FORMAT: Final = 6
_ABOUT: Final = "about"
_FASTEST: Final = 1  # level of compression: most of what is held is zeros

Arrays = dict[str, NDArray[Any]]


class Resumable(Protocol):
    """A part of a run, such as a window, a cell or its metrics."""

    @property
    def identity(self) -> str:
        """A text that two share if and only if they compute the same."""

    @property
    def held(self) -> Any:
        """All that it holds between pieces: nested NamedTuples of arrays and numbers. A new one may be given them."""

    @held.setter
    def held(self, held: Any) -> None: ...


class _About(Shape):
    """What a file of `save` says of its arrays."""

    format: Count = Field(description="version of the file's layout")
    fingerprint: str = Field(description="of the run that may go on from it")
    sha256: str = Field(description="of the arrays")


def save(file: Path, *parts: Resumable) -> None:
    """Write what is needed to go on, at any moment between pieces. Raises InputError if the file cannot be written."""
    arrays: Arrays = {}
    for number, part in enumerate(parts):
        _flatten(part.held, str(number), arrays)
    about = _About(format=FORMAT, fingerprint=fingerprint(*parts), sha256=_digest(arrays))
    text = np.frombuffer(json.dumps(about.as_dict()).encode(), np.uint8)
    with (
        new_file(file) as aside,
        zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=_FASTEST) as archive,
    ):
        for name, values in {_ABOUT: text, **arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def load(file: Path, *parts: Resumable) -> None:
    """Bring new parts, made as those saved were, to where they had been.

    Raises InputError if the file is none of `save`, damaged, of another format or another run; then none changed.
    """
    again = "start the run from the beginning"
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = _About.model_validate(json.loads(arrays.pop(_ABOUT).tobytes()))
    except FileNotFoundError:
        raise InputError(f"{file}: does not exist; name the file of a saved run") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file}: is no saved run, or is damaged ({reason}); {again}") from None
    if about.format != FORMAT:
        raise InputError(f"{file}: saved in format {about.format}, but this Segcast reads {FORMAT}; {again}")
    if about.sha256 != _digest(arrays):
        raise InputError(f"{file}: is damaged: its content does not have the digest it states; {again}")
    if about.fingerprint != fingerprint(*parts):
        raise InputError(
            f"{file}: belongs to another run (network, flows, policy, timeout, seed or metrics differ); {again}"
        )
    for number, part in enumerate(parts):
        part.held = _filled(part.held, str(number), arrays)


def fingerprint(*parts: Resumable) -> str:
    """A digest of what a run is made of: its cell, as it was before its first packet, and what its metrics watch."""
    return hashlib.sha256("\n".join(part.identity for part in parts).encode()).hexdigest()


def _flatten(part: Any, name: str, into: Arrays) -> None:
    """Name the arrays of nested NamedTuples by the way to them; numbers become arrays without dimensions."""
    if not isinstance(part, tuple):
        into[name] = np.asarray(part)
        return
    for field, value in part._asdict().items():  # type: ignore[attr-defined]
        _flatten(value, f"{name}.{field}", into)


def _filled(part: Any, name: str, arrays: Arrays) -> Any:
    """`part` with the arrays of that name in place of its own."""
    if isinstance(part, tuple):
        return part._make(  # type: ignore[attr-defined]
            _filled(value, f"{name}.{field}", arrays)
            for field, value in part._asdict().items()  # type: ignore[attr-defined]
        )
    if isinstance(
        part, np.ndarray
    ):  # records keep their alignment, which the file does not know: kernels are compiled for it
        return arrays[name].view(part.dtype)
    return type(part)(arrays[name].item())


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.descr} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
