"""Runs cells in which something fails, over packets that leave as captured or senders that react; each gives figures.

A cell is a run of the whole traffic with the failure at its time: so what is measured is what `forecast` gives with
that event, stage by stage. The same cell without a failure, stage by stage, is what it is compared with: same packets,
same draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import simulate
from segcast.analyzer.forecast.asked import asked_of_list
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.reacting import ReactingRunner
from segcast.analyzer.forecast.runner import CellRunner, HeldRunner
from segcast.analyzer.metrics.families.delays import DelayFamily
from segcast.analyzer.metrics.families.slowdown import completion_quantiles
from segcast.analyzer.metrics.families.tally import TallyFamily
from segcast.analyzer.metrics.histogram import bucket_ranks
from segcast.analyzer.metrics.messages import MessageColumns
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.fabric import Edge
from segcast.analyzer.network.model import Change, Network
from segcast.analyzer.packets import Fates, Packets
from segcast.analyzer.plan.failures.kinds import Failure
from segcast.analyzer.plan.failures.measures import (
    LINK_BITS,
    STAGE_BITS,
    Counts,
    count,
    empty_counts,
    places_of,
)
from segcast.analyzer.plan.failures.stages import Stage
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import QUANTILES, named_quantiles
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, prepare
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS, schedule
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.trace import Trace
from segcast.traces.units import NANOSECOND_BITS

LATE_NS: Final = np.iinfo(np.int64).max
_STALLS: Final = (0.5, 1.0)
_MOST_STRETCHES: Final = 1 << 20


class Timing(NamedTuple):
    """When something fails and what its stages are. `until_ns`: when traffic ends without a failure, as it is sent."""

    at_ns: int
    stages: tuple[Stage, ...]
    until_ns: int


class Moments(NamedTuple):
    """When the first packet is sent, when most is, and when the last is."""

    first_ns: int
    busy_ns: int
    last_ns: int


def moments_of(send_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32], width_ns: int) -> Moments:
    """`busy_ns` begins the stretch of about `width_ns` in which most bytes are sent, in the second quarter of the time.

    So there is something before and more after; the first of equals.
    """
    first_ns, last_ns = int(send_ns[0]), int(send_ns[-1])
    begin_ns, end_ns = first_ns + (last_ns - first_ns) // 4, first_ns + (last_ns - first_ns) // 2
    width_ns = max(width_ns, (end_ns - begin_ns) // _MOST_STRETCHES, 1)
    chosen = (send_ns >= begin_ns) & (send_ns < end_ns)
    sent = np.bincount((send_ns[chosen] - begin_ns) // width_ns, ip_bytes[chosen], 1)
    return Moments(first_ns, begin_ns + int(np.argmax(sent)) * width_ns, last_ns)


class _Staged(CellRunner):
    """What both kinds of cells share: the network that fails, and what is counted."""

    metrics: frozenset[str] = frozenset()
    """Columns of the summary that are wanted of whole cells; none: whole cells are not counted."""

    @property
    def network(self) -> Network:
        """The network as the scenario has it."""
        return self._network

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Its links in both directions, those of hosts among them."""
        return self.traffic.edges

    def want(self, metrics: frozenset[str]) -> None:
        """Count these columns of the summary over whole cells, too."""
        self.metrics = metrics
        needed = {TallyFamily, DelayFamily}
        self.families = [
            family
            for family in self.families
            if family in needed or metrics & {column.name for column in family.summary}
        ]

    def _failed(self, failure: Failure | None, at_ns: int) -> Network:
        network = self._network
        if failure is None:
            return network
        down = [Change(at_ns, link, 0) for link in failure.links]
        changes = sorted([*network.changes, *down], key=lambda change: change.time_ns)
        return replace(network, changes=tuple(changes))

    def _counter(self, plan: CellPlan, failure: Failure | None, timing: Timing) -> _Counter:
        dead = np.zeros(len(self._network.links), np.bool_)
        dead[list(() if failure is None else failure.links)] = True
        stages = timing.stages if failure is not None else (Stage("before", -LATE_NS), *timing.stages)
        places = places_of(self._network, self.traffic.plan, plan.policy.policy.steered, dead)
        counts = empty_counts(
            len(stages), len(self._network.links), len(self.traffic.plan.keys), len(self._scenario.fabric().links)
        )
        return _Counter(self._network, stages, timing, places, counts)


