"""What `advice.json` holds: what was measured, and what follows from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Shape, Whole

Kind = Literal["flowlets", "spray", "hash", "nothing", "unknown"]
Role = Literal["baseline", "hash", "flowlets", "spray"]
Why = Literal["one path", "nothing received", "idle", "few", "noise", "budgets", "measured", "traffic"]
Standing = Literal["baseline", "better", "not worth it", "unclear", "over budget", "below the skew"]


class Tried(Shape):
    """A policy that was tried, with its timeout, against the baseline: means over the seeds."""

    role: Role = Field(description="what it stands for; `hash`: the baseline with its hash mended")
    by: Literal["hosts", "switches"] = Field(description="who chooses; hosts' choices carry SRv6's headers")
    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(None, description="label of the flowlet timeout; null without one")
    timeout_ns: Whole | None = Field(None, description="the timeout, if it is fixed; else null")
    value: float | None = Field(None, description="the headline metric; null where nothing was received")
    change: float | None = Field(None, description="relative change of it against the baseline")
    low: float | None = Field(None, description="lower bound of the change, at 95 % together with all others")
    high: float | None = Field(None, description="upper bound of the change")
    traffic_low: float | None = Field(
        None, description="lower bound of the change that covers other traffic, too; null unless that was asked of it"
    )
    traffic_high: float | None = Field(None, description="upper bound of that")
    standing: Standing = Field(description="`better`: clearly, and by enough to be worth it")
    broken: list[str] = Field(description="budgets that it does not keep, in words")
    reordered: float = Field(description="share of packets received that were reordered")
    displaced: float = Field(description="share of packets received that were displaced by three or more")
    dropped: float = Field(description="share of packets dropped")
    unfinished: float | None = Field(
        None, description="flows not complete at the end; null where packets leave as captured"
    )
    needless: float | None = Field(
        None, description="segments received again, per flow; null where packets leave as captured"
    )
    flowlets: float = Field(description="flowlets steered, per flow")


class Supply(Shape):
    """What a timeout would let move, and how often a move could overtake."""

    timeout_ns: Whole = Field(description="the timeout")
    movable: float = Field(description="share of bytes behind a gap longer than the timeout: what could move")
    per_flow: float = Field(description="flowlets per flow")
    per_elephant: float = Field(description="flowlets per elephant; those are the fewest flows with 80 % of the bytes")
    overtaken: float | None = Field(
        None, description="share of packets whose path then was slower than another by the timeout; null: not known"
    )


class Skew(Shape):
    """How far the delays of paths that a flow may take lie apart."""

    base_ns: Whole = Field(description="largest difference with empty queues: propagation, and a full frame's time")
    p50_ns: Whole | None = Field(
        None,
        description="median, over packets of the baseline, of how much slower their path was than the fastest then; "
        "null: paths use links in orders that contradict each other",
    )
    p99_ns: Whole | None = Field(None, description="p99 of the same")
    max_ns: Whole | None = Field(None, description="the largest")
    packets: Count = Field(description="packets that were looked at")
    round_trip_ns: Whole = Field(description="median over bytes of the round trip of their flow, with empty queues")
    measured_rtt_ns: Whole | None = Field(None, description="median of the round trips seen in the trace; null: none")


class Hash(Shape):
    """How evenly the baseline's hash spreads the bytes of these flows, against a perfect one."""

    fields: str = Field(description="what is hashed")
    function: str = Field(description="the hash function")
    seeds: str = Field(description="whether switches' tiers have seeds of their own: `different` or `same`")
    inputs: Count = Field(description="different values that are hashed")
    effective: float = Field(description="their effective number by bytes: 1 over the sum of squared shares")
    flows: Count = Field(description="flows that are hashed")
    uneven: float = Field(
        description="bytes on the busiest link for its rate, over those under an even split; mean over seeds"
    )
    perfect: float = Field(description="the same of a perfect hash of the same flows, mean of random draws")
    perfect_high: float = Field(description="95 of 100 perfect hashes are below, in the mean over as many seeds")
    lucky: float = Field(description="the same of the best of 64 seeds")
    mend: dict[str, str] | None = Field(
        None, description="parameters that would mend it; null: nothing is wrong, or nothing does"
    )
    mended: float | None = Field(None, description="unevenness once mended")


