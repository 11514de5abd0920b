"""What to do, from the cells of a forecast: which answer they support, and in which words."""
