"""All benchmarks, one after the other: `make bench`."""

from benchmarks import engine, forecast, ingest

for title, benchmark in (("ingest", ingest), ("engine", engine), ("forecast", forecast)):
    print(f"\n== {title}", flush=True)
    benchmark.main()
