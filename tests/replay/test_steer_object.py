"""The compiled program that is shipped: it is its source's, its tables are those that Python knows, damage is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segcast.replay.steer.elf import BpfObject, read_object
from segcast.replay.steer.layout import RECORDS, Flag, Granularity, PolicyCode
from segcast.replay.steer.program import SOURCES, Program, Room, compiled, digest
from segcast.traces.errors import InputError
from tests.support.steering import needs_bpf

CLANG = "clang-14"  # of Debian 12: another one makes other instructions
SHIPPED = {"little": SOURCES / "steer.bpfel.o", "big": SOURCES / "steer.bpfeb.o"}
ENTRIES = {"egress", "decide", "ingress", "acknowledge", "sweep"}


def shipped(order: str) -> BpfObject:
    return read_object(SHIPPED[order].read_bytes())


@pytest.mark.skipif(shutil.which(CLANG) is None, reason=f"{CLANG} is not installed")
@pytest.mark.parametrize("order", SHIPPED)
def test_the_source_makes_the_instructions_that_are_shipped(order: str, tmp_path: Path) -> None:
    for file in SOURCES.iterdir():
        if file.suffix in (".c", ".h") or file.name == "Makefile":
            shutil.copy(file, tmp_path)
    made = SHIPPED[order].name
    subprocess.run(["make", "--quiet", f"CLANG={CLANG}", made], cwd=tmp_path, check=True, capture_output=True)
    assert read_object((tmp_path / made).read_bytes()) == shipped(order)


@pytest.mark.parametrize("order", SHIPPED)
def test_both_byte_orders_have_all_entries_and_the_maps_of_one_layout(order: str) -> None:
    found = shipped(order)
    assert set(found.programs) == ENTRIES
    assert found.byte_order == order
    assert found.license.rstrip(b"\0") == b"Apache-2.0"
    for name, record in RECORDS.items():
        assert found.maps[name].value_bytes == record.itemsize, name
    assert found.maps == shipped(sys.byteorder).maps


def fields(text: str, record: str) -> list[tuple[str, str, int]]:
    """Fields of a struct of the source: type, name, how many."""
    body = re.search(rf"struct {record} {{(.*?)\n}};", text, re.DOTALL)
    assert body is not None, record
    lines = re.findall(r"^\t(?:struct )?(\w+) (\w+)(?:\[(\w+)\])?;", body[1], re.MULTILINE)
    return [(kind, name, int(count) if count else 1) for kind, name, count in lines]


def test_python_and_the_source_declare_the_same_records() -> None:
    text = (SOURCES / "layout.h").read_text()
    kinds = {"__u64": "u8", "__s64": "i8", "__u32": "u4", "__u8": "u1"}
    names = {"settings": "config", "states": "state", "outstandings": "outstanding", "records": "record"}
    for name, dtype in RECORDS.items():
        declared = fields(text, names.get(name, name.removesuffix("s")))
        assert dtype.names == tuple(field for _, field, _ in declared)
        for kind, field, count in declared:
            of = dtype[field]
            if kind == "tally":
                assert of.names == tuple(inner for _, inner, _ in fields(text, "tally"))
                continue
            assert of.base == np.dtype(kinds[kind]), field
            assert of.shape == ((count,) if count > 1 else ()), field
    for codes in (PolicyCode, Granularity, Flag):
        for member in codes:
            place = re.search(rf"\b(?:PER_)?{member.name}\b( = (\d+))?", text)
            assert place is not None, member
            assert place[2] is None or int(place[2]) == member, member
    assert re.search(r"enum { " + ", ".join(code.name for code in PolicyCode) + " }", text)


def test_its_digest_is_of_the_file() -> None:
    done = subprocess.run(["sha256sum", SHIPPED[sys.byteorder]], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == digest()


@pytest.mark.parametrize("damage", ["empty", "text", "short", "another machine", "no maps"])
def test_a_damaged_object_is_told_in_one_line(damage: str) -> None:
    whole = SHIPPED["little"].read_bytes()
    raw = {
        "empty": b"",
        "text": b"hello" * 100,
        "short": whole[: len(whole) // 2],
        "another machine": whole[:18] + b"\x3e\x00" + whole[20:],
        "no maps": whole.replace(b"maps\0", b"nope\0"),
    }[damage]
    with pytest.raises(InputError, match=r"^the BPF object: is damaged, or no object of BPF \(.*\); install Segcast"):
        read_object(raw)


def test_map_handles_stand_where_each_machine_looks_for_them() -> None:
    for order in SHIPPED:
        program = shipped(order).programs["sweep"]
        number, name = program.maps[0]
        bound = program.bound({name: 7 for _, name in program.maps}, order)
        assert bound[8 * number] == 0x18
        assert bound[8 * number + 1] == 0x11  # register 1, and a handle of a map
        assert int.from_bytes(bound[8 * number + 4 : 8 * number + 8], order) == 7  # type: ignore[arg-type]
        assert name == "settings"


def test_rooms_are_powers_of_two() -> None:
    with pytest.raises(InputError, match="powers of two"):
        Program(Room(1, 1, 1, flows=100))


@needs_bpf
def test_what_is_loaded_is_in_memory_at_once_and_given_back() -> None:
    with Program(Room(4, 4, 4, flows=64, outstanding=64, records=64)) as program:
        assert set(program.tables) == set(RECORDS)
        assert len(program.tables["flows"]) == 64
        assert set(program.entries) == set(compiled().programs)
        program.direct("sources", "10.0.0.0/8", 1)
        program.direct("targets", "fd00::/16", 2)
        program.sweep()
        handles = [*program.maps.values(), *program.entries.values()]
    assert program.tables == {}
    for handle in handles:
        assert not Path(f"/proc/self/fd/{handle}").exists()
