"""Real TCP in the testbed: a flow list sent by the kernel's own senders, and how long its flows took."""
