"""Flowlet timeouts: when a gap within a flow starts a new flowlet; each a file that ends in `registry.register`."""
