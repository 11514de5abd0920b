"""What refusals say: what Pydantic finds wrong in this program's words, and what an unknown name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

_BOUNDS: Final = {
    "greater_than_equal": ("ge", "must be {} or more"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be {} or less"),
    "less_than": ("lt", "must be less than {}"),
}
_KINDS: Final = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "missing",
}


def plainly(error: Mapping[str, Any]) -> str:
    """One of `ValidationError.errors()` as a sentence without a subject, such as "must be 1 or more"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return words.format(f"{context[key]:,}" if isinstance(context[key], int) else context[key])
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}"
    if kind == "too_short":
        return f"must have {context['min_length']} or more elements"
    if kind == "too_long":
        return f"must have {context['max_length']} elements or less"
    found = _KINDS.get(kind) or str(error["msg"]).removeprefix("Value error, ")
    return found.replace("Tuple", "List").replace("valid tuple", "valid list").replace(" after validation", "")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that is nearest to one that is unknown; None if none is near."""
    close = difflib.get_close_matches(name, list(names), 1)
    return close[0] if close else None


def meant(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'inflight'?` of the nearest known name; empty if none is near."""
    close = nearest(name, names)
    return f"; did you mean {close!r}?" if close else ""
