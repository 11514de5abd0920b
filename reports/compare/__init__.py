"""The page and the terminal text of a comparison of two forecasts."""
