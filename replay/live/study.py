"""`segcast testbed live`: flow lists by real TCP through a scenario's network, under each policy, seed by seed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.keys import digest_of
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.source import WorkloadFile, open_workload
from segcast.replay.live.document import SCHEMA_VERSION, LiveDocument, Machine, SentList, read_live
from segcast.replay.live.failures import failures_of
from segcast.replay.live.guard import guarded
from segcast.replay.live.keeping import KeptCells, MeasuredCell, difference
from segcast.replay.live.plan import POLICIES
from segcast.replay.live.results import LiveRun, summary_of
from segcast.replay.live.run import ByProgram, run_live
from segcast.replay.live.sockets import Options
from segcast.replay.live.steering import Steering
from segcast.replay.live.tables import LIVE_FLOWLETS, LIVE_FLOWS, LIVE_LINKS, LIVE_SUMMARY, LIVE_TABLES
from segcast.replay.testbed.bed import up
from segcast.replay.testbed.build import require
from segcast.replay.testbed.plan import NO_EVENTS, plan_bed
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import LIVE, new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
from segcast.traces.version import VERSION

NAME: Final = "sglive"
SEED: Final = "{seed}"
HYSTART: Final = Path("/sys/module/tcp_cubic/parameters/hystart")

_HASH_SEED: Final = Path("/proc/sys/net/ipv4/fib_multipath_hash_seed")
_CONTROLS: Final = {"cubic": "cubic", "newreno": "reno", "dctcp": "dctcp"}
_TIME_STAMPS_BYTES: Final = 12  # of each segment, which TCP_MAXSEG counts in
_HEADER_BYTES: Final = (52, 72)  # of a full segment, IP included
_MOST_SEGMENT_BYTES: Final = 32767  # what TCP_MAXSEG takes
_BETWEEN_NS: Final = 2_500_000_000  # what a cell takes besides its list, about
_LATE_NS: Final = 20_000_000
_SHUFFLED: Final = 0x11FE  # first word of the seed of orders

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class LiveStudy:
    """What is to be run: the cells in their order, the list of each seed, and how connections are set."""

    scenario: ValidScenario
    cells: list[CellPlan]
    lists: dict[int, WorkloadFile]
    options: Options
    super_frames: bool
    steering: Steering | None
    name: str

    @property
    def expected_ns(self) -> int:
        """How long it takes, about, if all flows arrive soon after the last has started."""
        return sum(self.expected_of(cell) for cell in self.cells)

    def expected_of(self, cell: CellPlan) -> int:
        """The same of one cell."""
        starts = self.lists[cell.seed].workload.start_ns
        return int(starts.max() - starts.min()) + _BETWEEN_NS

    def as_dict(self) -> dict[str, Any]:
        """What would be run, as JSON values."""
        return {
            "name": self.name,
            "cells": [cell.name for cell in self.cells],
            "lists": [entry.model_dump() for entry in sent_lists(self)],
            "control": self.options.control,
            "segment_bytes": self.options.segment_bytes,
            "super_frames": self.super_frames,
            "expected_ns": self.expected_ns,
            "notes": _notes(self.scenario, self.name),
        }


def plan_study(
    scenario: ValidScenario,
    workload: str,
    *,
    control: str | None = None,
    super_frames: bool = False,
    steering: Steering | None = None,
    name: str = NAME,
) -> LiveStudy:
    """The live run of a scenario's policies, timeouts and seeds; `{seed}` in `workload` stands for each seed.

    All policies of a seed send the same list. Seeds come one after the other, the cells of each in an order that the
    seed draws: what else the machine does concerns all policies alike. Raises InputError for what cannot be run.
    """
    if any(one.load != 1 for one in scenario.offered):
        raise scenario.wrong(
            ("load",), "a live run sends its lists as they are; leave it out, and make lists for loads"
        )
    if scenario.transport is not None and scenario.transport.rules != "rfc":
        raise scenario.wrong(("transport", "rules"), "the kernel's senders follow the RFCs; leave it out of a live run")
    planned = plan_cells(scenario)
    for cell in planned:
        if _by_routes(cell):
            continue
        refusal = "nothing here steers it" if steering is None else steering.refusal(scenario, cell)
        if refusal is not None:
            raise InputError(f"policy {cell.policy.label}: {refusal}; besides {' and '.join(POLICIES)}")
    seeds = list(dict.fromkeys(scenario.seeds))
    opened: dict[str, WorkloadFile] = {}
    lists = {}
    for seed in seeds:
        path = workload.replace(SEED, str(seed))
        if path not in opened:
            opened[path] = open_workload(path)
            attached = attach(opened[path].workload, scenario)  # what cannot be is refused before anything is built
            failures_of(scenario, attached.assembled, plan_bed(scenario, name))
        lists[seed] = opened[path]
    ordered = [cell for seed in seeds for cell in _shuffled([each for each in planned if each.seed == seed], seed)]
    return LiveStudy(scenario, ordered, lists, _options(scenario, control), super_frames, steering, name)


def run_study(
    study: LiveStudy,
    out: Path,
    *,
    progress: Progress = lambda done, total, what: None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Build the network, run the cells, write the folder `out`, remove the network; returns what live.json says.

    `progress` is told seconds done and in all, and what runs. The network is removed whatever happens, also if this
    process is killed. Cells that have ended are kept aside for the next run of the same to `out`, which goes on with
    what is missing; one that is done is not run again; `say` is told so. Raises InputError as `plan_study` and
    `segcast.replay.testbed.bed.up` do, and if `out` has, or is to have, a run of something else.
    """
    asked = _asked(study)
    if LIVE.made(out):
        done = _done(out, asked)
        say(f"{out}: is done, with all {len(study.cells)} cells; nothing is sent again")
        return done
    require()
    inputs = [source.path for source in study.lists.values()]
    began_ns = time.time_ns()
    kept: KeptCells | None = None
    try:
        with new_folder(out, marker=LIVE.marker, inputs=inputs, resumable=True) as folder:
            kept = KeptCells(out, folder, asked, began_ns)
            findings = _notes(study.scenario, study.name)
            if kept.done or kept.damaged:
                broken = f", {kept.damaged} are damaged and run again" if kept.damaged else ""
                say(f"resuming: {_what_is_kept(study, kept)}{broken}")
                findings.append(f"was interrupted: {len(kept.done)} of {len(study.cells)} cells ran before the others")
            machine = _machine()
            _measure(study, kept, progress)
            document = _written(study, kept, folder, machine, findings)
    except KeyboardInterrupt:
        if kept is not None and kept.done:
            aside = f"{_what_is_kept(study, kept)}, kept aside: the same command goes on from there"
            raise KeyboardInterrupt(f"interrupted; {aside}") from None
        raise
    return document.as_dict()


