"""The pipeline from forecast and measurement to a verdict; `run.py` reads like it."""
