"""Packets through links: the event loop, its state, and what surrounds it."""
