"""What the terminal shows of a trace."""
