"""The pipeline from a run's captures to a measurement; `run.py` reads like it."""
