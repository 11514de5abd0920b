"""The commands of the command line that need this package, one module each."""
