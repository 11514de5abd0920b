"""How a trace splits into flowlets, whatever the network."""
