"""What is measured once, under the baseline: path skew, flowlet supply, the hash, and how much traffic there is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.advice.document import Hash, Skew, Supply
from segcast.analyzer.advice.hashing import Mend, Spread, look_at_hash
from segcast.analyzer.advice.skew import PathDelays, Sent, path_delays, slower_by
from segcast.analyzer.flowlets.supply import FlowletSupply, Moves
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.findings import (
    event_findings,
    open_loop_findings,
    say_doubtful,
    say_places,
    side_findings,
)
from segcast.analyzer.forecast.loads import share_findings
from segcast.analyzer.forecast.runner import CellRunner
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES
from segcast.analyzer.plan.cells import Cells, Variant
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.offered import growth_findings
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace

_MOST_PACKETS: Final = 4_000_000
_HASH_SEEDS: Final = range(1, 11)
_DATA: Final = ("data", "recorded")


@dataclass(frozen=True, slots=True)
class Ground:
    """What holds whatever the remedy.

    `paths`: the most that a flow may take; `effective`: flows of one size that would spread bytes as evenly; `srv6`: by
    how much steered packets are larger; `mend`: what to change of the hash. `dealt` says whose places were invented,
    `warnings` what else a reader must know before believing an answer.
    """

    paths: int
    flows: int
    effective: float
    srv6: float
    skew: Skew
    supply: list[Supply]
    hash: Hash
    mend: Mend | None
    dealt: str
    warnings: tuple[str, ...]


def survey(
    cells: Cells,
    scenario: ValidScenario,
    baseline: Variant,
    timeouts_ns: Sequence[int],
    trace: Trace | None,
    tick: Callable[[], object],
) -> Ground:
    """Run the baseline with its first seed, and look at its packets. Raises InputError."""
    with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
        runner, offered = cells.runner(scenario, Path(folder))
        plan = CellPlan(baseline.policy, baseline.timeout, offered, 1, True, False)
        for _ in runner.results([plan], 1, tick):
            pass
        kept = Path(folder) / "packets" / f"{plan.name}.parquet"
        packets = _first(kept) if runner.asked is not None else _first(kept, runner.sent(offered))
    moves, flow_bytes = _supply(runner, offered, packets, timeouts_ns)
    delays = path_delays(runner.traffic.network)
    skews = _skews(runner, delays, packets)
    found, mend = look_at_hash(
        Spread(runner.traffic.network, runner.traffic.plan, flow_bytes), baseline.policy.parameters, _HASH_SEEDS
    )
    sizes = np.array([len(slots) for slots in runner.traffic.network.group_slots()])
    sent = np.flatnonzero(flow_bytes > 0)
    return Ground(
        paths=int(sizes[runner.traffic.plan.group[sent]].max(initial=0)),
        flows=len(sent),
        effective=float(flow_bytes.sum()) ** 2 / float((flow_bytes.astype(np.float64) ** 2).sum()),
        srv6=_srv6(runner, packets),
        skew=_skew(delays, skews, _round_trip_ns(runner, delays, flow_bytes), _measured_rtt_ns(trace)),
        supply=[_supplied(each, skews) for each in moves],
        hash=found,
        mend=mend,
        dealt=say_places(runner.traffic),
        warnings=_warnings(runner, scenario),
    )


class _Packets:
    """The first packets that were sent, in send order; `kind` where senders react."""

    def __init__(self, table: pa.Table, flow: NDArray[np.uint32], ip_bytes: NDArray[np.uint32]) -> None:
        self.path = np.array(table.column("path_id").to_numpy()).astype(np.int64)
        self.send_ns = np.array(table.column("send_ns").to_numpy())
        self.flow = flow
        self.ip_bytes = ip_bytes
        self.kind = table.column("kind") if "kind" in table.column_names else None


def _first(file: Path, sent: Any = None) -> _Packets:
    """The first 4 million packets of a cell; `sent` are the same, piece by piece, where the file has no sizes."""
    with pq.ParquetFile(file.absolute()) as opened:
        names = ["send_ns", "path_id", *(["flow_id", "ip_bytes", "kind"] if sent is None else [])]
        batches, rows = [], 0
        for batch in opened.iter_batches(columns=names):
            batches.append(batch)
            rows += len(batch)
            if rows >= _MOST_PACKETS:
                break
        schema = pa.schema([opened.schema_arrow.field(name) for name in names])
    table = pa.Table.from_batches(batches, schema=schema).slice(0, _MOST_PACKETS)
    if sent is None:
        return _Packets(table, *(np.array(table.column(name).to_numpy()) for name in ("flow_id", "ip_bytes")))
    flow, ip_bytes = np.empty(len(table), np.uint32), np.empty(len(table), np.uint32)
    done = 0
    for piece in sent:
        count = min(len(piece.flow), len(table) - done)
        flow[done : done + count], ip_bytes[done : done + count] = piece.flow[:count], piece.ip_bytes[:count]
        done += count
        if done == len(table):
            break
    return _Packets(table, flow, ip_bytes)


def _supply(
    runner: CellRunner, offered: Offered, packets: _Packets, timeouts_ns: Sequence[int]
) -> tuple[list[Moves], NDArray[np.int64]]:
    """What timeouts would let move; the bytes that each flow of the plan sends."""
    flows = len(runner.traffic.plan.keys)
    if runner.asked is None:
        supply, flow_bytes = FlowletSupply(flows, timeouts_ns), np.zeros(flows, np.int64)
        for piece in runner.sent(offered):
            supply.add(piece.flow, piece.send_ns, piece.ip_bytes)
            flow_bytes += np.bincount(piece.flow, piece.ip_bytes, flows).astype(np.int64)
        return supply.finish(), flow_bytes
    assert packets.kind is not None
    data = pc.is_in(packets.kind, pa.array(_DATA)).to_numpy()
    there, place = np.unique(packets.flow[data], return_inverse=True)
    supply = FlowletSupply(len(there), timeouts_ns)
    supply.add(place.astype(np.uint32), packets.send_ns[data], packets.ip_bytes[data])
    return supply.finish(), runner.flow_bytes


def _skews(runner: CellRunner, delays: PathDelays, packets: _Packets) -> NDArray[np.float64] | None:
    """How much slower each packet's path was than another; None where links cannot be run one after the other."""
    network = runner.traffic.network
    frames = np.maximum(packets.ip_bytes.astype(np.int64) + ETHERNET_HEADER_BYTES, network.minimum_frame_bytes)
    uplink = runner.traffic.plan.uplink
    if uplink is not None:
        uplink = uplink[_place(runner, packets.flow)]
    try:
        return slower_by(network, delays, Sent(packets.path, packets.send_ns, frames, uplink))
    except InputError:
        return None


