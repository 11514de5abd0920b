"""Topologies by file: each makes a fabric of its part of a scenario, and registers itself."""
