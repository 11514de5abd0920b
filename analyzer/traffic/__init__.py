"""A trace as the packets that an engine sends."""
