"""SRv6 rewriting, replay, and the measurements that a forecast is judged by."""
