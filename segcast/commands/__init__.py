"""Commands, one file each: it parses, calls one function of a package, and prints."""
