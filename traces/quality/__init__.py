"""What a capture is worth: counts, findings, duplicates, and their description."""