class Evidence(Shape):
    """All numbers that the verdict follows from."""

    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    metric: str = Field(description="the headline metric: `delay_p99_ns`, or where senders react `fct_p99_ns`")
    load: float = Field(description="load at which was asked")
    offered: str = Field(description="the same in words")
    utilisation: float = Field(description="utilisation of the busiest link under the baseline, over all that it takes")
    srv6: float = Field(description="by so much what hosts steer is larger on links, for SRv6's headers")
    share: float | None = Field(
        None,
        description="of the busiest link's rate, what is offered to it if traffic is spread evenly; null: not known",
    )
    waiting: float | None = Field(None, description="p99 of queueing over p99 of delay under the baseline; null: none")
    paths: Count = Field(description="most paths that a flow may take")
    flows: Count = Field(description="flows that cross and carry bytes; where senders react, flows of the list")
    effective_flows: float = Field(description="flows of one size that would be as good a sample")
    packets: Count = Field(description="packets sent under the baseline")
    seeds: Count = Field(description="seeds of each that was tried")
    resamples: Count = Field(0, description="resamples of the traffic over which what is advised was run, too")
    tried: list[Tried] = Field(description="what was tried, the baseline first")
    skew: Skew = Field(description="path delays apart")
    supply: list[Supply] = Field(description="flowlets at a ladder of timeouts")
    hash: Hash = Field(description="the baseline's hash")


class StatedStep(Shape):
    """A step of the ladder that was taken: a remedy against what was reached before it."""

    kind: Kind = Field(description="what the step is")
    name: str = Field(description="policy and timeout")
    against: str = Field(description="what it was compared with")
    change: float | None = Field(None, description="relative change of the headline metric; null where none is known")
    low: float | None = Field(None, description="lower bound of it")
    high: float | None = Field(None, description="upper bound of it")


class StatedSetting(Shape):
    """A timeout as people set it somewhere, checked against the skew."""

    where: str = Field(description="whose setting")
    timeout_ns: Whole | None = Field(None, description="the timeout; null: it has none")
    text: str = Field(description="what to type")
    above_base: bool | None = Field(
        None, description="whether it exceeds the largest difference of path delays without queues"
    )
    above_queues: bool | None = Field(
        None, description="whether it exceeds the p99 of differences measured under the baseline; null: not known"
    )
    movable: float | None = Field(None, description="share of bytes that could move at it")
    note: str = Field(description="what that means here")


class AdviceDocument(Shape):
    """Whether flowlet balancing is worth it here, at which timeout, and why."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Whole = Field(description="version of this document")
    source: str = Field(description="trace or workload: where it is")
    name: str = Field(description="trace or workload: what it is called")
    verdict: str = Field(description="one of five verdicts, in words")
    kind: Kind = Field(description="the same as a word")
    why: Why = Field(description="what decided")
    policy: str | None = Field(None, description="the policy that is advised; null: none")
    timeout: str | None = Field(None, description="label of its flowlet timeout; null without one")
    timeout_ns: Whole | None = Field(None, description="its timeout, if it is fixed")
    alike: list[str] = Field(description="what cannot be told from it, by policy and timeout")
    answer: str = Field(description="the verdict with its figures, in one sentence")
    because: list[str] = Field(description="reasons, the weightiest first")
    but: list[str] = Field(description="what limits the answer, the weightiest first")
    budgets: str = Field(description="the budgets that answers are held to, in a sentence")
    covers: str = Field("", description="what the intervals cover, and what they do not")
    needs: list[str] = Field(description="what it would take to tell; empty if it can be told")
    steps: list[StatedStep] = Field(description="remedies that were taken, the cheapest first; the last is advised")
    settings: list[StatedSetting] = Field(description="timeouts as people type them")
    evidence: Evidence = Field(description="all numbers that the verdict follows from")
    cells: Count = Field(description="cells that it took")
    ran: Count = Field(description="cells that were run now; the others were in the store")
