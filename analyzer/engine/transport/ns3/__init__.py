"""The sender as ns-3 3.37 has it, for comparison with it (docs/transport.md)."""
