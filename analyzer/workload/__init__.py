"""Workloads: lists of flows that hosts are to send, read, written, synthesised, and attached to a network."""
