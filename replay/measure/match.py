"""From the captures of a run to what became of every packet that was to be sent: when it left, when it arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.measure.clocks import ClockFit, fit_clock
from segcast.replay.measure.equal_packets import NONE, align, classify, exchangeable, pair
from segcast.replay.measure.identity import STEERED, Marks
from segcast.replay.measure.kinds import UNPLANNED
from segcast.replay.measure.read import Reading, Seen, common_limit, read_capture
from segcast.replay.measure.run_folder import ReceivedCapture, Run, SentCapture, TransitCapture
from segcast.traces.errors import InputError

_SLACK_NS = 10_000  # captures of one kernel stamp out of order by less
_CE = 3


class Planned(NamedTuple):
    """Packets to send, sender after sender, int64[n] unless said otherwise; times NONE where there is none.

    `flow` uint32 counts on from sender to sender, `words` uint64[flows, 5] are their five-tuples; `segments` uint64 is
    the list seen leaving, else the list planned; `frame_bytes` as sent, else as planned; `marked` bool; `links`: by
    place among the run's transit captures, bool[captures, n], where each was seen; `exchangeable` bool: whether an
    equal packet with another segment list was underway at the same time, so that the two may have been taken for each
    other; `said` uint8: what it says of itself (see `kinds`).
    """

    planned_ns: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]
    sender: NDArray[np.int64]
    receiver: NDArray[np.int64]
    segments: NDArray[np.uint64]
    frame_bytes: NDArray[np.int64]
    marked: NDArray[np.bool_]
    flow: NDArray[np.uint32]
    words: NDArray[np.uint64]
    links: NDArray[np.bool_]
    exchangeable: NDArray[np.bool_]
    said: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Matched:
    """A run's packets, the fits of its clocks against the first sender's, and what was found on the way.

    `unplanned`: of what kinds arrivals are that nobody had planned.
    """

    packets: Planned
    reference: str
    fits: tuple[ClockFit, ...]
    counts: dict[str, int]
    identity_bytes: int
    findings: tuple[str, ...]
    unplanned: dict[str, int]


@dataclass(slots=True)
class _Captures:
    planned: list[Seen]
    sent: list[Seen]
    received: list[Seen]
    transit: list[Seen]

    def all(self) -> list[Seen]:
        return [*self.planned, *self.sent, *self.received, *self.transit]


def match_run(
    folder: Path, run: Run, marks: Marks, layer: str = "outer", progress: Callable[[int, int], None] | None = None
) -> Matched:
    """Match the packets of a run folder; `layer` as of the trace, by which flows are told apart.

    Captures are read once, and again if they hold so little of packets that digests must be shorter. Memory: some 100
    bytes per packet seen. Raises InputError for captures that are missing or none, or clocks that cannot be compared.
    """
    captures, limit, readings = _read(folder, run, marks, layer, progress)
    findings = [finding for reading in readings for finding in reading.findings]
    classes, count = classify([(seen.high, seen.low) for seen in captures.all()])
    parts: dict[str, list[NDArray[np.int64]]] = {}
    for name in ("planned", "sent", "received", "transit"):
        parts[name] = [classes.pop(0) for _ in getattr(captures, name)]
    planned = np.concatenate(parts["planned"])
    sender = np.repeat(np.arange(len(run.senders)), [len(part) for part in parts["planned"]])
    state = np.concatenate([seen.state for seen in captures.planned])
    steered = np.zeros(count, np.bool_)
    steered[planned[state == STEERED]] = True
    expected = np.zeros(count, np.bool_)
    expected[planned] = True
    owner = np.full(count, NONE)
    owner[planned] = sender

    places: list[SentCapture | ReceivedCapture | TransitCapture] = [*run.senders, *run.receivers, *run.transit]
    seen_there = [*captures.sent, *captures.received, *captures.transit]
    classes_there = [*parts["sent"], *parts["received"], *parts["transit"]]
    for place, seen, own in zip(places, seen_there, classes_there, strict=True):
        findings += run.away(place.capture, place.clock, seen.time_ns[expected[own]])

    sent_row, sent_ns, sent_by, unplanned = _sent(captures, parts, steered, expected)
    arrivals = _arrivals(captures.received, parts["received"], run, steered, expected, owner)
    fits = _fits(run, planned, sent_row, sent_ns, sent_by, arrivals, count)
    by_name = {fit.clock: fit for fit in fits}
    for number, host in enumerate(run.senders):
        if host.clock in by_name:
            sent_ns[sent_by == number] = by_name[host.clock].to_reference(sent_ns[sent_by == number])
    for number, receiver in enumerate(run.receivers):
        if receiver.clock in by_name:
            mine = arrivals.receiver == number
            arrivals.time_ns[mine] = by_name[receiver.clock].to_reference(arrivals.time_ns[mine])

    total = len(planned)
    send_ns, receive_ns, received_by = (np.full(total, NONE, np.int64) for _ in range(3))
    send_ns[sent_row] = sent_ns
    found = pair(planned[sent_row], sent_ns, arrivals.classes, arrivals.time_ns, count, _SLACK_NS)
    of_arrival = np.where(found == NONE, NONE, sent_row[found] if len(sent_row) else NONE)
    unsent = np.flatnonzero(send_ns == NONE)
    rest = np.flatnonzero(of_arrival == NONE)
    rest = rest[np.argsort(arrivals.time_ns[rest], kind="stable")]
    late = align(planned[unsent], arrivals.classes[rest], count)
    of_arrival[rest[late != NONE]] = unsent[late[late != NONE]]
    good = np.flatnonzero(of_arrival != NONE)
    receive_ns[of_arrival[good]] = arrivals.time_ns[good]
    received_by[of_arrival[good]] = arrivals.receiver[good]

    wire = np.concatenate([seen.wire_bytes for seen in captures.planned]).astype(np.int64)
    segments = np.concatenate([seen.segments for seen in captures.planned])
    ecn = np.concatenate([seen.ecn for seen in captures.planned])
    wire[sent_row] = np.concatenate([s.wire_bytes for s in captures.sent])[unplanned.kept]
    segments[sent_row] = np.concatenate([s.segments for s in captures.sent])[unplanned.kept]
    marked = np.zeros(total, np.bool_)
    marked[of_arrival[good]] = (arrivals.ecn[good] == _CE) & (ecn[of_arrival[good]] != _CE)
    bases = np.cumsum([0, *(len(seen.words) for seen in captures.planned)])
    flows = [seen.flow + np.uint32(base) for seen, base in zip(captures.planned, bases[:-1], strict=True)]
    packets = Planned(
        np.concatenate([seen.time_ns for seen in captures.planned]),
        send_ns,
        receive_ns,
        sender,
        received_by,
        segments,
        wire,
        marked,
        np.concatenate(flows),
        np.concatenate([seen.words for seen in captures.planned]),
        seen_on_links(parts["transit"], planned, count),
        exchangeable(planned, segments, send_ns, receive_ns, count),
        np.concatenate([seen.kind for seen in captures.planned]),
    )
    foreign = [seen.kind[~expected[own]] for seen, own in zip(captures.received, parts["received"], strict=True)]
    kinds = np.bincount(np.concatenate(foreign), minlength=len(UNPLANNED))
    counts = {
        "planned": total,
        "sent": int((send_ns != NONE).sum()),
        "received": len(good),
        "received_unseen_sent": int(((send_ns == NONE) & (receive_ns != NONE)).sum()),
        "duplicates": int((of_arrival == NONE).sum()),
        "sent_unplanned": unplanned.others,
        "received_unplanned": int(kinds.sum()),
        "frames_without_ip": sum(reading.without_ip for reading in readings),
        "frames_cut": sum(reading.cut for reading in readings),
    }
    came = {name: int(n) for name, n in zip(UNPLANNED, kinds.tolist(), strict=True) if n}
    return Matched(packets, run.senders[0].clock, fits, counts, limit, tuple(findings), came)


def _read(
    folder: Path, run: Run, marks: Marks, layer: str, progress: Callable[[int, int], None] | None
) -> tuple[_Captures, int, list[Reading]]:
    held: list[tuple[_Captures, list[Reading]]] = []
    total = 2 * len(run.senders) + len(run.receivers) + len(run.transit)

    def read(limit: int) -> list[Reading]:
        held.clear()
        readings: list[Reading] = []

        def one(name: str, ahead_ns: int = 0, *, with_flows: bool = False) -> Seen:
            readings.append(Reading())
            if not (folder / name).is_file():
                raise InputError(f"{folder / name}: not found, though run.json names it; run segcast replay again")
            seen = read_capture(folder / name, marks, limit, layer=layer if with_flows else None, reading=readings[-1])
            if progress is not None:
                progress(len(readings), total)
            return seen._replace(time_ns=seen.time_ns - ahead_ns) if ahead_ns else seen

        captures = _Captures(
            [one(host.planned, with_flows=True) for host in run.senders],
            *(
                [one(place.capture, place.clock_ahead_of_utc_ns) for place in places]
                for places in (run.senders, run.receivers, run.transit)
            ),
        )
        held.append((captures, readings))
        return readings

    limit = common_limit(read)
    captures, readings = held[0]
    return captures, limit, readings


class _Kept(NamedTuple):
    """Rows of all sent captures, end to end, that are planned ones; how many others left."""

    kept: NDArray[np.int64]
    others: int


def _sent(
    captures: _Captures,
    parts: dict[str, list[NDArray[np.int64]]],
    steered: NDArray[np.bool_],
    expected: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], _Kept]:
    """Of what left: the planned row, the time, the sender, and its row among all sent."""
    rows, times, senders, kept = [], [], [], []
    base = first = others = 0
    for number, (plan, own, seen) in enumerate(zip(parts["planned"], parts["sent"], captures.sent, strict=True)):
        leaving = np.flatnonzero(expected[own] & ((seen.state == STEERED) == steered[own]))
        leaving = leaving[np.argsort(seen.time_ns[leaving], kind="stable")]
        # At the sender equal packets are also told apart by their segments.
        listed = captures.planned[number].segments, seen.segments[leaving]
        of_class = plan.astype(np.uint64), own[leaving].astype(np.uint64)
        (ours, theirs), kinds = classify([(of_class[0], listed[0]), (of_class[1], listed[1])])
        found = align(ours, theirs, kinds)
        good = found != NONE
        rows.append(found[good] + base)
        times.append(seen.time_ns[leaving[good]])
        senders.append(np.full(int(good.sum()), number))
        kept.append(leaving[good] + first)
        others += int((~good).sum()) + int(((seen.state == STEERED) & ~expected[own]).sum())
        base += len(plan)
        first += len(own)
    joined = [np.concatenate(part).astype(np.int64) for part in (rows, times, senders, kept)]
    return joined[0], joined[1], joined[2], _Kept(joined[3], others)


class _Arrivals(NamedTuple):
    classes: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    receiver: NDArray[np.int64]
    ecn: NDArray[np.uint8]


def _arrivals(
    received: list[Seen],
    classes: list[NDArray[np.int64]],
    run: Run,
    steered: NDArray[np.bool_],
    expected: NDArray[np.bool_],
    owner: NDArray[np.int64],
) -> _Arrivals:
    """What arrived of what was planned: not what a host that also sends was seen to send."""
    parts = []
    senders = np.array([sender.host for sender in run.senders])
    for number, (seen, own, receiver) in enumerate(zip(received, classes, run.receivers, strict=True)):
        mine = (owner[own] != NONE) & (senders[owner[own]] == receiver.host)
        arrived = expected[own] & ~((seen.state == STEERED) & steered[own]) & ~mine
        rows = np.flatnonzero(arrived)
        parts.append((own[rows], seen.time_ns[rows], np.full(len(rows), number), seen.ecn[rows]))
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return _Arrivals(*columns)


def _fits(
    run: Run,
    planned: NDArray[np.int64],
    sent_row: NDArray[np.int64],
    sent_ns: NDArray[np.int64],
    sent_by: NDArray[np.int64],
    arrivals: _Arrivals,
    count: int,
) -> tuple[ClockFit, ...]:
    """Every clock against that of the first sender, by packets that are like no other; one after the other."""
    names = list(dict.fromkeys([*(s.clock for s in run.senders), *(r.clock for r in run.receivers)]))
    if len(names) == 1:
        return ()
    own = planned[sent_row]
    alone = (np.bincount(own, minlength=count) == 1) & (np.bincount(arrivals.classes, minlength=count) == 1)
    left, came = np.flatnonzero(alone[own]), np.flatnonzero(alone[arrivals.classes])
    left = left[np.argsort(own[left])]
    came = came[np.argsort(arrivals.classes[came])]
    numbers = {name: number for number, name in enumerate(names)}
    from_clock = np.array([numbers[s.clock] for s in run.senders])[sent_by[left]]
    to_clock = np.array([numbers[r.clock] for r in run.receivers])[arrivals.receiver[came]]
    out_ns, in_ns = sent_ns[left].copy(), arrivals.time_ns[came].copy()
    fits: list[ClockFit] = []
    known = {0}
    while len(known) < len(names):

        def ways(other: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
            there = (to_clock == other) & np.isin(from_clock, list(known))
            return there, (from_clock == other) & np.isin(to_clock, list(known))

        def strength(other: int) -> tuple[int, int]:
            there, back = (int(way.sum()) for way in ways(other))
            return min(there, back), there + back

        other = max((number for number in range(len(names)) if number not in known), key=strength)
        there, back = ways(other)
        fit = fit_clock(names[other], names[0], (out_ns[there], in_ns[there]), (out_ns[back], in_ns[back]))
        fits.append(fit)
        out_ns[from_clock == other] = fit.to_reference(out_ns[from_clock == other])
        in_ns[to_clock == other] = fit.to_reference(in_ns[to_clock == other])
        known.add(other)
    return tuple(fits)


def seen_on_links(transit: Sequence[NDArray[np.int64]], planned: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Where each planned packet was seen on its way, bool[captures, planned].

    `transit` are the classes of equal packets, 0 to `count`, that each capture holds; `planned` int64 those of the
    packets. Of equal packets all were seen if as many are there; else which ones is unknown, and none counts as seen.
    """
    links = np.zeros((len(transit), len(planned)), np.bool_)
    alike = np.bincount(planned, minlength=count)
    for number, own in enumerate(transit):
        links[number] = (np.bincount(own, minlength=count) >= alike)[planned]
    return links
