"""The tests. Here before anything imports Numba: see `warm` for what that is about."""

import os

# Most of the time of the tests is compilation; code compiled at this level gives the same results, and is compiled in
# three quarters of the time. `make test OPT=3` runs what users run. The cache on disk keeps the levels apart.
os.environ.setdefault("NUMBA_OPT", "1")
