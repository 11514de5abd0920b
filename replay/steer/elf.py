"""What a compiled BPF object holds: its maps, and its programs with the places where they name maps."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from segcast.traces.errors import InputError

_HEADER: Final = "16sHHIQQQIHHHHHH"
_SECTION: Final = "IIQQQQIIQQ"
_SYMBOL: Final = "IBBHQQ"
_RELOCATION: Final = "QQ"
_MAP: Final = "5I"
_MAPS, _PROGRAMS, _LICENSE = "maps", "tc/", "license"
_SYMBOLS, _RELOCATIONS = 2, 9
_BPF_MACHINE: Final = 247
_MAP_BY_FD: Final = 1


class MapSpec(NamedTuple):
    """A map as the source declares it; no entries: the loader says how many."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """Instructions of 8 bytes each; `maps`: the number of an instruction, and the name of the map that it loads."""

    name: str
    instructions: bytes
    maps: tuple[tuple[int, str], ...]

    def bound(self, handles: dict[str, int], byte_order: str) -> bytes:
        """The instructions with file descriptors of maps in them."""
        made = bytearray(self.instructions)
        for number, name in self.maps:
            at = 8 * number
            registers = made[at + 1]
            # The source register says what the number is: four bits, the high ones on little-endian machines.
            made[at + 1] = (
                registers & 0x0F | _MAP_BY_FD << 4 if byte_order == "little" else registers & 0xF0 | _MAP_BY_FD
            )
            made[at + 4 : at + 8] = handles[name].to_bytes(4, byte_order)  # type: ignore[arg-type]
        return bytes(made)


class BpfObject(NamedTuple):
    """A compiled object."""

    maps: dict[str, MapSpec]
    programs: dict[str, ProgramSpec]
    license: bytes
    byte_order: str


class _Section(NamedTuple):
    name: str
    kind: int
    data: bytes
    link: int
    info: int


def read_object(raw: bytes, what: str = "the BPF object") -> BpfObject:
    """The maps and programs of an object file. Raises InputError if it is none."""
    try:
        return _read(raw)
    except (struct.error, ValueError, IndexError, KeyError, StopIteration) as error:
        raise InputError(f"{what}: is damaged, or no object of BPF ({error}); install Segcast anew") from None


def _read(raw: bytes) -> BpfObject:
    if raw[:5] != b"\x7fELF\x02":
        raise ValueError("no 64-bit ELF file")
    order = "<" if raw[5] == 1 else ">"
    _, _, machine, _, _, _, at, _, _, _, _, size, count, names = struct.unpack_from(order + _HEADER, raw)
    if machine != _BPF_MACHINE:
        raise ValueError(f"machine {machine}")
    rows = [struct.unpack_from(order + _SECTION, raw, at + size * number) for number in range(count)]
    texts = raw[rows[names][4] : rows[names][4] + rows[names][5]]
    sections = [_Section(_text(texts, row[0]), row[1], raw[row[4] : row[4] + row[5]], row[6], row[7]) for row in rows]
    symbols = _symbols(sections, order)
    maps_at = next(number for number, section in enumerate(sections) if section.name == _MAPS)
    maps = {
        name: MapSpec(name, *struct.unpack_from(order + _MAP, sections[maps_at].data, value))
        for name, section, value in symbols
        if section == maps_at and name
    }
    programs: dict[str, ProgramSpec] = {}
    for number, section in enumerate(sections):
        if not section.name.startswith(_PROGRAMS):
            continue
        found = []
        for other in sections:
            if other.kind == _RELOCATIONS and other.info == number:
                for place, info in struct.iter_unpack(order + _RELOCATION, other.data):
                    name = symbols[info >> 32][0]
                    found.append((place // 8, maps[name].name))
        name = section.name.removeprefix(_PROGRAMS)
        programs[name] = ProgramSpec(name, section.data, tuple(found))
    license_text = next(section.data for section in sections if section.name == _LICENSE)
    return BpfObject(maps, programs, license_text, "little" if order == "<" else "big")


def _symbols(sections: list[_Section], order: str) -> list[tuple[str, int, int]]:
    """Name, section and value of each symbol."""
    table = next(section for section in sections if section.kind == _SYMBOLS)
    texts = sections[table.link].data
    return [
        (_text(texts, name), section, value)
        for name, _, _, section, value, _ in struct.iter_unpack(order + _SYMBOL, table.data)
    ]


def _text(texts: bytes, at: int) -> str:
    return texts[at : texts.index(b"\0", at)].decode()
