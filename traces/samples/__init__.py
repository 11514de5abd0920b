"""Captures that come with Segcast."""

from pathlib import Path

CLUSTER = Path(__file__).with_name("cluster.pcap.gz")
