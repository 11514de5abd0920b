"""What the fates of packets amount to."""
