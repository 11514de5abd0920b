"""Workloads that are made: sizes, arrivals and patterns drawn by seed, at a stated load of a network."""
