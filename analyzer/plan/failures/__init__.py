"""What a network's failures cost: every single one of a kind tried, stage by stage."""
