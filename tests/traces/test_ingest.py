"""From captures to tables: rows, flows and round trips against naive twins; what is kept, refused and reported."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import platformdirs
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segcast.traces.captures import reader as capture
from segcast.traces.errors import Damage, DamagedCapture, InputError
from segcast.traces.flows.assign import Flows
from segcast.traces.headers.decode import allocate
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS
from segcast.traces.ingest import intake, packets
from segcast.traces.ingest import run as store
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.trace import Trace, load
from tests.support.ingesting import (
    assert_like_twin,
    conversations,
    in_range,
    mixture,
    rows_of,
    twin_flows,
)
from tests.support.strategies import Seeded, make_capture
from tests.twins import writing
from tests.twins.captures import read_all
from tests.twins.writing import Captured


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups, parts and batches so small that a few hundred packets take several."""
    monkeypatch.setattr(packets, "GROUP_ROWS", 100)
    monkeypatch.setattr(packets, "PART_ROWS", 250)
    reader = capture.CaptureReader
    monkeypatch.setattr(store, "read_frames", lambda path, *_, **__: reader(path, 3000, 37, True))


def write(folder: Path, *captures: bytes) -> list[Path]:
    paths = [folder / f"{number}.pcap" for number in range(len(captures))]
    for path, data in zip(paths, captures, strict=True):
        path.write_bytes(data)
    return paths


def test_tables_are_those_of_the_twin(tmp_path: Path) -> None:
    for seed in range(25):
        data = make_capture(Seeded(seed))
        if in_range(data):
            assert_like_twin(ingest(write(tmp_path, data), tmp_path / "t.trace"), [data])


def test_the_inner_layer_is_that_of_the_twin(tmp_path: Path) -> None:
    for seed in range(10):
        captures = [data for data in (make_capture(Seeded(seed)), mixture(100 + seed)) if in_range(data)]
        assert_like_twin(ingest(write(tmp_path, *captures), tmp_path / "t.trace", layer="inner"), captures)


def test_several_captures_are_merged_by_time(tmp_path: Path) -> None:
    captures = [
        data
        for data in (conversations(1), mixture(2), writing.pcap([], 1), conversations(3, port=2000))
        if in_range(data)
    ]
    trace = ingest(write(tmp_path, *captures), tmp_path / "t.trace")
    assert_like_twin(trace, captures)
    assert [source.packets for source in trace.sources] == [len(rows_of(data)) for data in captures]


def test_batches_row_groups_and_parts_leave_no_mark(tmp_path: Path, small: None) -> None:
    captures = [conversations(4, 700), mixture(5)]
    trace = ingest(write(tmp_path, *captures), tmp_path / "t.trace")
    assert len(trace.part_paths) > 2
    assert_like_twin(trace, captures)
    batches = list(trace.packet_batches(["time_ns", "flow_id"], rows=64))
    assert max(batch.num_rows for batch in batches) <= 64
    assert pa.Table.from_batches(batches).equals(trace.packet_table(["time_ns", "flow_id"]))
    assert trace.packets.collect().to_dicts() == trace.packet_table().to_pylist()


@pytest.mark.parametrize("seed", range(8))
def test_round_trips_are_those_of_the_twin(tmp_path: Path, seed: int) -> None:
    data = conversations(seed, 1500)
    trace = ingest(write(tmp_path, data), tmp_path / "t.trace")
    assert trace.flow_table().to_pylist() == twin_flows(rows_of(data))
    assert trace.flows["rtt_median_ns"].null_count() < len(trace.flows)


