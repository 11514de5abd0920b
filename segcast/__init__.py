"""Segcast: forecast what captured traffic would experience under host-driven flowlets over SRv6, and prove it."""
