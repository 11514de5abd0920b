"""What several seeds, or several resampled traces, say together, and how far off that may be."""
