"""`python -m segcast` is the command `segcast`."""

from segcast.cli import main

if __name__ == "__main__":
    try:
        main()
    finally:
        # An interrupt amid an `eval`, which imports use, counts as unhandled until the next one, even if it was
        # handled; `python -m`, unlike a script, would then die of the signal instead of exiting with 130.
        eval("None")
