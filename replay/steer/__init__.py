"""The live host: flowlets of its own traffic, steered in the kernel by the policies of a forecast."""
