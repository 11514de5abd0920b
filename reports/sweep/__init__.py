"""Reports of a sweep: its page and what a terminal shows, from the folder's tables alone."""
