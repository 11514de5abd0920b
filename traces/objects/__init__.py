"""Folders that lie in an object store: traces read by way of a local cache, results written there."""