def test_a_handshake_and_a_retransmission_by_hand() -> None:
    flows = Flows()
    steps = [  # time, from the client, seq, ack, flags, payload
        (0, True, 100, 0, 0x02, 0),
        (30, False, 500, 101, 0x12, 0),  # 30 for the client
        (35, True, 101, 501, 0x10, 0),  # 5 for the server
        (40, True, 101, 501, 0x18, 10),
        (50, True, 101, 501, 0x18, 10),  # again: Karn
        (90, False, 501, 111, 0x10, 0),
        (100, True, 111, 501, 0x18, 10),
        (102, True, 121, 501, 0x18, 10),  # one at a time
        (170, False, 501, 131, 0x10, 0),  # 70 for the client
    ]
    headers = allocate(len(steps))
    headers.valid.fill(0x1F & ~16)
    headers.version.fill(4)
    headers.protocol.fill(6)
    times = np.array([step[0] for step in steps], np.int64)
    for i, (_, client, seq, ack, flags, payload) in enumerate(steps):
        headers.src_low[i], headers.dst_low[i] = (1, 2) if client else (2, 1)
        headers.src_port[i], headers.dst_port[i] = (9, 80) if client else (80, 9)
        headers.tcp_seq[i], headers.tcp_ack[i], headers.tcp_flags[i] = seq, ack, flags
        headers.payload_bytes[i] = payload
    ids = np.empty(len(steps), np.uint32)
    flows.add(headers, times, np.ones(len(steps), np.uint32), ids)
    assert ids.tolist() == [0 if step[1] else 1 for step in steps]
    assert [column.tolist() for column in flows.round_trips()] == [[0, 1], [30, 5], [50, 5]]


def test_flow_table_grows_and_keeps_every_flow() -> None:
    rng = np.random.default_rng(1)
    rows = 60_000
    headers = allocate(rows)
    headers.valid.fill(HAS_IP | HAS_PORTS)
    headers.version[:] = rng.choice([4, 6], rows)
    headers.src_low[:] = rng.integers(0, 200, rows) << 32  # a low half without entropy
    headers.dst_high[:] = np.where(headers.version == 6, rng.integers(0, 3, rows), 0)
    headers.dst_port[:] = rng.integers(0, 100, rows)
    flows = Flows(seed=0)
    ids = np.empty(rows, np.uint32)
    times = rng.integers(0, 10**9, rows)
    wire = rng.integers(60, 1500, rows).astype(np.uint32)
    for begin in range(0, rows, 7001):
        part = slice(begin, begin + 7001)
        flows.add(type(headers)._make(column[part] for column in headers), times[part], wire[part], ids[part])
    seen: dict[tuple[int, ...], int] = {}
    columns = (headers.version, headers.src_low, headers.dst_high, headers.dst_port)
    wanted = [seen.setdefault(key, len(seen)) for key in zip(*(c.tolist() for c in columns), strict=True)]
    assert ids.tolist() == wanted
    assert len(flows) == len(seen) > 20_000
    stats = flows.table.stats[: len(flows)]
    assert stats["packets"].tolist() == np.bincount(ids).tolist()
    assert stats["bytes"].tolist() == np.bincount(ids, weights=wire).astype(int).tolist()


