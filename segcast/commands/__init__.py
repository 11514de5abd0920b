"""Commands that `segcast.py` registers: each parses, calls one function of a package, and prints."""
