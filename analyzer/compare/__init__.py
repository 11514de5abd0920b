"""What differs between two forecasts: what they were asked, the traffic, and what came of it."""