def test_ids_do_not_depend_on_the_seed(tmp_path: Path) -> None:
    paths = write(tmp_path, conversations(6), mixture(7))
    one, two = (ingest(paths, tmp_path / name) for name in ("1.trace", "2.trace"))
    assert one.packet_table().equals(two.packet_table())
    for name in ("trace.json", "flows.parquet", "packets/part-00000.parquet"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


# What is kept, refused and reported.


def test_what_is_noted(tmp_path: Path) -> None:
    data = mixture(8)
    trace = ingest(write(tmp_path, data), tmp_path / "t.trace")
    info = json.loads((trace.folder / "trace.json").read_text())
    rows = rows_of(data)
    without = sum(d.ip_bytes is None for _, d in rows)
    assert sum(info["skipped"].values()) == without > 0
    (source,) = trace.sources
    assert (source.path, source.bytes, source.packets) == (tmp_path / "0.pcap", len(data), len(rows))
    assert source.linktypes == {1: len(rows)}
    facts = describe(trace)
    json.dumps(facts)
    assert facts["packets"] == len(rows)
    assert facts["packets_without_ip"] == without
    assert facts["truncated_packets"] == sum(r.captured_bytes < r.wire_bytes for r, _ in rows)
    assert facts["duration_ns"] == (len(rows) - 1) * 1000
    assert facts["sources"][0]["clock_unit_seen_ns"] == 1000
    protocols = Counter(d.protocol for _, d in rows if d.ip_bytes is not None)
    assert {row["protocol"]: row["packets"] for row in facts["protocols"]} == protocols
    assert facts["one_sided_flows"] == sum(f["reverse_flow_id"] is None for f in twin_flows(rows))


def test_a_description_is_that_of_the_tables(cluster: Trace) -> None:
    """Grouped by another library."""
    facts, flows = describe(cluster), cluster.flows
    together = [pl.len().alias("flows"), pl.col("packets").sum(), pl.col("bytes").sum().alias("wire_bytes")]
    for place, key in (("protocols", "protocol"), ("ip_versions", "ip_version"), ("top_talkers", "src")):
        sums = flows.group_by(key).agg(together).sort(["wire_bytes", key], descending=[True, False])
        assert [{name: row[name] for name in sums.columns} for row in facts[place]] == sums.head(10).to_dicts()
    one_sided = flows.filter(pl.col("reverse_flow_id").is_null())
    assert facts["one_sided_flows"] == one_sided.height
    assert facts["one_sided_tcp_flows"] == one_sided.filter(pl.col("protocol") == 6).height
    assert facts["flows_with_rtt"] == flows["rtt_min_ns"].drop_nulls().len() > 0
    assert facts["rtt_min_ns"] == flows["rtt_min_ns"].min()
    for name, column in (("rtt_median_ns", "rtt_median_ns"), ("handshake_rtt_median_ns", "handshake_rtt_ns")):
        median = flows[column].median()
        assert facts[name] == (None if median is None else int(median))
    assert (facts["retransmissions"], facts["out_of_order"]) == tuple(
        flows[name].sum() for name in ("retransmissions", "out_of_order")
    )


def test_time_order_is_noted(tmp_path: Path) -> None:
    times = [5, 7, 6, 6, 9, 2]
    data = writing.pcap([Captured(10**12 + t * 10_000, 60, bytes(60)) for t in times], 1, nanoseconds=True)
    facts = describe(ingest(write(tmp_path, data), tmp_path / "t.trace"))
    assert (facts["time_steps_backwards"], facts["furthest_step_backwards_ns"]) == (2, 70_000)
    assert facts["sources"][0]["clock_unit_seen_ns"] == 10_000
    assert facts["duration_ns"] == 70_000


def test_an_empty_capture_makes_an_empty_trace(tmp_path: Path) -> None:
    trace = ingest(write(tmp_path, writing.pcap([], 1)), tmp_path / "t.trace")
    assert_like_twin(trace, [writing.pcap([], 1)])
    facts = describe(trace)
    assert (facts["packets"], facts["flows"], facts["duration_ns"]) == (0, 0, None)
    assert trace.packets.collect().height == trace.flows.height == 0


def test_a_damaged_capture_is_kept_up_to_the_damage(tmp_path: Path) -> None:
    whole = conversations(9)
    paths = write(tmp_path, whole[:-7], mixture(9))
    kept, offset = read_all(whole[:-7])
    with pytest.raises(DamagedCapture, match=r"0\.pcap: damaged at byte .* the 399 packets before it are in"):
        ingest(paths, tmp_path / "t.trace")
    trace = open_trace(tmp_path / "t.trace")
    assert trace.packet_count == len(kept) + 300
    assert trace.sources[0].damages == [Damage(offset, "the file ends inside a record")]
    assert describe(trace)["sources"][0]["damages"][0]["offset"] == offset
    assert ingest(paths, tmp_path / "t.trace", keep_going=True).packet_count == trace.packet_count


def test_traces_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    first, second = write(tmp_path, conversations(10), mixture(10))
    target = tmp_path / "t.trace"
    ingest([first], target)
    assert ingest([second], target).packet_count == 300
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("words")
    for out in (precious, first):
        with pytest.raises(InputError, match="exists and was not made by this command"):
            ingest([first], out)
    with pytest.raises(InputError, match="not a capture"):
        ingest([first, precious / "thesis"], target)
    assert load(target).packet_count == 300
    assert {path.name for path in tmp_path.iterdir()} == {"0.pcap", "1.pcap", "t.trace", "precious"}


def test_an_interrupted_ingest_leaves_nothing(tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    paths = write(tmp_path, conversations(11))
    with pytest.raises(KeyboardInterrupt):
        ingest(paths, tmp_path / "t.trace", progress=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"0.pcap"}


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = write(tmp_path, conversations(12), mixture(12))
    ingest(paths, tmp_path / "t.trace", progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in paths)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_wrong_usage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no capture given"):
        ingest([], tmp_path / "t.trace")
    with pytest.raises(InputError, match="stdin can be read once only"):
        ingest(["-", "-"], tmp_path / "t.trace")


def test_layers_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(tmp_path / "cache"))
    inside = writing.ipv4(writing.udp(7, 8), 17)
    frame = writing.ipv4(writing.vxlan(writing.ethernet(inside, 0x0800)), 17)
    (path,) = write(tmp_path, writing.pcap([Captured(10**15, len(frame), frame)], 101))
    ports = {layer: open_trace(path, layer=layer).flows["dst_port"].to_list() for layer in ("outer", "inner")}
    assert ports == {"outer": [4789], "inner": [8]}
    assert open_trace(path).layer == "outer"
    trace = ingest([path], tmp_path / "t.trace", layer="inner")
    assert describe(trace)["tunnels"] == {"vxlan": 1}
    assert open_trace(trace.folder).layer == open_trace(trace.folder, layer="inner").layer == "inner"
    with pytest.raises(InputError, match="holds the inner layer; ingest its captures again with --layer outer"):
        open_trace(trace.folder, layer="outer")
    with pytest.raises(InputError, match="layer middle: not known; use outer or inner"):
        ingest([path], tmp_path / "t.trace", layer="middle")


def test_link_types_that_are_not_read_are_counted_by_name(tmp_path: Path) -> None:
    captures = [writing.pcap([Captured(1, 9, bytes(9))] * n, link) for n, link in ((2, 253), (1, 195), (3, 150))]
    skipped = describe(ingest(write(tmp_path, *captures), tmp_path / "t.trace"))["skipped"]
    kind = "unsupported link type"
    assert skipped == {f"{kind}: user 3": 3, f"{kind}: netlink": 2, f"{kind}: 802.15.4": 1}


def test_folders_that_are_no_traces_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a trace \(it has no trace\.json\)"):
        open_trace(tmp_path)
    trace = ingest(write(tmp_path, mixture(13)), tmp_path / "t.trace")
    info = (trace.folder / "trace.json").read_text()
    (trace.folder / "trace.json").write_text(info.replace('"schema_version": 4', '"schema_version": 99'))
    with pytest.raises(InputError, match="schema version 99, but this Segcast reads 4"):
        open_trace(trace.folder)
    (trace.folder / "trace.json").write_text("{")
    with pytest.raises(InputError, match=r"trace\.json: unreadable"):
        open_trace(trace.folder)
    (trace.folder / "trace.json").write_text(info)
    with pytest.raises(InputError, match="speed: not a column of the packets table"):
        open_trace(trace.folder).packet_table(["speed"])
    trace.part_paths[0].unlink()
    with pytest.raises(InputError, match=r"part-00000\.parquet: missing from the trace"):
        open_trace(trace.folder)


def test_a_capture_is_ingested_on_the_way_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(cache))
    (path,) = write(tmp_path, conversations(14))
    first = open_trace(path)
    assert_like_twin(first, [path.read_bytes()])
    made = first.part_paths[0].stat().st_mtime_ns
    assert open_trace(path).part_paths[0].stat().st_mtime_ns == made
    path.write_bytes(mixture(14))
    assert open_trace(path).packet_count == 300
    path.write_bytes(mixture(14)[:-1])
    for _ in range(2):  # from the cache as well
        with pytest.raises(DamagedCapture):
            open_trace(path)
    with pytest.raises(InputError, match="no such file"):
        open_trace(tmp_path / "absent.pcap")


def test_a_pipe_is_ingested_on_the_way(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = conversations(17)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    assert_like_twin(open_trace(fifo), [data])
    writer.join()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packets.PacketWriter, "_write", full)
    with pytest.raises(InputError, match=r"t\.trace: cannot be written: .*No space left on device; make room"):
        ingest(write(tmp_path, conversations(18)), tmp_path / "t.trace")
    assert {path.name for path in tmp_path.iterdir()} == {"0.pcap"}


def test_what_a_thread_runs_into_ends_the_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(intake.Intake, "follow", no_room)
    with pytest.raises(MemoryError):
        ingest(write(tmp_path, conversations(18)), tmp_path / "t.trace")
    assert {path.name for path in tmp_path.iterdir()} == {"0.pcap"}


def test_parquet_is_as_meant(tmp_path: Path) -> None:
    trace = ingest(write(tmp_path, conversations(15)), tmp_path / "t.trace")
    group = pq.ParquetFile(trace.part_paths[0]).metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in encodings["time_ns"]
    assert not any("DICTIONARY" in name for names in encodings.values() for name in names)
