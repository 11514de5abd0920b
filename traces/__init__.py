"""Captures in, Arrow tables out: schemas, decoding, flows, the trace on disk."""
