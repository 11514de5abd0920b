"""Whole captures in every mode, the bundled one and others at hand, read again by tshark and by the twin decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pytest

from segcast.analyzer.network.srv6_modes import WRITTEN_MODES, Mode
from segcast.analyzer.schema import PACKET_FATES
from segcast.analyzer.traffic.prepare import steering_hosts
from segcast.replay.rewrite.interfaces import by_interface
from segcast.replay.rewrite.run import Hosts, rewrite_schedule
from segcast.replay.srv6.templates import Key
from segcast.traces.errors import SegcastError
from segcast.traces.ingest.run import ingest
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.support.rewriting import DESTINATION_MAC, SOURCE_MAC, encapsulation
from tests.support.tshark import CHECKSUMS, tshark
from tests.twins.srv6 import BadPacketError, check_packet, parse_frame, read_pcap

SHARED = Path(__file__).parents[3] / "shared" / "captures"
PATHS = 4


class Prepared(NamedTuple):
    """A trace, and each packet of it sent when and as it was captured, on paths in turn."""

    trace: Trace
    schedule: pa.Table


def prepared(captures: list[Path], folder: Path) -> Prepared:
    trace = ingest(list(map(str, captures)), folder / "all.trace", keep_going=True)
    packets = trace.packets.select("file", "frame_number", "flow_id", pl.col("time_ns").alias("send_ns"))
    columns = packets.filter(pl.col("flow_id").is_not_null(), pl.col("send_ns") >= 0).collect()
    others = {name: 0 for name in PACKET_FATES.names() if name not in columns.columns}
    columns = columns.with_columns(**{name: pl.lit(value) for name, value in others.items()})
    columns = columns.with_columns(path_id=pl.int_range(len(columns)) % PATHS)
    return Prepared(trace, columns.to_arrow())


@pytest.fixture(scope="module", params=["bundled", "shared"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("captures")
    if request.param == "bundled":
        yield prepared([CLUSTER], folder)
        return
    readable = []
    for capture in sorted(path for path in SHARED.rglob("*") if path.is_file()) if SHARED.is_dir() else []:
        try:
            ingest([str(capture)], folder / "one.trace", keep_going=True)
        except SegcastError:
            continue
        readable.append(capture)
    if not readable:
        pytest.skip("there are no other captures")
    yield prepared(readable, folder)


@pytest.mark.parametrize("mode", WRITTEN_MODES)
def test_two_decoders_find_no_fault(
    everything: Prepared, only_transports: dict[str, str], tmp_path: Path, mode: Mode
) -> None:
    flows = everything.trace.flow_table()
    names, of_flow = steering_hosts(flows, ())
    key = Key(42, b"secret") if mode in ("encaps", "insert") else None
    around = encapsulation(mode, range(1, PATHS + 1), hosts=len(names), key=key, tag=7 if mode == "l2" else 0)
    (tmp_path / "i.toml").write_text('[interfaces.all]\nprefixes = ["0.0.0.0/0", "::/0"]\n')
    done = rewrite_schedule(
        everything.schedule,
        flows,
        [source.path for source in everything.trace.sources],
        around,
        Hosts(names, of_flow),
        tmp_path / "out",
        layer=everything.trace.layer,
        resumed=everything.trace.resumed_files,
        outputs=by_interface(tmp_path / "i.toml", names, SOURCE_MAC, DESTINATION_MAC),
    )
    (file,) = done.files
    assert done.packets + sum(done.skipped.values()) == everything.schedule.num_rows
    odd = set()
    records = read_pcap(Path(file.path))
    assert len(records) == done.packets
    for number, record in enumerate(records, 1):
        signer = None if key is None else (key.number, key.secret, key.flag)
        frame = parse_frame(record.frame, mode, tag=around.tag, key=signer)
        try:
            check_packet(frame.inner)
        except (BadPacketError, IndexError):
            odd.add(number)
    # What contradicts itself in the capture still does.
    assert len(odd) <= done.mended["malformed"] + done.mended["checksum_unsure"]
    bad = " || ".join(["_ws.malformed", *(f"{name}.checksum.status == 0" for name in CHECKSUMS)])
    path = Path(file.path)
    found = {int(line) for line in tshark(only_transports, path, "-Y", bad, "-T", "fields", "-e", "frame.number")}
    assert found <= odd, sorted(found - odd)[:10]
