"""Reads the JSON documents of our folders: whole, of the shape they should have, or one line saying what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segcast.traces.disk.folders import printable
from segcast.traces.errors import InputError

Count = Annotated[int, Field(ge=0, lt=2**64)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Shape(BaseModel):
    """Base of the shapes: values are checked and never converted; keys that a shape does not name are let through."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


ShapeT = TypeVar("ShapeT", bound=Shape)


def read_json(file: Path, mend: str) -> dict[str, Any]:
    """The JSON object in `file`. Raises FileNotFoundError; InputError that ends in `mend` if it is damaged."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{file}: unreadable ({error.strerror}); check its permissions, or {mend}") from None
    except RecursionError:
        raise InputError(f"{file}: unreadable (nested too deeply); {mend}") from None
    except ValueError as error:
        raise InputError(f"{file}: unreadable ({error}); {mend}") from None
    if not isinstance(document, dict):
        raise InputError(f"{file}: holds no JSON object; {mend}")
    return document


def read_shape(file: Path, shape: type[ShapeT], missing: str, mend: str) -> ShapeT:
    """The document in `file` as its shape. Raises InputError: `missing` if there is none, else ending in `mend`."""
    try:
        document = read_json(file, mend)
    except FileNotFoundError:
        raise InputError(missing) from None
    check_shape(document, shape, file, mend)
    return shape.model_validate(document)


def check_shape(document: dict[str, Any], shape: type[Shape], file: Path, mend: str) -> None:
    """Raise InputError naming the first place of `document` that does not fit, ending in `mend`."""
    try:
        shape.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = printable(".".join(str(part) for part in first["loc"]))
        raise InputError(f"{file}: {place}: {first['msg'].partition(chr(10))[0]}; {mend}") from None