class RecordedStudy(_Staged, HeldRunner):
    """Cells of packets that leave as captured."""

    reacts = False

    def moments(self, plan: CellPlan) -> Moments:
        """When the first packet is sent, and the last, and a busy moment."""
        packets = self._packets[plan.load]
        return moments_of(packets.send_ns, packets.ip_bytes, self._scenario.detection)

    def figures(self, plan: CellPlan, failure: Failure | None, timing: Timing) -> dict[str, Any]:
        """What a cell measures; may be called from several threads."""
        packets = self._packets[plan.load]
        cell = self._cell_on(plan, self._failed(failure, timing.at_ns))
        fates = simulate(cell, packets, releases=self._released(plan, cell), room=self._room(len(packets.flow)))
        counter = self._counter(plan, failure, timing)
        counter.add(packets, fates)
        whole = None
        if self.metrics:
            counted = self._metrics(plan)
            counted.add(packets, fates)
            whole = counted.summary(counted.ending(counted.finish(), cell.state.links))
        return counter.figures(self._only(whole), None)

    def _only(self, whole: dict[str, Any] | None) -> dict[str, Any] | None:
        return whole and {name: value for name, value in whole.items() if name in self.metrics}


class ReactingStudy(_Staged, ReactingRunner):
    """Cells of senders that react."""

    reacts = True

    def moments(self, plan: CellPlan) -> Moments:
        """The same, of a run without a failure: nothing else says when senders that react send."""
        times, sizes = [np.empty(0, np.int64)], [np.empty(0, np.uint32)]
        for piece in self.reacting(plan, self._network).pieces():
            times.append(piece.packets.send_ns)
            sizes.append(piece.packets.ip_bytes)
        return moments_of(np.concatenate(times), np.concatenate(sizes), self._scenario.detection)

    def figures(self, plan: CellPlan, failure: Failure | None, timing: Timing) -> dict[str, Any]:
        """What a cell measures; may be called from several threads."""
        cell = self.reacting(plan, self._failed(failure, timing.at_ns))
        counter = self._counter(plan, failure, timing)
        counted = self._metrics(plan) if self.metrics else None
        for piece in cell.pieces():
            counter.add(piece.packets, piece.fates)
            if counted is not None:
                counted.add(piece.packets, piece.fates)
        messages = self.completed(plan, cell)
        whole = None
        if counted is not None:
            ending = counted.ending(counted.finish() | messages.flow_columns(), cell.state.links)
            summary = counted.summary(ending) | messages.summary(ending.window_ns)
            whole = {name: value for name, value in summary.items() if name in self.metrics}
        return counter.figures(whole, messages)


