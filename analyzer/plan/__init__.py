"""Questions a planner asks: how much a network carries within budgets, and what it needs to."""
