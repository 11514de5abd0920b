"""How fast captures become tables, beside other programs that read them: `python -m benchmarks.ingest [--quick]`.

Captures are made in a temporary folder (see `synthesis`), read from the page cache, and everything is measured in one
run. Cold is a first ingest with an empty kernel cache, warm one of a fresh process, steady one of a process that has
done another: each from the file to Parquet on disk. Slow programs read a slice. `of steady` compares packets/s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import compression, streaming, synthesis
from benchmarks.measuring import FailedError, Ran, best_seconds, run
from benchmarks.peers import Peer, peers, read_plainly

SLICE_PACKETS: Final = 200_000
QUICK_PACKETS: Final = 20_000
STAGES: Final = {
    "frame": "framing alone, one core",
    "decode": "decoding alone, one core",
    "flows": "flows and TCP marks alone, one core",
    "findings": "findings alone, one core",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=5_000_000, help="of the header-only capture")
    parser.add_argument("--frame-bytes", type=int, default=3 * 10**9, help="size of the capture of whole frames")
    parser.add_argument(
        "--stream", type=float, nargs="?", const=10.0, metavar="GB", help="also captures through standard input (10 GB)"
    )
    parser.add_argument("--no-compression", action="store_true", help="leave compressed captures out")
    parser.add_argument("--pcapplusplus", metavar="PATH", help="a program that decodes a capture with PcapPlusPlus")
    parser.add_argument("--nfstream", metavar="PYTHON", default=sys.executable, help="an interpreter that has nfstream")
    parser.add_argument("--quick", action="store_true", help="tiny captures and no cold start: only that it works")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    return parser.parse_args(arguments)


def decoders(capture: Path, part: Path, packets: int, others: list[Peer], cold: bool) -> list[dict[str, Any]]:
    """Rows of one capture; `part` is its beginning, `SLICE_PACKETS` long at most."""
    rows: list[dict[str, Any]] = []
    folder = capture.parent
    size = capture.stat().st_size

    def add(what: str, seconds: float, peak_bytes: int | None = None, sliced: bool = False) -> None:
        count, length = (min(SLICE_PACKETS, packets), part.stat().st_size) if sliced else (packets, size)
        row = {"what": what, "packets_per_s": count / seconds, "bytes_per_s": length / seconds}
        rows.append({**row, "peak_bytes": peak_bytes, "slice": sliced and count < packets})

    def worker(*arguments: str | Path) -> Ran:
        return run([sys.executable, "-m", "benchmarks.worker", *arguments])

    def command_line(cache: Path | None = None) -> Ran:
        environment = {"NUMBA_CACHE_DIR": str(cache)} if cache else None
        return run([sys.executable, "-m", "segcast", "ingest", capture, "--out", folder / "t"], environment)

    if cold:
        ran = command_line(folder / "kernels")
        add("ingest, cold", ran.seconds, ran.peak_bytes)
    again = worker("again", part, "5", folder / "t", capture)  # first, so that the kernels are cached
    ran = command_line()
    add("ingest, warm", ran.seconds, ran.peak_bytes)
    add("ingest, steady", json.loads(again.out)[0], again.peak_bytes)
    spent = json.loads(worker("stages", part, capture).out)
    add("framing, decoding, one core", spent["frame"] + spent["decode"])
    add("  + flows and TCP marks", spent["frame"] + spent["decode"] + spent["flows"])
    for stage, label in STAGES.items():
        add(f"  {label}", spent[stage])
    for stage in ("read, frame, decode", "read, frame", "read, digest, frame"):
        add(f"{stage}, two threads", spent[stage])
    for peer in others:
        command = peer.command(part if peer.slow else capture, folder)
        if command is None:
            rows.append({"what": peer.name, "missing": peer.absent})
            continue
        try:
            ran = run(command, discard=True)
        except FailedError as error:
            rows.append({"what": peer.name, "missing": f"failed: {error}"})
            continue
        add(peer.name, ran.seconds, ran.peak_bytes, peer.slow)
    add("plain read of the bytes", best_seconds(lambda: read_plainly(capture)))
    return rows


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All tables, each printed as soon as it is there unless JSON is asked for."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "captures": [], "compression": []}
    others = peers(arguments.pcapplusplus, arguments.nfstream)
    sizes: dict[str, dict[str, int]] = {
        "headers": {"packets": arguments.packets},
        "frames": {"size": arguments.frame_bytes},
    }
    if arguments.quick:
        sizes = {kind: {"packets": QUICK_PACKETS} for kind in sizes}
    with tempfile.TemporaryDirectory(prefix="segcast-bench-") as name:
        folder = Path(name)
        capture, part = folder / "c.pcap", folder / "slice.pcap"
        for kind, mix in synthesis.MIXES.items():
            packets = synthesis.write(capture, mix, **sizes[kind])
            synthesis.write(part, mix, packets=min(SLICE_PACKETS, packets))
            read_plainly(capture)
            rows = decoders(capture, part, packets, others, cold=not arguments.quick and kind == "headers")
            about = {"kind": kind, "packets": packets, "bytes": capture.stat().st_size, "rows": rows}
            found["captures"].append(about)
            if not arguments.json:
                show_decoders(about)
            if not arguments.no_compression:
                packed = compression.table(kind, capture, part, folder)
                found["compression"] += packed
                if not arguments.json:
                    show_compression(packed)
            capture.unlink()
        if arguments.stream:
            found["stream"] = streaming.table(int(arguments.stream * 1e9), folder)
            if not arguments.json:
                show_streams(found["stream"])
    return found


def show_decoders(about: dict[str, Any]) -> None:
    """Print the table of one capture."""
    headline = f"{about['kind']}: {about['packets']:,} packets, {about['bytes']:,} bytes, {os.cpu_count()} cores"
    print(f"\n{headline}", flush=True)
    print(f"{'':42}{'M packets/s':>12}{'GB/s':>8}{'of steady':>11}{'peak MB':>9}")
    (steady,) = (row["packets_per_s"] for row in about["rows"] if row["what"] == "ingest, steady")
    for row in about["rows"]:
        if "missing" in row:
            print(f"{row['what']:42}{row['missing']:>12}")
            continue
        rate = row["packets_per_s"]
        label = row["what"] + (" (slice)" if row["slice"] else "")
        print(f"{label:42}{rate / 1e6:12.3f}{row['bytes_per_s'] / 1e9:8.2f}{rate / steady:11.3f}{_mb(row):>9}")


def show_compression(rows: list[dict[str, Any]]) -> None:
    """Print the table of compressed captures."""
    print(f"\n{'seconds':22}{'MB':>8}{'packed':>8}{'ingest':>9}{'ours':>9}{'tool':>9}{'unpacked ingest':>17}")
    for row in rows:
        label = f"{row['capture']}, {row['compression']}"
        numbers = [row.get(name) for name in ("ingest_s", "unpack_s", "tool_s", "plain_ingest_s")]
        cells = ["" if number is None else f"{number:.2f}" for number in numbers]
        sizes = f"{row['bytes'] / 1e6:8.0f}{row.get('packed_bytes', 0) / 1e6:8.0f}"
        print(f"{label:22}{sizes}{cells[0]:>9}{cells[1]:>9}{cells[2]:>9}{cells[3]:>17}  {row.get('missing', '')}")


def show_streams(rows: list[dict[str, Any]]) -> None:
    """Print the table of streams."""
    head = f"{'stdin':10}{'GB':>8}{'M packets':>11}{'seconds':>9}{'M packets/s':>13}{'peak MB':>9}"
    print(f"\n{head}{'pipe alone, s':>15}")
    for row in rows:
        rate = row["packets"] / row["seconds"] / 1e6
        pipe = f"{row['pipe_s']:.1f}" if "pipe_s" in row else ""
        sizes = f"{row['bytes'] / 1e9:8.2f}{row['packets'] / 1e6:11.1f}{row['seconds']:9.1f}"
        print(f"{row['capture']:10}{sizes}{rate:13.2f}{_mb(row):>9}{pipe:>15}")


def _mb(row: dict[str, Any]) -> str:
    return f"{row['peak_bytes'] / 1e6:.0f}" if row["peak_bytes"] else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parsed = parse(arguments)
    found = measure(parsed)
    if parsed.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