class _Counter:
    """Counts of one cell, and its figures in the end."""

    def __init__(self, network: Network, stages: Sequence[Stage], timing: Timing, places: Any, counts: Counts) -> None:
        self._network = network
        self._stages = stages
        self._timing = timing
        self._places = places
        self._counts = counts
        self._begins = np.array(
            [-LATE_NS if stage.name == "before" else timing.at_ns + stage.begin_ns for stage in stages], np.int64
        )
        self._first_ns, self._last_ns = LATE_NS, -LATE_NS

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before in send order."""
        if len(packets.send_ns) == 0:
            return
        self._first_ns = min(self._first_ns, int(packets.send_ns[0]))
        self._last_ns = max(self._last_ns, int(packets.send_ns[-1]))
        count(packets, fates, self._places, self._begins, self._timing.until_ns, self._counts)

    def figures(self, whole: dict[str, Any] | None, messages: MessageColumns | None) -> dict[str, Any]:
        """Text, numbers and None."""
        counts = self._counts
        of_message = None if messages is None else self._stage_of(messages)
        stages = [self._stage(number, messages, of_message) for number in range(len(self._stages))]
        stalls = counts.stalls[counts.stalls["hits"] > 0]
        waited = stalls["longest_ns"][stalls["longest_ns"] > 0]
        at_ns, total = self._timing.at_ns, counts.total[0]
        p50, longest = nearest_ranks(waited, _STALLS)
        return {
            "stages": stages,
            "whole": whole,
            "last_ns": self._last_ns,
            "hit_flows": len(stalls),
            "silent_flows": int((stalls["lost_ns"] >= 0).sum()),
            "stall_p50_ns": p50,
            "stall_max_ns": longest,
            "resumed_ns": int(total["resumed_ns"]) - at_ns if total["resumed_ns"] >= 0 else None,
            "last_dead_ns": int(total["last_dead_ns"]) - at_ns if total["last_dead_ns"] >= 0 else None,
            "links": self._links(messages, of_message),
        }

    def _stage(self, number: int, messages: MessageColumns | None, of_message: Any) -> dict[str, Any]:
        stage, row = self._stages[number], self._counts.stages[number]
        begin_ns = self._first_ns - self._timing.at_ns if stage.name == "before" else stage.begin_ns
        figures: dict[str, Any] = {"stage": stage.name, "begin_ns": begin_ns}
        figures |= {name: int(row[name]) for name in row.dtype.names}
        for name, counted in (("delay", self._counts.delays), ("queue", self._counts.queues)):
            figures |= named_quantiles(name, bucket_ranks(counted[number], QUANTILES.values(), STAGE_BITS), "ns")
        shares = self._shares(number)
        busiest = int(np.argmax(shares)) if len(shares) else 0
        known = len(shares) > 0 and math.isfinite(shares[busiest])
        figures |= {
            "utilisation_max": float(shares[busiest]) if known else None,
            "utilisation_mean": float(shares.mean()) if known else None,
            "busiest": self._network.links[busiest].name if known else None,
        }
        if messages is not None:
            chosen = of_message == number
            done = chosen & (messages.fct_ns >= 0)
            fct_ns = messages.fct_ns[done]
            figures |= completion_quantiles(fct_ns, messages.slowdown[done])
            p95, p98 = nearest_ranks(fct_ns, (0.95, 0.98))
            figures |= {
                "fct_p95_ns": p95,
                "fct_p98_ns": p98,
                "fct_mean_ns": float(fct_ns.mean()) if len(fct_ns) else None,
                "messages": int(chosen.sum()),
                "unfinished": int((chosen & ~done).sum()),
            }
        return figures

    def _span_ns(self, number: int) -> int:
        """How long a stage is, as far as traffic is sent without a failure."""
        until_ns = min(self._timing.until_ns, self._last_ns + 1)
        begin_ns = max(int(self._begins[number]), self._first_ns)
        end_ns = int(self._begins[number + 1]) if number + 1 < len(self._begins) else until_ns
        return min(end_ns, until_ns) - begin_ns

    def _shares(self, number: int) -> NDArray[np.float64]:
        """What each link carried in a stage, in parts of what it could have; NaN if the stage has no time."""
        span_ns = self._span_ns(number)
        rates = np.array([link.rate_bps for link in self._network.links], np.float64)
        if span_ns <= 0:
            return np.full(len(rates), np.nan)
        shares: NDArray[np.float64] = self._counts.link_bytes[number] * float(NANOSECOND_BITS) / (rates * span_ns)
        return shares

    def _stage_of(self, messages: MessageColumns) -> NDArray[np.int64]:
        """The stage of each message: that in which it is asked for; those under way at the failure are of the hole.

        Those that were complete before are of the stage before, number -1 where that is not counted.
        """
        begins = self._begins
        hole = next(number for number, stage in enumerate(self._stages) if stage.name == "hole")
        stage = np.searchsorted(begins, messages.start_ns, side="right") - 1
        stage = np.where(messages.start_ns < 0, len(begins) - 1, np.maximum(stage, hole))
        complete = (messages.fct_ns >= 0) & (messages.start_ns + messages.fct_ns < self._timing.at_ns)
        found: NDArray[np.int64] = np.where(complete, hole - 1, stage)
        return found

    def _links(self, messages: MessageColumns | None, of_message: Any) -> dict[str, list[Any]]:
        """Of the last stage, by link of the fabric: share carried, p99 of delay and completion, drops of queues."""
        counts, last = self._counts, len(self._stages) - 1
        shares = self._shares(last)[: len(counts.link_full)]
        delays = [bucket_ranks(row, [0.99], LINK_BITS)[0] for row in counts.link_delays]
        found: dict[str, list[Any]] = {
            "utilisation": [float(f"{share:.6g}") if math.isfinite(share) else None for share in shares],
            "delay_p99_ns": delays,
            "full": counts.link_full.tolist(),
        }
        if messages is not None and len(counts.crossed):
            done = (messages.fct_ns >= 0) & (of_message == last)
            fct_ns, crossed = messages.fct_ns[done], counts.crossed[messages.half[done]]
            found["fct_p99_ns"] = [nearest_ranks(fct_ns[crossed[:, link]], [0.99])[0] for link in range(len(shares))]
        return found


def study_of(source: Trace | WorkloadFile, scenario: ValidScenario, folder: Path) -> RecordedStudy | ReactingStudy:
    """What runs cells over a trace or a workload, which is held in memory. Raises InputError if it does not fit."""
    if isinstance(source, WorkloadFile):
        return ReactingStudy(asked_of_list(source, scenario), scenario, folder)
    if scenario.transport is not None:
        return ReactingStudy(asked_of_trace(source, scenario), scenario, folder)
    flows = source.flow_table()
    packets = source.packet_table(RELEASE_COLUMNS if scenario.records else TRAFFIC_COLUMNS)
    traffic = prepare(packets, flows, scenario)
    releases = partial(schedule, packets, flows) if scenario.records else None
    return RecordedStudy(traffic, scenario, folder, releases)
