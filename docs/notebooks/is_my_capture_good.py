# %% [markdown]
# # Is my capture good enough?
# What a trace holds, what is wrong with it, and how its flows split: before anything is forecast from it.

# %%
import polars as pl

import segcast as sc

trace = sc.open("cluster.pcap.gz")  # captures are ingested into the cache at first
trace

# %% The verdict, and what stands behind it.
facts = trace.facts()
print(facts["verdict"], facts["reasons"])
print(f"{facts['mean_bps'] / 1e6:.1f} Mbit/s on average, {facts['peak_bps'] / 1e6:.1f} at most")
for finding in facts["findings"]:
    print(f"{finding['severity']}: {finding['detail']}; effect: {finding['effect']}")

# %% Who sends most? Tables are Polars frames.
flows = trace.flows
flows.group_by("src").agg(pl.col("bytes").sum(), pl.len().alias("flows")).sort("bytes", descending=True).head(5)

# %% How evenly? A tail rests on as many flows of one size as this says.
sizes = flows["bytes"].cast(pl.Float64)
even_flows = sizes.sum() ** 2 / (sizes**2).sum()
print(f"{trace.flow_count} flows, as good as {even_flows:.0f} of one size")
