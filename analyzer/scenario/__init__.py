"""Scenario files and flags, read and checked."""
