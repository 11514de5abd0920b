"""The packets of senders that react, written as a capture."""
