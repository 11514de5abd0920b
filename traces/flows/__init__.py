"""Which flow a packet belongs to, and what a flow's packets say of its connection."""
