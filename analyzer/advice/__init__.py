"""Advice: whether flowlet balancing is worth it for a trace or workload on a network, at which timeout, and why."""
