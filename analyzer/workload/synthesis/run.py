"""Synthesis: kind, load and seed to a flow list, with what was drawn and what load the list really offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.attach import attach
from segcast.analyzer.workload.synthesis.arrivals import arrivals_ns
from segcast.analyzer.workload.synthesis.capacity import HEADER_BYTES, Capacity, Demand, Tier
from segcast.analyzer.workload.synthesis.draws import Purpose, stream
from segcast.analyzer.workload.synthesis.jobs import DRAWN, JOBS, SIDED, Job
from segcast.analyzer.workload.synthesis.patterns import Hosts, Pattern, below, pattern_of
from segcast.analyzer.workload.synthesis.published import PUBLISHED
from segcast.analyzer.workload.synthesis.sizes import Sizes, fixed, published
from segcast.analyzer.workload.table import MOST_FLOWS, Workload, workload_of
from segcast.traces.errors import InputError

KINDS: Final = ("fixed", *PUBLISHED, *JOBS)
_TOLERANCE: Final = 0.1
_HOT: Final = 1.25
_AT_ONCE: Final = 1 << 22
_QUANTILES: Final = {"p1": 0.01, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made, as `segcast synth` takes it; `size_bytes` None: what the kind has."""

    kind: str
    load: float
    flows: int
    seed: int = 1
    size_bytes: int | None = None
    arrivals: str = "poisson"
    sigma: float = 2.0
    pattern: str = "all-pairs"
    fan: int = 8
    objects: int = 12
    sizes: str = "web-server"
    jitter_ns: int = 1_000
    mss: int = 1_460


_USED_BY: Final = {
    "fan": ("incast", "shuffle", "ring-all-reduce", "all-to-all"),
    "objects": ("web-pages",),
    "sizes": ("web-pages",),
    "jitter_ns": tuple(JOBS),
}
"""Choices that some kinds alone have a use for."""


def request_of(kind: str, load: float, flows: int, seed: int, **choices: Any) -> Request:
    """The request with what was chosen, which is not None. Raises InputError if the kind has no use for it."""
    given = {name: value for name, value in choices.items() if value is not None}
    for name, kinds in _USED_BY.items():
        if name in given and kind not in kinds:
            raise InputError(f"--{name.removesuffix('_ns')}: {kind} has no use for it, only {', '.join(kinds)}")
    if "sigma" in given and given.get("arrivals") != "lognormal":
        raise InputError("--sigma: is of lognormal gaps; give --arrivals lognormal, too")
    return Request(kind, load, flows, seed, **given)


@dataclass(frozen=True, slots=True)
class _Made:
    """A list with the times at which its flows or jobs arrived, and its tiers, the bottleneck first."""

    workload: Workload
    arrived_ns: NDArray[np.int64]
    sizes: Sizes
    pattern: Pattern
    capacity: Capacity
    tiers: list[Tier]
    job: Job | None


def synthesise(request: Request, scenario: ValidScenario) -> tuple[Workload, dict[str, Any]]:
    """The list that is asked for, and the document about it. Raises InputError."""
    _check(request)
    hosts = _hosts(scenario)
    made = _jobs(request, scenario, hosts) if request.kind in JOBS else _flows(request, scenario, hosts)
    attach(made.workload, scenario)
    return made.workload, _document(request, made)


def _check(request: Request) -> None:
    if not 1 <= request.flows <= MOST_FLOWS:
        raise InputError(f"--flows {request.flows:,}: from 1 to {MOST_FLOWS:,}")
    if not 0.001 <= request.load <= 100:
        raise InputError(f"--load {request.load:g}: from 0.001 to 100 times the bottleneck")
    if not 0 < request.sigma <= 5:
        raise InputError(f"--sigma {request.sigma:g}: more than 0, at most 5")
    if request.kind == "fixed" and request.size_bytes is None:
        raise InputError("fixed: of which size? Give --bytes, such as --bytes 1MB")
    if request.size_bytes is not None and (request.kind in PUBLISHED or request.kind == "web-pages"):
        raise InputError(f"--bytes: the sizes of {request.kind} are drawn; leave it out")
    if request.size_bytes == 0:
        raise InputError("--bytes: a flow has a byte at least")
    if request.kind in JOBS and request.fan < 2:
        raise InputError(f"--fan {request.fan}: at least 2")


def _hosts(scenario: ValidScenario) -> Hosts:
    fabric = scenario.fabric()
    if fabric.per_attachment is None:
        key = {"leaf-spine": "hosts_per_leaf", "parallel": "hosts_per_side"}.get(scenario.kind, "hosts_per_attachment")
        raise InputError(f"{scenario.source}: does not say how many hosts there are; give network.{key}")
    return Hosts(len(fabric.attachments), fabric.per_attachment, fabric.hosts is not None)


