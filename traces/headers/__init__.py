"""Frames to header fields: link layers, tunnels, IP, fragments and segment lists."""
