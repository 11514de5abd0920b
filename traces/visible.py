"""Text for a terminal, in which names that others chose can neither move the cursor nor begin a line of their own."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """The text with control and formatting characters as escapes: `\\x1b`, `\\u202e`; so are line ends."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
