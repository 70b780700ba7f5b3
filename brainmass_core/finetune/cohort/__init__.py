"""Who takes part in a task: its table, exclusions, and the refusal of leaks."""
