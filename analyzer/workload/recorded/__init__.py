"""The workload behind a trace: what its TCP connections asked to send, told apart from what the network did to it."""
