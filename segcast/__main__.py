"""`python -m segcast` is the command `segcast`."""

from segcast.cli import main

if __name__ == "__main__":
    main()
