"""Reports of advice: the terminal and the page."""
