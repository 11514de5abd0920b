"""Slow, obvious twins of the product's fast code, written from its documents and sharing no code with it."""
