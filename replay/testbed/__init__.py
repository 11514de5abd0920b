"""The scenario's network in network namespaces: planned, built, looked at, used, removed."""
