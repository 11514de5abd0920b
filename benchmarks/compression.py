"""Ingest of compressed captures beside the decompressors alone and the ingest of the same bytes uncompressed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.measuring import run

MOST_SLOW_BYTES: Final = 400_000_000  # of captures for compressors that take minutes


class Format(NamedTuple):
    """A compression: how files are made and how its own tool reads them; the first tool that is there is taken."""

    name: str
    makers: tuple[tuple[str, ...], ...]
    reader: tuple[str, ...]
    slow: bool


FORMATS: Final = (
    Format("gzip -1", (("pigz", "-1"), ("gzip", "-1")), ("gzip", "-dc"), False),
    Format("zstd -3", (("zstd", "-q", "-3", "-T0"),), ("zstd", "-q", "-dc"), False),
    Format("lz4 -1", (("lz4", "-q", "-1"),), ("lz4", "-q", "-dc"), False),
    Format("xz -1", (("xz", "-1", "-T0"),), ("xz", "-dc"), True),
    Format("bzip2 -1", (("pbzip2", "-1"), ("bzip2", "-1")), ("bzip2", "-dc"), True),
)


def table(kind: str, capture: Path, warm: Path, folder: Path) -> list[dict[str, Any]]:
    """A row for each compression of a capture: sizes, and seconds of each reader, None where one does not know it."""
    size = capture.stat().st_size
    (plain,) = _ingests(warm, folder, [capture])
    rows: list[dict[str, Any]] = []
    for form in FORMATS:
        row: dict[str, Any] = {"capture": kind, "compression": form.name, "bytes": size, "plain_ingest_s": plain}
        rows.append(row)
        maker = next((maker for maker in form.makers if shutil.which(maker[0])), None)
        if maker is None or not shutil.which(form.reader[0]):
            row["missing"] = f"{form.reader[0]} is not installed"
            continue
        if form.slow and size > MOST_SLOW_BYTES:
            row["missing"] = "left out: making it takes minutes"
            continue
        packed = folder / f"packed.{form.reader[0]}"
        try:
            with packed.open("wb") as file:
                subprocess.run([*maker, "-c", str(capture)], stdout=file, check=True)
            row["packed_bytes"] = packed.stat().st_size
            row["tool_s"] = run([*form.reader, packed], discard=True).seconds
            (row["unpack_s"],) = _worker("unpack", warm, packed)
            if row["unpack_s"] is None:
                row["missing"] = "Segcast does not read it"
            else:
                (row["ingest_s"],) = _ingests(warm, folder, [packed])
        finally:
            packed.unlink(missing_ok=True)
    return rows


def _ingests(warm: Path, folder: Path, captures: list[Path]) -> list[float]:
    seconds: list[float] = _worker("again", warm, "2", folder / "t", *captures)
    return seconds


def _worker(*arguments: str | Path) -> Any:
    return json.loads(run([sys.executable, "-m", "benchmarks.worker", *arguments]).out)
