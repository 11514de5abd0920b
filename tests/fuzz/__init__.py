"""Feeds the reader and the decoders with bytes that no one would write, and keeps those that lead somewhere new."""
