# %% [markdown]
# # Plan a fabric
# How much of this traffic do four paths carry within a budget, under each policy, and what would it cost to be wrong?

# %%
import segcast as sc

trace = sc.open("cluster.pcap.gz")
network = sc.paths("4x300Mbps", buffer="256KiB")
network

# %% What happens as things are.
now = sc.forecast(trace, network, policies=["ecmp", "random", "inflight"], seeds=10)
print(now.answer)
now

# %% The numbers behind it, a row for each cell.
now.summary.select("policy", "seed", "delay_p99_ns", "drop_ratio", "reordered_ratio").head(3)

# %% The tail of the delay.
now.plot.delay(tail=True)

# %% Would other buffers change that? A sweep asks the same of each.
swept = sc.sweep(trace, network, {"buffer": "64KiB..1MiB/3"}, policies=["ecmp", "inflight"], seeds=4)
print(swept.answer)
swept.cases.select("buffer", "do", "value", "baseline", "change", "drop_ratio")

# %% The same as a figure.
swept.plot()

# %% How far does each policy keep a budget?
found = sc.plan(trace, network, "p99_delay < 5ms", policies=["ecmp", "inflight"], seeds=10, precision=0.05)
print(found.answer)
for reason in found.but:
    print("but", reason)

# %%
found.edges.select("policy", "state", "value", "low", "high", "gain", "cells")
