"""The pipeline from probes to measured links; `run.py` reads like it."""
