"""How a planned network is written as the configuration of its nodes: a file for each kind of router."""
