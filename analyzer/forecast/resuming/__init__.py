"""Forecasts that are interrupted and go on: what of them is kept on disk."""
