"""How a steering host gives packets their segment list: every SRv6 mode is one row here.

Sources: RFC 8986 sections 5.1 to 5.4 (H.Encaps, H.Encaps.Red, H.Encaps.L2, H.Encaps.L2.Red); RFC 9800 section 4.1
(NEXT-C-SID, uSID); draft-filsfils-spring-srv6-net-pgm-insertion (H.Insert, H.Insert.Red).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """A mode is its name, and what else must be known of it.

    `inserts`: the SRH goes into the packet, whose own destination ends the list. `layer_2`: an Ethernet frame is
    inside. `reduced`: the first SID stands in the destination address alone. `compressed`: several SIDs share an
    address, a uSID carrier. `steers`: packets are given a list at all; only then may a scenario name the mode.
    """

    inserts: bool
    layer_2: bool
    reduced: bool
    compressed: bool
    steers: bool

    def __new__(cls, name: str, *facts: str) -> Mode:
        """The member of that name; `facts` are those that hold beside `steers`, or "plain" where nothing is steered."""
        mode = str.__new__(cls, name)
        mode._value_ = name
        mode.inserts = "inserts" in facts
        mode.layer_2 = "layer 2" in facts
        mode.reduced = "reduced" in facts
        mode.compressed = "compressed" in facts
        mode.steers = "plain" not in facts
        return mode

    ENCAPS = "encaps"
    REDUCED = "reduced", "reduced"
    USID = "usid", "reduced", "compressed"
    INSERT = "insert", "inserts"
    INSERT_REDUCED = "insert-reduced", "inserts", "reduced"
    L2 = "l2", "layer 2"
    L2_REDUCED = "l2-reduced", "layer 2", "reduced"
    NONE = "none", "plain"

    @property
    def on_the_wire(self) -> Mode:
        """The mode whose headers these are: carriers of uSIDs are written as a reduced list of SIDs is."""
        return Mode.REDUCED if self.compressed else self


WRITTEN_MODES: Final = tuple(mode for mode in Mode if mode.on_the_wire is mode)
"""The modes that differ on the wire, and none at all."""


def mode_names() -> tuple[str, ...]:
    """The modes that a scenario may name, in their order."""
    return tuple(mode.value for mode in Mode if mode.steers)