def _flows(request: Request, scenario: ValidScenario, hosts: Hosts) -> _Made:
    """Flows that arrive one by one."""
    count, seed = request.flows, request.seed
    sizes = fixed(request.size_bytes) if request.size_bytes is not None else published(request.kind)
    pattern = pattern_of(request.pattern, hosts, seed)
    demand = Demand(pattern.weights, pattern.senders, pattern.receivers, *sizes.mean(request.mss))
    capacity = Capacity(scenario, hosts, demand)
    tiers = capacity.tiers()
    start_ns = _arrivals(request, tiers[0], count)
    source, target = pattern.pick(stream(seed, Purpose.SOURCES).random((count, 2)), _targets(seed, count))
    drawn = sizes.of(stream(seed, Purpose.SIZES).random(count))
    names = np.arange(count).astype(str).tolist()
    workload = workload_of(names, start_ns, source, target, drawn)
    return _Made(workload, start_ns, sizes, pattern, capacity, tiers, None)


def _targets(seed: int, count: int) -> NDArray[np.float64]:
    return stream(seed, Purpose.TARGETS).random((count, 2))


def _arrivals(request: Request, bottleneck: Tier, count: int) -> NDArray[np.int64]:
    """Arrivals at which the bottleneck is busy for `load` of the time, if it sends all that comes."""
    mean_ns = bottleneck.busy_s * 1e9 / request.load
    return arrivals_ns(stream(request.seed, Purpose.ARRIVALS), request.arrivals, request.sigma, mean_ns, count)


