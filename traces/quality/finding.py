"""What a finding is: something about a capture that a reader must know before believing a forecast."""

from __future__ import annotations

from typing import Any

Finding = dict[str, Any]


def finding(code: str, severity: str, number: int, detail: str, effect: str) -> Finding:
    """A finding as it stands in `trace.json`; `number` says how many packets, flows or files are concerned."""
    return {"code": code, "severity": severity, "count": number, "detail": detail, "effect": effect}