def _measure(study: LiveStudy, kept: KeptCells, progress: Progress) -> None:
    """Run the cells that are missing, through a network that stands for as long."""
    missing = [cell for cell in study.cells if cell.name not in kept.done]
    if not missing:
        return
    done_ns = sum(study.expected_of(cell) for cell in study.cells if cell.name in kept.done)
    with guarded(study.name):
        up(study.scenario, study.name)
        for cell in missing:
            source, at_ns = study.lists[cell.seed], time.time_ns()

            def tick(passed_ns: int, done_ns: int = done_ns, name: str = cell.name) -> None:
                progress((done_ns + passed_ns) // 10**9, study.expected_ns // 10**9, name)

            tick(0)
            run = _run(study, cell, source, tick)
            outages = [{"cell": cell.name, **each._asdict()} for each in run.outages]
            measured = MeasuredCell(_tables(cell, source, run, at_ns), _of_cell(study, cell, run), outages)
            kept.ended(cell.name, measured)
            done_ns += study.expected_of(cell)


def _written(
    study: LiveStudy, kept: KeptCells, folder: Path, machine: Machine, findings: Sequence[str]
) -> LiveDocument:
    """Write the folder of all cells; gives back live.json."""
    cells = [kept.done[cell.name] for cell in study.cells]
    for table in LIVE_TABLES:
        rows = [cell.tables[table.name] for cell in cells]
        content = pa.concat_tables(rows) if rows else table.arrow_schema().empty_table()
        pq.write_table(content, folder / f"{table.name}.parquet", compression="zstd")
    (folder / "scenario.toml").write_text(study.scenario.to_toml(), encoding="utf-8")
    of_cells = [finding for cell in cells for finding in cell.findings]
    document = LiveDocument.model_validate(
        {
            "segcast": VERSION,
            "schema_version": SCHEMA_VERSION,
            "control": study.options.control,
            "segment_bytes": study.options.segment_bytes,
            "super_frames": study.super_frames,
            "began_ns": kept.began_ns,
            "ended_ns": time.time_ns(),
            "lists": sent_lists(study),
            "machine": machine,
            "program": _digest(study),
            "burst_bytes": plan_bed(study.scenario, study.name).burst_bytes,
            "outages": [outage for cell in cells for outage in cell.outages],
            "findings": [*findings, *of_cells, *_of_machine([cell.tables[LIVE_SUMMARY.name] for cell in cells])],
            "asked": _asked(study),
        }
    )
    (folder / LIVE.marker).write_text(json_text(document), encoding="utf-8")
    return document


def _asked(study: LiveStudy) -> dict[str, Any]:
    """What the cells depend on, as JSON values: a run of something else is another."""
    return {
        "cells": [cell.name for cell in study.cells],
        "lists": [[each.xxh128, each.seeds] for each in sent_lists(study)],
        "control": study.options.control,
        "super_frames": study.super_frames,
        "steering": None if _digest(study) is None or study.steering is None else study.steering.settings(),
        "scenario": digest_of(study.scenario.to_toml()),
        "segcast": VERSION,
        "kernel": os.uname().release,
    }


def _done(out: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What live.json of the run that is there says. Raises InputError if it is another, or nobody can tell."""
    try:
        found = read_live(out)
    except InputError:
        raise InputError(f"{out / LIVE.marker}: is damaged; choose another --out, or remove that run") from None
    if found.asked is None:
        raise InputError(
            f"{out}: holds a live run that does not say what was asked; choose another --out, or remove it"
        )
    if (other := difference(found.asked, asked)) is not None:
        raise InputError(f"{out}: holds a live run of {other}; choose another --out, or remove it")
    return found.as_dict()


def _what_is_kept(study: LiveStudy, kept: KeptCells) -> str:
    return f"{len(kept.done)} of {len(study.cells)} cells are done"


def _of_cell(study: LiveStudy, cell: CellPlan, run: LiveRun) -> list[str]:
    """What to know of a cell before believing it."""
    found = []
    if run.unfinished_why is not None:
        found.append(f"{cell.name}: not all flows arrived: {run.unfinished_why}")
    if run.steered is not None and run.steered.inflight_bytes:
        found.append(f"{cell.name}: counters held {run.steered.inflight_bytes:,} bytes when nothing was under way")
    late_ns = max((each.late_ns for each in run.outages), default=0)
    if late_ns > _LATE_NS:
        found.append(f"{cell.name}: a link failed or recovered {late_ns / 1e6:.0f} ms late")
    if run.late_events:
        found.append(f"{cell.name}: all flows had arrived before {run.late_events} of what links were to do")
    return found


def sent_lists(study: LiveStudy) -> list[SentList]:
    """The lists, each once, with the seeds that send it."""
    seeds: dict[Path, list[int]] = {}
    for seed, source in study.lists.items():
        seeds.setdefault(source.path, []).append(seed)
    sources = {source.path: source for source in study.lists.values()}
    return [
        SentList(
            name=path.stem,
            path=str(path.resolve()),
            xxh128=xxhash.xxh128_hexdigest(path.read_bytes()),
            flows=len(sources[path].workload),
            seeds=of,
        )
        for path, of in seeds.items()
    ]


def _digest(study: LiveStudy) -> str | None:
    """What steered, if anything did."""
    return None if study.steering is None or all(map(_by_routes, study.cells)) else study.steering.digest


def _by_routes(cell: CellPlan) -> bool:
    """Whether routes of the kernel can follow the policy, which they do for no other hash than the usual."""
    choice = cell.policy
    return choice.name in POLICIES and choice.built() == choice.policy.parameters()


def _run(study: LiveStudy, cell: CellPlan, source: WorkloadFile, tick: Callable[[int], None]) -> LiveRun:
    """One cell; the testbed's routes do what they can, a program the rest."""
    program = None if _by_routes(cell) or study.steering is None else ByProgram(study.steering, cell)
    return run_live(
        source.workload,
        study.scenario,
        policy=cell.policy.name,
        seed=cell.seed,
        name=study.name,
        options=study.options,
        super_frames=study.super_frames,
        by_program=program,
        tick=tick,
    )


def _options(scenario: ValidScenario, control: str | None) -> Options:
    """How connections are set: as the scenario's senders are, but for the control if one is given."""
    spec = scenario.transport or TransportSpec()
    segment_bytes = spec.mss + _TIME_STAMPS_BYTES
    if not 88 <= segment_bytes <= _MOST_SEGMENT_BYTES:
        raise scenario.wrong(
            ("transport", "mss"), f"the kernel takes segments of 76 to {_MOST_SEGMENT_BYTES - 12} bytes"
        )
    return Options(control or _CONTROLS[spec.control], segment_bytes)


def _notes(scenario: ValidScenario, name: str) -> list[str]:
    """What of the scenario the testbed does not emulate; events do happen here."""
    return [*(note for note in plan_bed(scenario, name).notes if note != NO_EVENTS), *_of_headers(scenario)]


def _of_headers(scenario: ValidScenario) -> list[str]:
    """A finding if a forecast with this scenario would send other headers than the kernel does."""
    header = (scenario.transport or TransportSpec()).header
    if header in _HEADER_BYTES:
        return []
    said = " or ".join(map(str, _HEADER_BYTES))
    finding = (
        f"the kernel's headers take {said} bytes (IPv4, IPv6; with time stamps), and transport.header says {header}"
    )
    return [f'{finding}: forecast with header = "{_HEADER_BYTES[0]}B" to compare']


def _shuffled(cells: Sequence[CellPlan], seed: int) -> list[CellPlan]:
    order = np.random.default_rng([_SHUFFLED, seed]).permutation(len(cells))
    return [cells[place] for place in order]


def _machine() -> Machine:
    try:
        hystart = HYSTART.read_text().strip() != "0"
    except OSError:
        hystart = None
    return Machine(
        kernel=os.uname().release,
        processors=len(os.sched_getaffinity(0)),
        load_average=round(os.getloadavg()[0], 2),
        hystart=hystart,
        seeds_hashes=_HASH_SEED.exists(),
    )


def _of_machine(summaries: Sequence[pa.Table]) -> list[str]:
    """A finding if flows were asked for so late that the machine, not the network, was measured."""
    late = max((summary["late_max_ns"].to_pylist()[0] or 0 for summary in summaries), default=0)
    busy = max((summary["busy_share"].to_pylist()[0] for summary in summaries), default=0.0)
    found = []
    if late > _LATE_NS:
        found.append(f"a flow was asked for {late / 1e6:.0f} ms late: the machine had no time for the generator")
    if busy > 0.95:
        found.append(f"processors had work {100 * busy:.0f} % of the time in a cell: it may have measured them")
    return found


def _tables(cell: CellPlan, source: WorkloadFile, run: LiveRun, began_ns: int) -> dict[str, pa.Table]:
    """The rows of a cell, by table."""
    found, steered = summary_of(run), run.steered
    fct = run.flows.column("fct_ns").drop_null()
    lost = steered is None
    sums = {
        name: None if lost else int(run.flows.column(name).to_numpy().sum()) for name in ("flowlets", "path_changes")
    }
    summary = {
        "list": source.path.stem,
        "messages": found["flows"],
        "fct_max_ns": max(fct.to_pylist(), default=None),
        "timeouts": found["rto"],
        **{name: found[name] for name in _SAME},
        **{name: None if found[name] is None else round(found[name]) for name in _ROUNDED},
        **sums,
        "flowlets_lost": None if steered is None else steered.lost_records,
        "inflight_left_bytes": None if steered is None else steered.inflight_bytes,
        "busy_share": run.busy,
        "began_ns": began_ns,
    }
    links = [
        {
            "name": link,
            "packets": packets,
            "dropped": drops,
            "carried_bytes": run.counts.carried_bytes[link],
        }
        for link, (packets, drops) in run.counts.links.items()
    ]
    flowlets = run.flowlets
    if flowlets is None:
        flowlets = pa.table({name: pa.nulls(0) for name in LIVE_FLOWLETS.names()})
    else:
        names = run.flows.column("flow").take(flowlets.column("row"))
        flowlets = flowlets.append_column("flow", names)
    return {
        LIVE_SUMMARY.name: _labelled(LIVE_SUMMARY, pa.Table.from_pylist([summary]), cell),
        LIVE_FLOWS.name: _labelled(LIVE_FLOWS, run.flows, cell),
        LIVE_LINKS.name: _labelled(LIVE_LINKS, pa.Table.from_pylist(links), cell),
        LIVE_FLOWLETS.name: _labelled(LIVE_FLOWLETS, flowlets, cell),
    }


_SAME: Final = ("unfinished", "fct_mean_ns", "retransmissions", "needless", "syn_retransmissions", "dropped")
_ROUNDED: Final = (*(f"fct_p{share}_ns" for share in (50, 90, 95, 98, 99)), "late_p50_ns", "late_max_ns")


def _labelled(table: Table, rows: pa.Table, cell: CellPlan) -> pa.Table:
    """Rows of a cell with its columns before them, as the table has them."""
    schema = table.arrow_schema()
    own = cell.columns()
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in rows.column_names and field.name not in own
        else pa.array([own[field.name]] * rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
