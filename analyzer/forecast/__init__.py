"""The pipeline from a trace and a scenario to a forecast; `run.py` reads like it."""
