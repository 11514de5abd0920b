"""Runs that stop and go on: a window, its cell and its metrics in one file, from which they go on to the same results.

The file is a NumPy archive of plain arrays (no pickles) and a JSON document that says what they belong to. What a run
is made of (network, flows, policy, parameters) is not in the file: whoever goes on builds the same again, and a
fingerprint tells whether it is the same.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.engine.window import Window
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.traces.disk.documents import Count, Shape
from segcast.traces.disk.folders import new_file
from segcast.traces.errors import InputError

FORMAT: Final = 5
_ABOUT: Final = "about"

Arrays = dict[str, NDArray[Any]]


class _About(Shape):
    """What a file of `save` says of its arrays."""

    format: Count = Field(description="version of the file's layout")
    fingerprint: str = Field(description="of the run that may go on from it")
    sha256: str = Field(description="of the arrays")


def save(file: Path, window: Window, metrics: Accumulator | None = None) -> None:
    """Write what is needed to go on, at any moment between batches. Raises InputError if the file cannot be written."""
    arrays = _arrays_of(window, metrics)
    about = _About(format=FORMAT, fingerprint=fingerprint(window, metrics), sha256=_digest(arrays))
    text = np.frombuffer(json.dumps(about.as_dict()).encode(), np.uint8)
    with new_file(file) as aside, aside.open("wb") as out:
        np.savez_compressed(out, **{_ABOUT: text}, **arrays)  # type: ignore[arg-type]


def load(file: Path, window: Window, metrics: Accumulator | None = None) -> None:
    """Bring a new window and new metrics, made as those saved were, to where they had been.

    Raises InputError if the file is none of `save`, damaged, of another format or another run; then neither changed.
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
    if about.fingerprint != fingerprint(window, metrics):
        raise InputError(
            f"{file}: belongs to another run (network, flows, policy, timeout, seed or metrics differ); {again}"
        )
    cell = window.cell
    cell.state = _filled(cell.state, "state", arrays)
    cell.policy_state = _filled(cell.policy_state, "policy", arrays)
    cell.detector_state = _filled(cell.detector_state, "detector", arrays)
    cell.steps_left = int(arrays["steps_left"])
    packets, fates = window.rows()
    window.restore(_filled(packets, "packets", arrays), _filled(fates, "fates", arrays), arrays["place"])
    if metrics is not None:
        metrics.counts = _filled(metrics.counts, "metrics", arrays)


def fingerprint(window: Window, metrics: Accumulator | None) -> str:
    """A digest of what a run is made of: its cell, as it was before its first packet, and what its metrics watch."""
    parts = [window.cell.identity]
    if metrics is not None:
        parts.append(metrics.identity)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _arrays_of(window: Window, metrics: Accumulator | None) -> Arrays:
    cell = window.cell
    arrays = {"steps_left": np.asarray(cell.steps_left), "place": window.place}
    packets, fates = window.rows()
    parts = {
        "state": cell.state,
        "policy": cell.policy_state,
        "detector": cell.detector_state,
        "packets": packets,
        "fates": fates,
    }
    if metrics is not None:
        parts["metrics"] = metrics.counts
    for name, part in parts.items():
        _flatten(part, name, arrays)
    return arrays


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
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
