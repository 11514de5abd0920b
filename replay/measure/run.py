"""`segcast measure`: what became of the packets of a run, in the columns of a forecast's packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.forecast.network import network_of
from segcast.analyzer.forecast.reading import read_schedule, trace_of
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.network.model import Network
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import QUANTILES
from segcast.analyzer.traffic.prepare import flow_words
from segcast.replay.measure.document import (
    DOCUMENT,
    SCHEMA_VERSION,
    Clocks,
    MeasuredPackets,
    MeasuredPaths,
    MeasurementDocument,
)
from segcast.replay.measure.equal_packets import NONE
from segcast.replay.measure.identity import list_key
from segcast.replay.measure.kinds import lost_kinds, unplanned_words
from segcast.replay.measure.match import Matched, Planned, match_run
from segcast.replay.measure.run_folder import Run, forecast_of, marks_of, read_run, rewrite_of
from segcast.replay.schema import MEASURED
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.trace import Trace
from segcast.traces.version import VERSION

_SAME_NS: Final = 1_000
_BACK: Final = "-back"

Progress = Callable[[int, int], None]


def measure(
    run_folder: Path, out: Path, *, forecast: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure a run into the folder `out`; returns the content of measurement.json.

    `forecast`: the folder whose schedule was sent, if not the one that the run names. Raises InputError if the run
    folder, or the forecast, lacks something, or `out` is not a measurement.
    """
    run = read_run(run_folder)
    forecast = forecast or forecast_of(run_folder, run)
    trace = trace_of(forecast)
    scenario = read_scenario(forecast / "scenario.toml")
    rewrite = rewrite_of(run_folder, run)
    cell = run.cell or (rewrite.cell if rewrite is not None else "")
    schedule = read_schedule(forecast, cell)
    captures = [run_folder / name for s in run.senders for name in (s.planned, s.capture)]
    with new_folder(out, marker=DOCUMENT, inputs=[run_folder, forecast, *captures]) as folder:
        matched = match_run(run_folder, run, marks_of(scenario, rewrite), trace.layer, progress)
        joined = join(matched.packets, schedule, trace, 1.0 if rewrite is None else rewrite.speed)
        built = network_of(forecast, scenario)
        table, paths = measured_table(matched.packets, joined, schedule, scenario, run, built)
        pq.write_table(table, folder / "packets.parquet", compression="zstd")
        (folder / "scenario.toml").write_text(
            scenario.to_toml_with(scenario.sid_table(built), "forecast.json"), encoding="utf-8"
        )
        document = MeasurementDocument(
            segcast=VERSION,
            schema_version=SCHEMA_VERSION,
            run=str(run_folder.resolve()),
            forecast=str(forecast.resolve()),
            cell=cell,
            burst_bytes=run.burst_bytes,
            complete=run.complete,
            reason=run.reason,
            senders=[sender.host for sender in run.senders],
            receivers=[receiver.host for receiver in run.receivers],
            packets=MeasuredPackets.model_validate(
                {
                    **matched.counts,
                    "dropped": int(np.count_nonzero(table["dropped"].to_numpy())),
                    "not_in_forecast": int((joined == NONE).sum()),
                    "unplanned_kinds": matched.unplanned,
                    "failed": sum(sender.failed for sender in run.senders),
                    "dropped_by_captures": run.missed_by_captures,
                }
            ),
            paths=paths,
            identity_bytes=matched.identity_bytes,
            clocks=Clocks(reference=matched.reference, fits=list(matched.fits)),
            delay_ns=_delays(table),
            findings=[
                *_findings(run, matched, joined),
                *lost_kinds(table, trace.flows, matched.packets.said[rows_of(matched.packets, joined)]),
                *unseen(run, table, built.network, built.groups),
            ],
        )
        (folder / DOCUMENT).write_text(json_text(document), encoding="utf-8")
    return document.as_dict()


def join(packets: Planned, schedule: pa.Table, trace: Trace, speed: float = 1.0) -> NDArray[np.int64]:
    """The row of `schedule` that each planned packet is, int64[n], NONE if it is none.

    A planned flow is those of the trace of the same five-tuple; if its addresses were changed, those of the same
    protocol and ports, if these have one five-tuple. Packets of a flow keep their order, so they are joined one after
    the other; where some were left out, by their times, which `speed` compresses.
    """
    flows = trace.flow_table()
    found, first = _flows_of(packets.words, flows)
    flow_of = found[packets.flow]
    own = first[schedule["flow_id"].to_numpy().astype(np.int64)]
    send_ns = schedule["send_ns"].to_numpy()
    rows = np.full(len(flow_of), NONE, np.int64)
    if not len(own) or not len(flow_of):
        return rows
    ours = np.lexsort((packets.planned_ns, flow_of))
    theirs = np.argsort(own, kind="stable")
    mine = np.searchsorted(flow_of[ours], np.arange(flows.num_rows + 1))
    yours = np.searchsorted(own[theirs], np.arange(flows.num_rows + 1))
    first_ns = int(send_ns[0])
    for flow in np.unique(flow_of[flow_of != NONE]).tolist():
        a, b = ours[mine[flow] : mine[flow + 1]], theirs[yours[flow] : yours[flow + 1]]
        if len(a) == len(b):
            rows[a] = b
            continue
        wanted = first_ns + np.rint((send_ns[b] - first_ns) / speed).astype(np.int64)
        place = 0
        for row, time_ns in zip(a.tolist(), packets.planned_ns[a].tolist(), strict=True):
            while place < len(b) and wanted[place] < time_ns - _SAME_NS:
                place += 1
            if place < len(b) and wanted[place] <= time_ns + _SAME_NS:
                rows[row] = b[place]
                place += 1
    return rows


