"""One policy on a network small enough to check by hand, and its functions one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import Fates, FlowPlan, Packets
from segcast.analyzer.policies.registry import Decision, Feedback, Setting, find_policy
from segcast.traces.hashing import flow_keys
from segcast.traces.jit import kernel

GBPS = 10**9
US = 1000
MS = 10**6
FRAME = 1250 - 14  # IP bytes of a frame that takes 10 us at 1 Gbit/s


def network(*rates_bps: int, delay_ns: int = 5 * US, **options: Any) -> Network:
    """One group of parallel paths of one link each, without any overhead. `ecn` is by path."""
    ecn = options.pop("ecn", [None] * len(rates_bps))
    links = [Link(f"l{n}", rate, delay_ns, None, ecn[n], 0) for n, rate in enumerate(rates_bps)]
    paths = [Path(0, (n,), 0, delay_ns) for n in range(len(rates_bps))]
    return Network(tuple(links), tuple(paths), 0, **options)


def words_of(flows: int, hosts: int = 1) -> NDArray[np.uint64]:
    """Five-tuples: sources in turn, one destination, ports that differ."""
    rows = [[0, 10 + flow % hosts, 0, 99, 6 << 32 | (1024 + flow) << 16 | 80] for flow in range(flows)]
    return np.array(rows, np.uint64)


def sent(times_ns: Any, flows: Any = 0, sizes: Any = FRAME) -> Packets:
    count = len(times_ns)
    return Packets(
        np.array(times_ns, np.int64),
        np.broadcast_to(np.array(flows, np.uint32), count).copy(),
        np.broadcast_to(np.array(sizes, np.uint32), count).copy(),
    )


def run(policy: str, of: Network, packets: Packets, hosts: int = 1, **options: Any) -> Fates:
    """Fates of the packets; a parameter of the policy is given by its name."""
    flows = int(packets.flow.max()) + 1
    words = words_of(flows, hosts)
    plan = FlowPlan(
        flow_keys(words),
        np.arange(flows) % hosts,
        options.pop("group", np.zeros(flows, np.int64)),
        words,
        options.pop("attachment", None),
    )
    timeout_ns, seed = options.pop("timeout_ns", 100 * US), options.pop("seed", 1)
    steering = options.pop("steering", Steering(1 * MS))
    detector = options.pop("detector", None)
    known = find_policy(policy)
    cell = Cell(
        of,
        known,
        plan,
        steering,
        timeout_ns=timeout_ns,
        seed=seed,
        detector=detector,
        parameters=known.parameters(**options),
    )
    return simulate(cell, packets)


def one_packet_per_flow(count: int, gap_ns: int = 1 * US) -> Packets:
    return sent(np.arange(count) * gap_ns, np.arange(count))


def setting(policy: str, slots: int, flows: int = 1, **parameters: Any) -> Setting:
    """A cell of one host and one group, to try a policy's functions one by one."""
    words = words_of(flows)
    return Setting(
        flow_keys(words),
        words,
        *(np.zeros(flows, np.int64) for _ in range(4)),
        counters=slots,
        path_rate_bps=np.full(slots, GBPS, np.int64),
        path_delay_ns=np.zeros(slots, np.int64),
        path_group=np.zeros(slots, np.int64),
        tiers=((slots,),),
        seed=1,
        timeout_ns=100 * US,
        parameters=find_policy(policy).parameters(**parameters),
    )


def told(slot: int = 0, time_ns: int = 0, slots: int = 2, **what: Any) -> Feedback:
    """Feedback of flow 0; of a packet sent just then unless said otherwise."""
    given = {"marked": False, "lost": False, "delay_ns": 0, "round_trip_ns": 0, "congestion": 0, **what}
    return Feedback(time_ns, 0, 0, 0, slots, slot, 1000, **given)


def asking(time_ns: int = 0, slot: int = 0, slots: int = 2, sent_bytes: int = 0, gap_ns: int = 1) -> Decision:
    return Decision(time_ns, 0, 0, 0, slots, slot, sent_bytes, gap_ns)


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As the engine compiles it; rows of structured arrays have no attributes in Python."""
    return kernel(function)


def ask(policy: str, state: Any, decision: Decision, inflight: NDArray[np.int64] | None = None) -> int:
    return int(compiled(find_policy(policy).choose)(state, decision, inflight, None))


def tell(policy: str, state: Any, feedback: Feedback) -> None:
    learn = find_policy(policy).learn
    assert learn is not None
    compiled(learn)(state, feedback)
