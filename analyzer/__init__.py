"""Flowlets, policies, the network model, the engine, and forecasts made with them."""
