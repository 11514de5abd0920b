"""The commands of the replay package: each parses its flags and calls one function."""
