"""Capture files as bytes: where they lie, how they are compressed, and where each frame begins."""
