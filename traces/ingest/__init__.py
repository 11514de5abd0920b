"""The pipeline from captures to a trace; `run.py` reads like it."""
