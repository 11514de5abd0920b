"""How steering hosts count what is in flight: the settings of a cell's hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ack = Literal["modelled", "recorded", "timeout"]
Scope = Literal["pair", "host", "fabric"]
Ties = Literal["hash", "number"]


@dataclass(frozen=True, slots=True)
class Steering:
    """How hosts count what is in flight, and when they suspect a path (docs/model.md, In-flight bytes)."""

    loss_timeout_ns: int
    ack: Ack = "modelled"
    scope: Scope = "pair"
    suspect_after: int = 0
    suspect_for_ns: int = 0
    ack_loss_millionths: int = 0
    ack_late_ns: int = 0
