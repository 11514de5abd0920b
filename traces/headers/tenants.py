"""Numbers what tells tenants apart on one wire: VLANs, and the identifiers of overlays, in the order of headers.

A tenant is a chain of parts such as (vlan 100, vlan 20) or (vxlan 5001); 0 is a packet without any. Readers of headers
note the parts that they pass, and the chain is looked up once for each packet. IEEE 802.1Q (whose VLAN 0 is a priority
alone) and 802.1ah, RFC 7348 (VXLAN), 8926 (Geneve), 2890 (GRE), 7637 (NVGRE), 9300 (LISP).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from segcast.traces.hashing import finalise
from segcast.traces.jit import kernel

Parts: TypeAlias = npt.NDArray[np.uint64]
"""The parts of one packet, uint64[MOST_PARTS + 1]: how many, then each as kind and number."""

VLAN: Final = 1
I_SID: Final = 2
VXLAN: Final = 3
GENEVE: Final = 4
GRE: Final = 5
NVGRE: Final = 6
LISP: Final = 7

KINDS: Final = ("", "vlan", "i-sid", "vxlan", "geneve", "gre", "nvgre", "lisp")
"""Names of the kinds, by number."""

MOST_PARTS: Final = 16
TENANT_BITS: Final = 22
MOST_TENANTS: Final = 1 << TENANT_BITS
"""Tenants that are told apart, with 0; chains that come later count as their beginning."""


class TenantTable(NamedTuple):
    """The tenants so far, c at most: `slots` uint32[2c] (number, 0 if empty), `chains` uint64[c, 2].

    A chain is that before its last part, by number, and that part. `control` int64[1]: how many, with 0.
    """

    slots: npt.NDArray[np.uint32]
    chains: npt.NDArray[np.uint64]
    control: npt.NDArray[np.int64]


@kernel
def note(parts: Parts, kind: int, number: int) -> None:
    """Note a part that a packet has; those beyond MOST_PARTS are not told apart."""
    count = np.int64(parts[0])
    if count < MOST_PARTS:
        parts[count + 1] = np.uint64(kind) << np.uint64(32) | np.uint64(number)
        parts[0] = np.uint64(count + 1)


@kernel
def number_of(table: TenantTable, before: int, parts: Parts) -> int:
    """The number of the chain `before` with the noted `parts`, which are then forgotten.

    The table has room for them, or holds MOST_TENANTS.
    """
    mask = np.uint64(table.slots.size - 1)
    tenant = np.uint64(before)
    for k in range(np.int64(parts[0])):
        part = parts[k + 1]
        slot = finalise(part ^ finalise(tenant)) & mask
        while True:
            found = np.uint64(table.slots[slot])
            if found == 0:
                if table.control[0] < table.chains.shape[0]:
                    found = np.uint64(table.control[0])
                    table.control[0] += 1
                    table.slots[slot] = found
                    table.chains[found, 0], table.chains[found, 1] = tenant, part
                else:
                    found = tenant
                break
            if table.chains[found, 0] == tenant and table.chains[found, 1] == part:
                break
            slot = (slot + np.uint64(1)) & mask
        tenant = found
    parts[0] = 0
    return np.int64(tenant)  # type: ignore[return-value]


@kernel
def _fill(table: TenantTable) -> None:
    """Fill the empty slots of a table."""
    mask = np.uint64(table.slots.size - 1)
    for tenant in range(1, table.control[0]):
        slot = finalise(table.chains[tenant, 1] ^ finalise(table.chains[tenant, 0])) & mask
        while table.slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table.slots[slot] = tenant


class Tenants:
    """The tenants of a trace so far."""

    def __init__(self) -> None:
        """None but 0."""
        self.table = TenantTable(np.zeros(2, np.uint32), np.zeros((1, 2), np.uint64), np.ones(1, np.int64))

    def __len__(self) -> int:
        """How many, with 0."""
        return int(self.table.control[0])

    def with_room(self, packets: int) -> TenantTable:
        """The table, in which so many packets find room for what they may bring."""
        needed = min(len(self) + packets * MOST_PARTS, MOST_TENANTS)
        room = len(self.table.chains)
        if room < needed:
            while room < needed:
                room *= 2
            chains = np.zeros((room, 2), np.uint64)
            chains[: len(self)] = self.table.chains[: len(self)]
            self.table = TenantTable(np.zeros(2 * room, np.uint32), chains, self.table.control)
            if len(self) > 1:
                _fill(self.table)
        return self.table

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later packets depend on, by name; `restore` goes on from there."""
        return {"chains": self.table.chains[: len(self)]}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state`."""
        chains = state["chains"]
        room = 1 << (len(chains) - 1).bit_length()
        held = np.zeros((room, 2), np.uint64)
        held[: len(chains)] = chains
        self.table = TenantTable(np.zeros(2 * room, np.uint32), held, np.array([len(chains)], np.int64))
        _fill(self.table)

    def names(self) -> list[str | None]:
        """What each is called, such as "vlan 100, vlan 20"; None for 0."""
        names: list[str | None] = [None]
        for before, part in self.table.chains[1 : len(self)].tolist():
            own = f"{KINDS[part >> 32]} {part & 0xFFFFFFFF}"
            names.append(f"{names[before]}, {own}" if before else own)
        return names