def _flows_of(words: NDArray[np.uint64], flows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The trace's flow of each planned one, NONE if it is none of them, and of each of the trace's the first alike.

    Of flows with one five-tuple, connections one after the other or of several tenants, the first stands for all.
    """
    table = pl.from_arrow(flows)
    assert isinstance(table, pl.DataFrame)
    known = flow_words(table)
    exact: dict[bytes, int] = {}
    first = np.array([exact.setdefault(row.tobytes(), number) for number, row in enumerate(known)], np.int64)
    by_ports: dict[int, int] = {}
    for number in exact.values():
        rest = int(known[number, 4])
        by_ports[rest] = NONE if rest in by_ports else number
    found = (exact.get(row.tobytes(), by_ports.get(int(row[4]), NONE)) for row in np.ascontiguousarray(words))
    return np.fromiter(found, np.int64, len(words)), first


def rows_of(packets: Planned, joined: NDArray[np.int64]) -> NDArray[np.int64]:
    """The packets that are in the forecast, int64[rows of MEASURED]: those of the table, in its order."""
    rows = np.flatnonzero(joined != NONE)
    return rows[np.argsort(packets.planned_ns[rows], kind="stable")]


def measured_table(
    packets: Planned,
    joined: NDArray[np.int64],
    schedule: pa.Table,
    scenario: ValidScenario,
    run: Run,
    built: Assembled,
) -> tuple[pa.Table, MeasuredPaths]:
    """MEASURED of the packets that are in the forecast, and how their paths were found."""
    rows = rows_of(packets, joined)
    source = schedule.take(pa.array(joined[rows]))
    path, counts = _paths(packets, rows, source["path_id"].to_numpy().astype(np.int64), scenario, run, built)
    send_ns, receive_ns = packets.send_ns[rows], packets.receive_ns[rows]
    seen = (send_ns != NONE) & (receive_ns != NONE)
    delay = receive_ns - send_ns
    least = np.full(len(built.network.paths), np.iinfo(np.int64).max)
    np.minimum.at(least, path[seen], delay[seen])
    columns: dict[str, Any] = {name: source[name] for name in ("file", "frame_number", "flow_id", "flowlet_id")}
    columns |= {
        "path_id": path,
        "send_ns": pa.array(send_ns, mask=send_ns == NONE),
        "receive_ns": pa.array(receive_ns, mask=receive_ns == NONE),
        "queue_ns": pa.array(np.where(seen, delay - least[path], 0), mask=~seen),
        "ecn_marked": packets.marked[rows],
        "dropped": (send_ns != NONE) & (receive_ns == NONE),
        "planned_ns": packets.planned_ns[rows],
        "frame_bytes": packets.frame_bytes[rows],
        "sender": packets.sender[rows],
        "receiver": pa.array(packets.receiver[rows].clip(0), mask=packets.receiver[rows] == NONE),
        "exchangeable": packets.exchangeable[rows],
    }
    schema = MEASURED.arrow_schema()
    return pa.table([pa.chunked_array(_arrow(columns[f.name])).cast(f.type) for f in schema], schema=schema), counts


def _arrow(column: Any) -> Any:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [pa.array(column)]


def _paths(
    packets: Planned,
    rows: NDArray[np.int64],
    planned: NDArray[np.int64],
    scenario: ValidScenario,
    run: Run,
    built: Assembled,
) -> tuple[NDArray[np.int64], MeasuredPaths]:
    """Path of each packet, int64[rows]: by the segments it left with; without any, by the links it was seen at; else
    the planned one. And how many of those sent were found how.
    """
    sent = (packets.send_ns[rows] != NONE) | (packets.receive_ns[rows] != NONE)
    keys = path_keys(scenario, built, insert=scenario.srv6.mode.inserts)
    group = np.array([p.group for p in built.network.paths])
    listed, place = np.unique(packets.segments[rows], return_inverse=True)
    pairs, place = np.unique(group[planned] * len(listed) + place.reshape(-1), return_inverse=True)
    found = [keys.get((pair // len(listed), int(listed[pair % len(listed)])), NONE) for pair in pairs.tolist()]
    named = np.array(found, np.int64)[place.reshape(-1)]
    bare = packets.segments[rows] == 0
    path = np.where(named != NONE, named, planned)
    network = built.network
    on_link = [
        np.array([any(network.links[link].name.removesuffix(_BACK) == name for link in p.links) for p in network.paths])
        for name in (place.link.removesuffix(_BACK) for place in run.transit)
    ]
    by_links = np.zeros(len(rows), np.bool_)
    for seen, fits in zip(packets.links, on_link, strict=True):
        here = np.flatnonzero(seen[rows] & bare)
        for number in np.unique(group[planned[here]]):
            only = np.flatnonzero(fits & (group == number))
            if len(only) == 1:
                mine = here[group[planned[here]] == number]
                path[mine] = only[0]
                by_links[mine] = True
    off = sum(int((seen[rows] & ~fits[path]).sum()) for seen, fits in zip(packets.links, on_link, strict=True))
    return path, MeasuredPaths(
        by_segments=int((sent & (named != NONE)).sum()),
        segments_unknown=int((sent & (named == NONE) & ~bare).sum()),
        by_links=int((sent & by_links).sum()),
        as_planned=int((sent & bare & ~by_links).sum()),
        changed=int((sent & (path != planned)).sum()),
        seen_off_path=off,
    )


def path_keys(scenario: ValidScenario, built: Assembled, *, insert: bool) -> dict[tuple[int, int], int]:
    """Path by its group and `list_key` of its segment list as it is sent, for IPv4 and IPv6.

    NONE where several of a group have the same. Inserted lists name no end, and are alike in both directions.
    """
    found: dict[tuple[int, int], int] = {}
    layout = scenario.srv6.layout()
    for number, path in enumerate(built.network.paths):
        for last in built.decapsulate[path.group]:
            sids = path.segments if insert else (*path.segments, last)
            wire = layout.on_the_wire(sids)
            key = path.group, list_key(tuple(IPv6Address(sid).packed for sid in wire))
            found[key] = number if found.get(key, number) == number else NONE
    return found


def _delays(table: pa.Table) -> dict[str, int | None]:
    delay = delays_of(table)
    return dict(zip(QUANTILES, nearest_ranks(delay, QUANTILES.values()), strict=True))


def delays_of(table: pa.Table) -> NDArray[np.int64]:
    """One-way delays, int64, of the packets that have one."""
    rows = table.filter(pc.and_(pc.is_valid(table["send_ns"]), pc.is_valid(table["receive_ns"])))
    delays: NDArray[np.int64] = rows["receive_ns"].to_numpy() - rows["send_ns"].to_numpy()
    return delays


def unseen(run: Run, table: pa.Table, network: Network, groups: Sequence[tuple[str, str]]) -> list[str]:
    """A finding for each receiver that saw no packet at all, though some of MEASURED were sent to its attachment."""
    left = table.filter(pc.is_valid(table["send_ns"]))
    leads_to = np.array([groups[path.group][1] for path in network.paths])[left["path_id"].to_numpy()]
    came = set(table["receiver"].drop_null().to_pylist())
    return [
        f"receiver {receiver.host} saw none of the {wanted} packets for it: is {receiver.capture} of its interface and "
        "of this run?"
        for number, receiver in enumerate(run.receivers)
        if number not in came and (wanted := int((leads_to == receiver.attachment).sum()))
    ]


def _findings(run: Run, matched: Matched, joined: NDArray[np.int64]) -> list[str]:
    """What a reader should know before believing the numbers."""
    found = [*run.findings, *matched.findings]
    if not run.complete:
        found.append(f"the run did not end as planned: {run.reason or 'no reason given'}")
    if run.missed_by_captures:
        found.append(f"the captures themselves missed {run.missed_by_captures} packets, which may count as lost here")
    counts = matched.counts
    if counts["received_unseen_sent"]:
        found.append(f"{counts['received_unseen_sent']} packets arrived that were not seen leaving; they have no delay")
    if counts["sent_unplanned"]:
        found.append(f"{counts['sent_unplanned']} packets left that were not planned")
    if counts["received_unplanned"]:
        kinds = unplanned_words(matched.unplanned)
        found.append(f"{counts['received_unplanned']} packets arrived that were not planned: {kinds}")
    if (missing := int((joined == NONE).sum())) > 0:
        found.append(f"{missing} planned packets are not in the forecast's cell and are left out")
    found += [
        f"clock {fit.clock} was seen in one direction only: its offset takes the least delay for 0, "
        "so only differences of its delays mean anything"
        for fit in matched.fits
        if not fit.symmetric
    ]
    return found
