"""What a page shows of links and paths: how busy they are over time, and what they are called."""
