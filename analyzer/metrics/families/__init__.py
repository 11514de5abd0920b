"""Families of metrics, a file each: what is counted of packets as they finish, and the columns that come of it."""
