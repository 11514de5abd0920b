"""All benchmarks, one after the other: `make bench`."""

import sys

from benchmarks import engine, forecast, ingest, plan, rewriting

for title, benchmark in (("ingest", ingest), ("engine", engine), ("forecast", forecast)):
    print(f"\n== {title}", flush=True)
    benchmark.main()
print("\n== rewriting", flush=True)
rewriting.main(["--size", "20000000"] if "--quick" in sys.argv else [])
print("\n== plan", flush=True)
plan.main(["--repetitions", "5", "--only", "md1", "--only", "capacity"])
