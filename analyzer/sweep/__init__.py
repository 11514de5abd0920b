"""Sweeps: many scenarios over one trace, cell by cell, on all cores or on a cluster."""
