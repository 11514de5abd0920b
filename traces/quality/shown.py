"""How notebooks show a trace: its verdict, and the traffic by protocol, from the document of `segcast inspect`."""

from __future__ import annotations

import html
from typing import Any, Final

_HEADS: Final = ("protocol", "flows", "packets", "bytes on the wire")


def as_html(title: str, facts: dict[str, Any]) -> str:
    """`title` and the verdict with its reasons, and a table of IP versions and protocols; names are escaped.

    `facts` is the document of `segcast.traces.quality.describe`.
    """
    said = f"{title}; verdict: {facts['verdict']}" + "".join(f"; {reason}" for reason in facts["reasons"])
    rows = [
        (entry["name"], *(f"{entry[count]:,}" for count in ("flows", "packets", "wire_bytes")))
        for entry in (*facts["ip_versions"], *facts["protocols"])
    ]
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
        for name, *values in rows
    )
    return f"<p><b>{html.escape(said)}</b></p><table><tr>{head}</tr>{body}</table>"
