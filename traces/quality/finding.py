"""What a finding is: something about a capture that a reader must know before believing a forecast."""

from __future__ import annotations

from typing import Any, Final

Finding = dict[str, Any]

FEW: Final = 0.01


def finding(code: str, severity: str, number: int, detail: str, effect: str) -> Finding:
    """A finding as it stands in `trace.json`; `number` says how many packets, flows or files are concerned."""
    return {"code": code, "severity": severity, "count": number, "detail": detail, "effect": effect}


def severity_of(share: float, few: float = FEW) -> str:
    """That of a finding about a share of all: below `few` it is a note, not a warning."""
    return "info" if share < few else "warning"