def _jobs(request: Request, scenario: ValidScenario, hosts: Hosts) -> _Made:
    """Jobs that arrive one by one, each with the flows of its kind."""
    make, default = JOBS[request.kind]
    job = make(request.fan, request.size_bytes or default, request.objects)
    rows = len(job.source)
    count = -(-request.flows // rows)
    if count * rows > MOST_FLOWS:
        raise InputError(f"--flows {request.flows:,}: whole jobs of {rows:,} would be more than {MOST_FLOWS:,}")
    pattern = _job_pattern(request, hosts, job)
    sizes = published(request.sizes) if request.kind == "web-pages" else fixed(request.size_bytes or default)
    capacity = Capacity(scenario, hosts, _job_demand(request, job, pattern, sizes))
    tiers = capacity.tiers()
    arrived_ns = _arrivals(request, tiers[0], count)
    chosen = _chosen(request, hosts, job, count)
    seed = request.seed
    drawn = sizes.of(stream(seed, Purpose.SIZES).random(count * rows))
    size = np.where(np.tile(job.size, count) == DRAWN, drawn, np.tile(job.size, count))
    jitter_ns = below(stream(seed, Purpose.JITTER).random(count * rows), max(request.jitter_ns, 1))
    waits = np.tile(np.isin(np.arange(rows), job.waiting), count)
    offset = np.repeat(np.arange(count) * rows, len(job.waiting))
    number = np.repeat(np.arange(count), rows).astype(str)
    flow = np.char.add(np.char.add(number, "."), np.tile(np.arange(rows).astype(str), count))
    shared = np.tile(np.array(job.connection), count)
    connection = np.where(shared == "", "", np.char.add(np.char.add(number, "."), shared))
    workload = workload_of(
        flow.tolist(),
        np.repeat(arrived_ns, rows) + np.where(waits, 0, jitter_ns),
        chosen[:, job.source].reshape(-1),
        chosen[:, job.target].reshape(-1),
        size.astype(np.int64),
        after=(np.tile(job.waiting, count) + offset, np.tile(job.awaited, count) + offset),
        think_ns=np.where(waits, jitter_ns, 0),
        connection=connection.tolist() if any(job.connection) else None,
    )
    return _Made(workload, arrived_ns, sizes, pattern, capacity, tiers, job)


def _job_pattern(request: Request, hosts: Hosts, job: Job) -> Pattern:
    if request.pattern not in ("all-pairs", "left-right"):
        raise InputError(f"--pattern {request.pattern}: {request.kind} has all-pairs or left-right")
    if request.pattern == "left-right":
        if request.kind not in SIDED:
            raise InputError(f"--pattern left-right: {request.kind} sends in all directions; it has all-pairs")
    elif not hosts.within and hosts.per_attachment > 1:
        sides = ", or --pattern left-right" if request.kind in SIDED else ""
        raise InputError(
            f"{request.kind} has flows between hosts of one attachment, which would cross no link: give "
            f"network.host_links{sides}"
        )
    pattern = pattern_of(request.pattern, hosts, request.seed)
    for needed, there in (
        ((job.hosts, hosts.count),)
        if request.pattern == "all-pairs"
        else ((job.left, len(pattern.senders)), (job.hosts - job.left, len(pattern.receivers)))
    ):
        if needed > there:
            raise InputError(
                f"a job of {request.kind} needs {needed} hosts, and there are {there}; give a smaller --fan"
            )
    return pattern


def _job_demand(request: Request, job: Job, pattern: Pattern, sizes: Sizes) -> Demand:
    """What a job brings in the pattern's direction: with sides, what goes back to the left is left out."""
    mean, segments = sizes.mean(request.mss)
    forward = job.source < job.left if request.pattern == "left-right" else np.ones(len(job.source), np.bool_)
    size = job.size[forward]
    drawn = int((size == DRAWN).sum())
    return Demand(
        pattern.weights,
        pattern.senders,
        pattern.receivers,
        float(size.sum()) + drawn * mean,
        float((-(-size // request.mss)).sum()) + drawn * segments,
    )


def _chosen(request: Request, hosts: Hosts, job: Job, count: int) -> NDArray[np.int64]:
    """The hosts of each job, int64[jobs, hosts of a job], all different; with sides, data goes from the left."""
    draws = {"sources": stream(request.seed, Purpose.SOURCES), "targets": stream(request.seed, Purpose.TARGETS)}
    if request.pattern == "all-pairs":
        return _several(draws["sources"], hosts.count, job.hosts, count)
    left = hosts.attachments // 2 * hosts.per_attachment
    one = _several(draws["sources"], left, job.left, count)
    other = left + _several(draws["targets"], hosts.count - left, job.hosts - job.left, count)
    return np.concatenate([one, other], axis=1)


def _several(draws: np.random.Generator, among: int, wanted: int, count: int) -> NDArray[np.int64]:
    """`wanted` different numbers below `among` in random order, int64[count, wanted]."""
    step = max(1, _AT_ONCE // among)
    found = [
        np.argsort(draws.random((min(step, count - begin), among)), axis=1)[:, :wanted]
        for begin in range(0, count, step)
    ]
    return np.concatenate(found).astype(np.int64)


def _document(request: Request, made: _Made) -> dict[str, Any]:
    workload, bottleneck = made.workload, made.tiers[0]
    span_ns = max(int(made.arrived_ns[-1]), 1)
    bits = made.capacity.offered_bits(bottleneck, workload.source, workload.target, workload.bytes, request.mss)
    offered = bits / (bottleneck.capacity_bps * span_ns / 1e9)
    sizes = np.sort(workload.bytes)
    jobs = None if made.job is None else {"jobs": len(made.arrived_ns), "flows_per_job": len(made.job.source)}
    document: dict[str, Any] = {
        "kind": request.kind,
        "source": made.sizes.source,
        "seed": request.seed,
        "flows": len(workload),
        "jobs": jobs,
        "bytes": int(workload.bytes.sum()),
        "flow_bytes": {name: int(sizes[max(0, int(np.ceil(q * len(sizes))) - 1)]) for name, q in _QUANTILES.items()},
        "flow_bytes_mean": float(workload.bytes.mean()),
        "pattern": made.pattern.name,
        "arrivals": request.arrivals,
        "sigma": request.sigma if request.arrivals == "lognormal" else None,
        "arrival_gap_mean_ns": bottleneck.busy_s * 1e9 / request.load,
        "arrivals_end_ns": int(made.arrived_ns[-1]),
        "start_jitter_ns": 0 if made.job is None else request.jitter_ns,
        "load": {
            "asked": request.load,
            "offered": offered,
            "tier": bottleneck.name,
            "links": bottleneck.links,
            "capacity_bps": bottleneck.capacity_bps,
            "frame_overhead_bytes": HEADER_BYTES + 14 + bottleneck.overhead_bytes,
            "segment_bytes": request.mss,
        },
        "tiers": [
            {
                "tier": tier.name,
                "links": tier.links,
                "capacity_bps": tier.capacity_bps,
                "load": request.load * tier.busy_s / bottleneck.busy_s,
            }
            for tier in made.tiers
        ],
        "notes": [],
    }
    document["notes"] = _notes(request, made, offered)
    return document


def _notes(request: Request, made: _Made, offered: float) -> list[str]:
    notes = [made.pattern.note] if made.pattern.note else []
    if abs(offered / request.load - 1) > _TOLERANCE:
        notes.append(
            f"the list offers a load of {offered:.3g}, {100 * (offered / request.load - 1):+.0f} % off; "
            f"{len(made.arrived_ns):,} arrivals vary so much; give more --flows, or another --seed"
        )
    for does, source in (("sends", True), ("receives", False)):
        name, factor = made.capacity.busiest(source)
        if factor > _HOT:
            notes.append(
                f"{name} {does} most by what its links carry, {factor:.2f} times the mean: so much higher is its load"
            )
    return notes
