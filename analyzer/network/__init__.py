"""Links, paths, segment identifiers, and which host is attached where."""
