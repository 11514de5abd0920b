"""All benchmarks, one after the other: `make bench`."""

import sys

from benchmarks import engine, forecast, ingest, rewriting

for title, benchmark in (("ingest", ingest), ("engine", engine), ("forecast", forecast)):
    print(f"\n== {title}", flush=True)
    benchmark.main()
print("\n== rewriting", flush=True)
rewriting.main(["--size", "20000000"] if "--quick" in sys.argv else [])
