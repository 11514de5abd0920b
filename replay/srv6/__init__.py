"""Packets with SRv6 headers, byte by byte."""
