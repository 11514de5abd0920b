"""JSON documents of our folders: each is declared once, as a `Shape`, which writes it and which it is read back by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segcast.traces.disk.bounded import read_bounded_text
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError
from segcast.traces.refusals import plainly

Count = Annotated[int, Field(ge=0, lt=2**64)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


Number = int | float  # an integer stays one


class Shape(BaseModel):
    """Base of what a document holds, or an object in it: its fields in the order written, each with its meaning.

    Values are checked and never converted; keys that a shape does not name are let through. A field with a default may
    be absent where it is read; whoever writes gives all of them. Defaults stand first in `Field(...)`, where the type
    checker does not take them for one: it asks writers for every field.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    def as_dict(self) -> dict[str, Any]:
        """The content as JSON values, in the order of the file."""
        return self.model_dump(by_alias=True)

    def stated(self) -> dict[str, Any]:
        """The same without the fields that were absent where it was read."""
        return self.model_dump(by_alias=True, exclude_unset=True)


ShapeT = TypeVar("ShapeT", bound=Shape)


def read_json(file: Path, mend: str) -> dict[str, Any]:
    """The JSON object in `file`. Raises FileNotFoundError; InputError that ends in `mend` if it is damaged."""
    try:
        document = json.loads(read_bounded_text(file))
        json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{file}: unreadable ({error.strerror}); check its permissions, or {mend}") from None
    except InputError as error:
        raise InputError(f"{error}; {mend}") from None
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


def json_text(document: Shape, indent: int | None = 1) -> str:
    """A document as the text of its file."""
    return json.dumps(document.as_dict(), indent=indent) + "\n"


def check_present(document: Shape, places: Sequence[str], file: Path, mend: str) -> None:
    """Raise InputError naming the first of `places` that `file` does not state, though its shape lets it be absent.

    A place is the names of fields from the outside in, with dots between them; of a list every entry has to state it.
    """
    for place in places:
        if (missing := _absent(document, place.split("."))) is not None:
            raise InputError(f"{file}: {missing}: missing; {mend}")


def _absent(value: object, names: Sequence[str]) -> str | None:
    """The place that is absent below `value`, as errors write it; None if there is none."""
    if isinstance(value, list):
        found = ((number, _absent(entry, names)) for number, entry in enumerate(value))
        return next((f"{number}.{place}" for number, place in found if place is not None), None)
    if not names or not isinstance(value, Shape):
        return None
    if names[0] not in value.model_fields_set:
        return names[0]
    place = _absent(getattr(value, names[0]), names[1:])
    return None if place is None else f"{names[0]}.{place}"


def check_shape(document: dict[str, Any], shape: type[Shape], file: Path, mend: str) -> None:
    """Raise InputError naming the first place of `document` that does not fit, ending in `mend`."""
    try:
        shape.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = visible(".".join(str(part) for part in first["loc"]))
        raise InputError(f"{file}: {place}: {plainly(first).partition(chr(10))[0]}; {mend}") from None


class Printed(Shape):
    """Base of what a command prints with `--json` and writes nowhere."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Count = Field(description="version of this document")
