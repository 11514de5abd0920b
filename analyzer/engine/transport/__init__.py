"""TCP connections of a cell: senders that react to what the network does with their packets (docs/transport.md)."""
