# %% [markdown]
# # A policy of one's own
# A policy is a state, how it begins, and a function that is compiled into the engine (docs/policies.md). This one sends
# every flowlet to the next path, and skips the path that has most in flight.

# %%
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import segcast as sc
from segcast.analyzer.policies.registry import Decision, NetworkState, Setting


class NextState(NamedTuple):
    """The last slot of each flow, int64[flows]."""

    last: NDArray[np.int64]


def make_state(setting: Setting) -> NextState:
    return NextState(np.zeros(len(setting.flow_keys), np.int64))


def choose(state: NextState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    fullest = 0
    for slot in range(1, decision.path_count):
        if inflight[decision.first_counter + slot] > inflight[decision.first_counter + fullest]:
            fullest = slot
    chosen = (state.last[decision.flow] + 1) % decision.path_count
    if chosen == fullest:
        chosen = (chosen + 1) % decision.path_count
    state.last[decision.flow] = chosen
    return chosen


sc.register(
    name="next-but-fullest",
    summary="each flowlet to the next path, past the one with most bytes in flight",
    source="this notebook",
    granularity="flowlet",
    steered=True,
    counts_inflight=True,
    by="counter",
    make_state=make_state,
    state=NextState,
    choose=choose,
)

# %%
found = sc.forecast(
    sc.open("cluster.pcap.gz"), sc.paths("4x300Mbps"), policies=["ecmp", "inflight", "next-but-fullest"], seeds=10
)
print(found.answer)
found

# %%
for variant in found.variants:
    delay = found.estimate(variant, "delay_p99_ns")
    print(variant.label, f"{delay.mean / 1e6:.2f} ms")
