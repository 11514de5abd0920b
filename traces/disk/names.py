"""Names that others chose, of files and in documents: what can be written, and what can be shown.

In a terminal they can neither move the cursor nor begin a line of their own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from segcast.traces.errors import InputError

_HIDDEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


def visible(text: str | Path) -> str:
    """The text with control and formatting characters, line ends and what is no text as escapes: `\\x1b`."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def check_name(path: str | Path) -> None:
    """Raise InputError if `path`, made absolute and its links followed, is not UTF-8: no table could be named so."""
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{visible(path)}: its name is not UTF-8; rename it, or the folder it is in") from None
