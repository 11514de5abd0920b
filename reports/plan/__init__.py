"""Reports of plans: the terminal and the page."""
