"""A forecast whose senders react, against a live run of the same flow lists."""
