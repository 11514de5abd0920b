"""Reports of a forecast, made from its tables alone: the HTML page, its figures, and the terminal summary."""
