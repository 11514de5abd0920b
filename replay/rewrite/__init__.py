"""The pipeline from a schedule to SRv6 captures; `run.py` reads like it."""