def _place(runner: CellRunner, flow: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The places in the plan of flows as tables call them."""
    named = None if runner.asked is None else runner.asked.flow_id
    if named is None:
        return flow.astype(np.int64)
    order = np.argsort(named, kind="stable")
    return order[np.searchsorted(named, flow, sorter=order)]


def _skew(delays: PathDelays, skews: NDArray[np.float64] | None, round_trip_ns: int, measured_ns: int | None) -> Skew:
    known = np.empty(0, np.int64) if skews is None else skews.astype(np.int64)
    p50, p99, most = nearest_ranks(known, (0.5, 0.99, 1.0))
    return Skew(
        base_ns=delays.skew_ns(),
        p50_ns=p50,
        p99_ns=p99,
        max_ns=most,
        packets=len(known),
        round_trip_ns=round_trip_ns,
        measured_rtt_ns=measured_ns,
    )


def _supplied(moves: Moves, skews: NDArray[np.float64] | None) -> Supply:
    overtaken = None if skews is None or not len(skews) else float((skews >= moves.timeout_ns).mean())
    return Supply(**moves._asdict(), overtaken=overtaken)


def _srv6(runner: CellRunner, packets: _Packets) -> float:
    """By how much packets are larger on links if they are steered."""
    network = runner.traffic.network
    extra = np.array([path.srv6_bytes for path in network.paths], np.float64)[packets.path]
    overhead = max((link.overhead_bytes for link in network.links), default=0)
    frames = np.maximum(packets.ip_bytes + ETHERNET_HEADER_BYTES, network.minimum_frame_bytes).astype(np.float64)
    return float(extra.sum() / (frames + overhead).sum())


def _round_trip_ns(runner: CellRunner, delays: PathDelays, flow_bytes: NDArray[np.int64]) -> int:
    """The median over bytes of the round trip by the fastest path of each flow, with empty queues."""
    network, plan = runner.traffic.network, runner.traffic.plan
    ways = delays.base_ns + np.array([path.ack_delay_ns for path in network.paths])
    fastest = np.array([ways[slots.start : slots.stop].min() for slots in network.group_slots()])[plan.group]
    if plan.uplink is not None and plan.downlink is not None:
        delay_ns = np.array([link.delay_ns for link in network.links])
        fastest = fastest + 2 * (delay_ns[plan.uplink] + delay_ns[plan.downlink])
    order = np.argsort(fastest, kind="stable")
    up_to = np.cumsum(flow_bytes[order])
    return int(fastest[order[int(np.searchsorted(up_to, up_to[-1] / 2))]])


def _measured_rtt_ns(trace: Trace | None) -> int | None:
    if trace is None:
        return None
    median = pc.approximate_median(trace.flow_table(["rtt_median_ns"]).column("rtt_median_ns")).as_py()
    return None if median is None else int(median)


def _warnings(runner: CellRunner, scenario: ValidScenario) -> tuple[str, ...]:
    """What is doubtful about how the traffic is put on the network, in words."""
    traffic, asked = runner.traffic, runner.asked
    found = [
        *side_findings(traffic.sides),
        *event_findings(scenario, runner.extent),
        *growth_findings(scenario, traffic.growth, reacts=asked is not None),
        *open_loop_findings(asked),
    ]
    told = [each.detail for each in share_findings(scenario)]
    return (*told, *say_doubtful(found))
